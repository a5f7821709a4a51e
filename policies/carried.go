package policies

import (
	"slices"
	"time"
)

// Carried is one provider that routes with `carrier: envoy` may reach: an upper bound, as the request decides the rest.
type Carried struct {
	Provider *Provider
	Connect  time.Duration   // the longest of those routes' limits to connect
	Limits   []time.Duration // their limits of a JSON answer and of a stream as a whole, ascending, each once
	Needs    []Needs         // the operations that it can do of those asked about, each alone
}

// Carried returns the providers that the policy's `carrier: envoy` routes may reach, sorted by name; ops are the operations to try.
// Boundaries without a condition and the routes' residency narrow it. What only a session could bring is left out: whoever finds a
// provider missing here has the executor carry.
func (p *Policy) Carried(ops ...Needs) []Carried {
	found := map[string]*Carried{}
	for _, r := range p.Routes {
		if r.Carrier != "envoy" {
			continue
		}
		for _, m := range p.reach(r) {
			c := found[m.Provider.Name]
			if c == nil {
				c = &Carried{Provider: m.Provider}
				found[m.Provider.Name] = c
			}
			c.Connect = max(c.Connect, r.Timeouts.Connect)
			for _, limit := range []time.Duration{r.Timeouts.Answer, r.Timeouts.Total} {
				if !slices.Contains(c.Limits, limit) {
					c.Limits = append(c.Limits, limit)
				}
			}
			for _, op := range ops {
				if m.Lacks(&op) == "" && !slices.Contains(c.Needs, op) {
					c.Needs = append(c.Needs, op)
				}
			}
		}
	}
	out := make([]Carried, 0, len(found))
	for _, name := range sortedKeys(found) {
		slices.Sort(found[name].Limits)
		out = append(out, *found[name])
	}
	return out
}

// reach returns the models that the route's rules and fallback may lead to, where no boundary or residency always forbids them.
func (p *Policy) reach(r *Route) []*Model {
	var out []*Model
	add := func(models []*Model) {
		for _, m := range models {
			if m.Provider != nil && !slices.Contains(out, m) && p.mayReach(r, m.Provider) {
				out = append(out, m)
			}
		}
	}
	for _, rule := range r.Rules {
		add(rule.Models)
		if rule.Models != nil {
			continue
		}
		for _, t := range p.Tiers {
			if rule.ByGain || t == rule.Tier || t.Rank > rule.Tier.Rank && slices.Contains(r.Fallback, "stronger") ||
				t.Rank < rule.Tier.Rank && slices.Contains(r.Fallback, "weaker") {
				add(t.Models)
			}
		}
	}
	return out
}

func (p *Policy) mayReach(r *Route, to *Provider) bool {
	if r.resident != nil && !r.resident.allowed[to.Name] {
		return false
	}
	for i, b := range p.Boundaries {
		if b.When == nil && !p.bounds[i].allowed[to.Name] {
			return false
		}
	}
	return true
}
