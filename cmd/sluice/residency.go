package main

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-gateway/sluice/policies"
)

// reach is what one tenant can reach through one route, whatever the request says: an upper bound. Where a condition depends on the
// request it is taken to go either way; only what is sure (a boundary without condition, residency, a condition on the key alone) narrows it.
type reach struct {
	tenant, route string
	providers     []*policies.Provider
	causes        map[string][]string // by provider
}

// text is the contract's line: `acme auto: pool (rule "x"), openai (fallback, rescue)`.
func (r *reach) text() string {
	var parts []string
	for _, pr := range r.providers {
		parts = append(parts, pr.Name+" ("+strings.Join(r.causes[pr.Name], ", ")+")")
	}
	return r.tenant + " " + r.route + ": " + cmp.Or(strings.Join(parts, ", "), "nothing")
}

func (r *reach) add(pr *policies.Provider, cause string) {
	if r.causes == nil {
		r.causes = map[string][]string{}
	}
	if _, ok := r.causes[pr.Name]; !ok {
		r.providers = append(r.providers, pr)
	}
	if !slices.Contains(r.causes[pr.Name], cause) {
		r.causes[pr.Name] = append(r.causes[pr.Name], cause)
	}
}

// asker is one party that may ask: a key, or nobody in particular.
type asker struct {
	tenant *policies.Tenant // nil = anyone
	key    *policies.Key
	any    bool // the key stands for those that the file does not declare, whose ids and labels are anything
}

// may reports whether the asker may use a route or a passthrough path at all.
func (a *asker) may(name string) bool {
	return a.key == nil || a.key.Routes == nil || a.key.Routes[name]
}

// undeclared stands for a tenant's tokens, and for the keys that the admin listener makes: they may have every route.
func undeclared(t *policies.Tenant) asker { return asker{t, &policies.Key{Tenant: t}, true} }

// anyone stands for the tenant where no key is asked for.
const anyone = "anyone"

// reachable returns a line for each tenant and route, then for each passthrough path and each model that a key may call by its own name.
func reachable(p *policies.Policy) []*reach {
	var lines []*reach
	for _, name := range askingTenants(p) {
		lines = append(lines, reachOf(p, name, askersOf(p, name))...)
	}
	return lines
}

// askersOf returns who asks as a tenant, as far as the file says. Without a key of its own, a tenant's are those that the admin listener makes.
func askersOf(p *policies.Policy, name string) []asker {
	t := p.Tenants[name]
	if t == nil || p.Server.AuthNone {
		return []asker{{}}
	}
	var askers []asker
	for _, k := range t.Keys {
		askers = append(askers, asker{tenant: t, key: k})
	}
	if len(p.Auth.OIDC) > 0 || len(askers) == 0 && p.Auth.Pepper.Present() {
		askers = append(askers, undeclared(t))
	}
	return askers
}

// reachOf returns the lines of one party: what any of its askers can reach.
func reachOf(p *policies.Policy, name string, askers []asker) []*reach {
	var lines []*reach
	for _, r := range p.Routes {
		l := &reach{tenant: name, route: r.Name}
		for _, a := range askers {
			if a.may(r.Name) {
				newReacher(p, a, r).into(l)
			}
		}
		lines = append(lines, l)
	}
	lines = append(lines, passthroughs(p, name, askers)...)
	return append(lines, directs(p, name, askers)...)
}

// madeReach returns the providers that a key which the admin listener makes for a tenant can reach by any route, path or model that it may be given.
func madeReach(p *policies.Policy, name string) []string {
	t := p.Tenants[name]
	if t == nil || p.Server.AuthNone || !p.Auth.Pepper.Present() {
		return nil
	}
	a := undeclared(t)
	a.key.Models = map[string]bool{}
	for m := range p.Models {
		a.key.Models[m] = true
	}
	return providersOf(reachOf(p, name, []asker{a}))
}

// providersOf returns all that some lines name, sorted.
func providersOf(lines []*reach) []string {
	all := map[string]bool{}
	for _, l := range lines {
		for _, pr := range l.providers {
			all[pr.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func askingTenants(p *policies.Policy) []string {
	if p.Server.AuthNone {
		return []string{anyone}
	}
	return slices.Sorted(maps.Keys(p.Tenants))
}

func passthroughs(p *policies.Policy, tenant string, askers []asker) []*reach {
	var lines []*reach
	for _, t := range p.Passthrough {
		l := &reach{tenant: tenant, route: t.Path}
		for _, a := range askers {
			if a.may(t.Path) && newReacher(p, a, nil).allows(t.Provider) {
				l.add(t.Provider, "passthrough")
			}
		}
		lines = append(lines, l)
	}
	return lines
}

func directs(p *policies.Policy, tenant string, askers []asker) []*reach {
	var lines []*reach
	for _, a := range askers {
		if a.key == nil {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(a.key.Models)) {
			r, ok := p.Route(name, a.key)
			if !ok || !r.Direct {
				continue
			}
			i := slices.IndexFunc(lines, func(l *reach) bool { return l.route == name })
			if i < 0 {
				i, lines = len(lines), append(lines, &reach{tenant: tenant, route: name})
			}
			if m := p.Models[name]; m != nil && newReacher(p, a, r).allows(m.Provider) {
				lines[i].add(m.Provider, "model name")
			}
		}
	}
	return lines
}

// reacher works out what one asker can reach through one route.
type reacher struct {
	p     *policies.Policy
	asker asker
	route *policies.Route // nil on passthrough paths
	facts policies.Facts
	sure  []*policies.Boundary // those that hold for whatever the asker sends
}

func newReacher(p *policies.Policy, a asker, r *policies.Route) *reacher {
	x := &reacher{p: p, asker: a, route: r}
	if a.key != nil {
		x.facts.Key = policies.KeyFacts{ID: a.key.ID, Tenant: a.tenant.Name, Labels: a.key.Labels}
	}
	for _, b := range p.Boundaries {
		if holds, known := x.judge(b.When, true); known && holds {
			x.sure = append(x.sure, b)
		}
	}
	return x
}

// varies matches the variables that a request can change. It also matches them inside texts, which errs on the side of more reach.
var varies = regexp.MustCompile(`\b(req|task|budget|session|pool|now)\b`)

// claimed matches what is anything where the file does not declare the key.
var claimed = regexp.MustCompile(`\bkey\.(id|labels)\b`)

// judge evaluates a condition that depends on nothing but the key; known is false for any other. An error counts as onError.
func (x *reacher) judge(when *policies.Expr, onError bool) (holds, known bool) {
	if when == nil {
		return true, true
	}
	if varies.MatchString(when.String()) || x.asker.any && claimed.MatchString(when.String()) {
		return false, false
	}
	holds, err := when.Eval(&x.facts)
	if err != nil {
		return onError, true
	}
	return holds, true
}

// allows reports whether a request of the asker can ever be let through to the provider.
func (x *reacher) allows(pr *policies.Provider) bool {
	for _, b := range x.sure {
		if !(b.Own && pr.Own) && !b.Only[pr.Name] {
			return false
		}
	}
	if x.route != nil && !resides(pr, x.route.Residency) {
		return false
	}
	return x.asker.tenant == nil || resides(pr, x.asker.tenant.Residency)
}

func resides(pr *policies.Provider, regions []string) bool {
	return len(regions) == 0 || pr.Region != "" && slices.Contains(regions, pr.Region)
}

// into adds all that the route can reach.
func (x *reacher) into(l *reach) {
	tiers := map[*policies.Tier]bool{} // from which fallback may set out
	follow := false                    // some rule names a tier, so that fallback applies
	models := func(ms []*policies.Model, cause string) (grew bool) {
		for _, m := range ms {
			if !x.allows(m.Provider) {
				continue
			}
			l.add(m.Provider, cause)
			if t := x.tier(m.Tier); t != nil && !tiers[t] {
				tiers[t], grew = true, true
			}
		}
		return grew
	}
	for _, r := range x.route.Rules {
		holds, known := x.judge(r.When, false)
		if known && !holds {
			continue
		}
		cause := "rule " + strconv.Quote(r.Name)
		switch {
		case r.Models != nil:
			models(r.Models, cause)
			if len(r.Models) > 1 && x.rescues() {
				models(r.Models[1:], "rescue")
			}
		case r.ByGain: // the first or the last tier that can take the request: that may be any
			follow = true
			for _, t := range x.p.Tiers {
				models(t.Models, cause)
			}
		default:
			follow = true
			tiers[r.Tier] = true // fallback sets out from it also when none of its own models is allowed
			models(r.Tier.Models, cause)
		}
		if known {
			break
		}
	}
	if x.lowers() {
		for _, t := range x.p.Tiers {
			models(t.Models, "budget")
		}
	}
	if c := x.route.Cache; c != nil && c.Semantic != nil && x.allows(c.Semantic.Model.Provider) {
		l.add(c.Semantic.Model.Provider, "semantic cache")
	}
	// A conversation keeps its model, and fallback then sets out from that model's tier: so on until nothing new comes.
	for grew := follow; grew; {
		grew = false
		for _, t := range x.p.Tiers {
			if tiers[t] {
				for _, ms := range x.fallbacks(t) {
					grew = models(ms, "fallback") || grew
					if x.rescues() {
						models(ms, "rescue")
					}
				}
				if x.route.Escalate != nil {
					for _, up := range x.p.Tiers[t.Rank+1:] {
						grew = models(up.Models, "escalation") || grew
					}
				}
			}
		}
	}
}

// lowers reports whether a budget may move the request to the lowest tier that can take it, whatever the rule says: that may be any.
func (x *reacher) lowers() bool {
	budgets := []*policies.Budget{x.route.Budget}
	if k := x.asker.key; k != nil {
		budgets = append(budgets, k.Budget, k.Tenant.Budget)
	}
	return slices.ContainsFunc(budgets, func(b *policies.Budget) bool {
		return b != nil && (b.OnExceed == policies.OnLowestTier || b.UnknownPrice == policies.OnLowestTier)
	})
}

func (x *reacher) rescues() bool { return x.route.Rescue != "off" }

func (x *reacher) tier(name string) *policies.Tier {
	for _, t := range x.p.Tiers {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// fallbacks are the models to which a tier's attempts may move on.
func (x *reacher) fallbacks(from *policies.Tier) [][]*policies.Model {
	var out [][]*policies.Model
	for _, how := range x.route.Fallback {
		for _, t := range x.p.Tiers {
			switch {
			case how == "same_tier" && t == from && len(t.Models) > 1:
				out = append(out, t.Models)
			case how == "stronger" && t.Rank > from.Rank, how == "weaker" && t.Rank < from.Rank:
				out = append(out, t.Models)
			}
		}
	}
	return out
}
