package providers

import (
	"time"

	"github.com/sluice-gateway/sluice/policies"
)

// Rest is a credential that is not used until a time.
type Rest struct {
	ID    string // as [Credential.ID], which is "" for a provider's only key
	Until time.Time
}

// Resting returns which of a provider's keys rest, in the policy's order, for whoever shows the gateway's state.
func (c *Credentials) Resting(p *policies.Provider, now time.Time) []Rest {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Rest
	if len(p.Keys) == 0 {
		if until, resting := c.resting(p.Name, 0, now); resting {
			out = append(out, Rest{Until: until})
		}
		return out
	}
	for i := range p.Keys {
		cred := c.credential(p, i)
		if until, resting := c.resting(p.Name, cred.hash, now); resting {
			out = append(out, Rest{ID: cred.id, Until: until})
		}
	}
	return out
}
