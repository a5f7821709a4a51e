package providers

import (
	"cmp"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/policies"
)

// Rest is a credential that is not used until a time.
type Rest struct {
	ID    string // as [Credential.ID], which is "" for a provider's only key
	Model string // its name at the provider; "" = every model
	Until time.Time
}

// Resting returns which of a provider's keys rest, for whoever shows the gateway's state.
func (c *Credentials) Resting(p *policies.Provider, now time.Time) []Rest {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := map[uint64]string{}
	if len(p.Keys) == 0 {
		ids[0] = ""
	}
	for i := range p.Keys {
		cred := c.credential(p, i)
		ids[cred.hash] = cred.id
	}
	var out []Rest
	for k, until := range c.rest {
		if id, ok := ids[k.hash]; ok && k.provider == p.Name && now.Before(until) {
			out = append(out, Rest{ID: id, Model: k.model, Until: until})
		}
	}
	slices.SortFunc(out, func(a, b Rest) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Model, b.Model)) })
	return out
}
