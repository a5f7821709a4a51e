package policies

import (
	"slices"
	"strings"
)

// bound is a boundary as a set: who may see a request while it holds.
type bound struct {
	name    string
	allowed map[string]bool
}

// Bound evaluates every boundary and the residency of route and tenant (either may be nil), and returns what they leave of the providers: the
// intersection of all that hold. A boundary whose expression fails holds. With explain every boundary leaves a trace; else the traces
// are nil.
func (p *Policy) Bound(f *Facts, r *Route, t *Tenant, explain bool) (Bounds, []Trace) {
	b := Bounds{Free: true}
	var traces []Trace
	for i, bd := range p.Boundaries {
		holds, err := true, error(nil)
		if bd.When != nil {
			if holds, err = bd.When.Eval(f); err != nil {
				holds = true
			}
		}
		if holds {
			b.narrow(&p.bounds[i])
		}
		if explain {
			traces = append(traces, bd.trace(f, holds, err, p.bounds[i].allowed))
		}
	}
	var regions [2]*bound
	if r != nil {
		regions[0] = r.resident
	}
	if t != nil {
		regions[1] = t.resident
	}
	for _, res := range regions {
		if res == nil {
			continue
		}
		b.narrow(res)
		if explain {
			traces = append(traces, Trace{Name: res.name, Holds: true, Only: sortedKeys(res.allowed)})
		}
	}
	return b, traces
}

// narrow intersects. Sets of the policy are shared and never written to.
func (b *Bounds) narrow(by *bound) {
	if !slices.Contains(b.Names, by.name) {
		b.Names = append(b.Names, by.name)
	}
	if b.Free {
		b.Free, b.allowed = false, by.allowed
		return
	}
	both := make(map[string]bool, len(b.allowed))
	for name := range b.allowed {
		if by.allowed[name] {
			both[name] = true
		}
	}
	b.allowed = both
}

func (bd *Boundary) trace(f *Facts, holds bool, err error, allowed map[string]bool) Trace {
	t := Trace{Name: bd.Name, Holds: holds, Only: sortedKeys(allowed)}
	if bd.When != nil {
		t.When, t.Values = bd.When.String(), bd.When.Values(f)
	}
	if err != nil {
		t.Error = err.Error()
	}
	return t
}

// residency is the bound of a list of regions. A provider without a region is in none of them.
func residency(regions []string, providers map[string]*Provider) *bound {
	if len(regions) == 0 {
		return nil
	}
	b := &bound{name: "residency [" + strings.Join(regions, ", ") + "]", allowed: map[string]bool{}}
	for name, p := range providers {
		if p.Region != "" && slices.Contains(regions, p.Region) {
			b.allowed[name] = true
		}
	}
	return b
}

// Match returns the first rule that holds. A rule whose expression fails does not hold. With explain every rule leaves a trace, also those
// behind the one that decides. The last rule of a compiled route always holds, so the rule is never nil.
func (r *Route) Match(f *Facts, explain bool) (*Rule, []Trace) {
	var (
		first  *Rule
		traces []Trace
	)
	for _, rule := range r.Rules {
		holds, err := true, error(nil)
		if rule.When != nil {
			if holds, err = rule.When.Eval(f); err != nil {
				holds = false
			}
		}
		if holds && first == nil {
			first = rule
		}
		if first != nil && !explain {
			return first, nil
		}
		if explain {
			traces = append(traces, rule.trace(f, holds, err))
		}
	}
	return first, traces
}

func (r *Rule) trace(f *Facts, holds bool, err error) Trace {
	t := Trace{Name: r.Name, Holds: holds, Use: r.Use()}
	if r.When != nil {
		t.When, t.Values = r.When.String(), r.When.Values(f)
	}
	if err != nil {
		t.Error = err.Error()
	}
	return t
}

// Use returns what the rule uses, as written: a tier, a list of models, or by_gain.
func (r *Rule) Use() string {
	switch {
	case r.ByGain:
		return "by_gain"
	case r.Tier != nil:
		return r.Tier.Name
	}
	names := make([]string, len(r.Models))
	for i, m := range r.Models {
		names[i] = m.Key
	}
	return "[" + strings.Join(names, ", ") + "]"
}
