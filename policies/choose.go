package policies

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Reasons why a model is not in a plan, as kinds: [Rejected.Kind].
const (
	RejectedByBoundary   = "boundary"
	RejectedByCapability = "capability"
	RejectedByContext    = "context"
	RejectedByState      = "state" // eligible, but down, open, full or cooling
)

// ByEscalation marks an attempt of a plan that is made only where an answer was no good, never because one failed.
const ByEscalation = "escalation"

// Decided says what a plan was made of.
type Decided struct {
	Tier     string   // the tier that was chosen; "" for a list of models outside the tiers
	Models   []*Model // those that the plan asks, in order
	Eligible int      // candidates that may carry the request, usable now or not
	Choice   Choice   // how by_gain chose; zero where no rule asked it
}

// Usable says whether a model can be asked now, and if not why and when it may be.
type Usable func(*Model) (ok bool, why string, after time.Duration)

// maxExpected bounds the room that is made for a plan before it is known how many models it will hold.
const maxExpected = 8

// planner is one call of Plan.
type planner struct {
	p      *Policy
	r      *Route
	b      Bounds // b and needs are values: what is pointed to would escape with the plan
	needs  Needs
	tokens int
	stakes Stakes
	usable Usable
	expect int // candidates that add may be called with

	plan     Plan
	decided  Decided
	rejected []Rejected
}

// Plan makes the list of attempts for a rule. Only models that the bounds allow, that can do what the request needs and whose window holds
// its tokens (0 = unknown) are candidates: the session's model first (nil = none), then those of the tier that the rule or the gain chooses,
// then the route's fallback. A rule with a list of models has exactly those. usable may be nil: everything is.
func (p *Policy) Plan(r *Route, rule *Rule, stakes Stakes, b Bounds, needs Needs, session *Model, usable Usable) (Plan, Decided, []Rejected) {
	pl := &planner{p: p, r: r, b: b, needs: needs, tokens: stakes.Tokens, stakes: stakes, usable: usable}
	pl.plan = Plan{Route: r, Total: r.Attempts.Total, Carrier: r.Carrier, Why: r.carrierWhy()}
	if rule == nil {
		return pl.plan, pl.decided, nil
	}
	pl.expect = r.candidates(rule, p.Tiers)
	if session != nil {
		pl.expect++
	}
	if rule.Models != nil {
		pl.list(rule.Models, session)
		return pl.plan, pl.decided, pl.rejected
	}
	tier := rule.Tier
	if rule.ByGain {
		tier = pl.byGain()
	}
	by := "rule"
	if session != nil && pl.add(session, session.Tier, "session") {
		// The conversation stays: what follows is reckoned from its tier.
		if t := p.tier(session.Tier); t != nil {
			tier, by = t, "fallback"
		}
	}
	if tier == nil {
		pl.allTiers()
		return pl.plan, pl.decided, pl.rejected
	}
	pl.decided.Tier = tier.Name
	pl.tier(tier, by)
	for _, f := range r.Fallback {
		pl.fallback(tier.Rank, f)
	}
	if r.Escalate != nil { // those that fallback does not reach are asked for nothing else
		for _, t := range p.Tiers[tier.Rank+1:] {
			for _, m := range t.Models {
				pl.add(m, t.Name, ByEscalation)
			}
		}
	}
	return pl.plan, pl.decided, pl.rejected
}

// candidates returns how many models a plan of the rule may hold, the session's apart.
func (r *Route) candidates(rule *Rule, tiers []*Tier) (n int) {
	switch {
	case rule.Models != nil:
		return len(rule.Models)
	case len(r.Fallback) == 0:
		return 1
	}
	for _, t := range tiers {
		n += len(t.Models)
	}
	return n
}

// list plans exactly the models of a rule; the session's model moves to the front if it is one of them.
func (pl *planner) list(models []*Model, session *Model) {
	if session != nil && slices.Contains(models, session) {
		pl.add(session, session.Tier, "session")
	}
	for _, m := range models {
		pl.add(m, m.Tier, "rule")
	}
	if len(pl.decided.Models) > 0 {
		pl.decided.Tier = pl.decided.Models[0].Tier
	}
}

// tier adds the chosen tier's first model, and the rest of it when nothing could be added: its other models are a fallback of their own.
func (pl *planner) tier(t *Tier, by string) {
	if by == "fallback" {
		return
	}
	for _, m := range t.Models {
		if pl.add(m, t.Name, by) {
			return
		}
	}
}

// fallback adds where attempts go next: the tier's other models, or the tiers beyond it, nearest first.
func (pl *planner) fallback(rank int, how string) {
	switch how {
	case "same_tier":
		pl.whole(pl.p.Tiers[rank])
	case "stronger":
		for _, t := range pl.p.Tiers[rank+1:] {
			pl.whole(t)
		}
	case "weaker":
		for i := rank - 1; i >= 0; i-- {
			pl.whole(pl.p.Tiers[i])
		}
	}
}

func (pl *planner) whole(t *Tier) {
	for _, m := range t.Models {
		pl.add(m, t.Name, "fallback")
	}
}

// allTiers tells why, when no tier has an eligible model: every model is looked at once so that the caller sees what stood in the way.
func (pl *planner) allTiers() {
	for _, t := range pl.p.Tiers {
		pl.whole(t)
	}
}

// add puts a model's attempts into the plan and reports whether it did. A model is looked at once.
func (pl *planner) add(m *Model, tier, by string) bool {
	if slices.Contains(pl.decided.Models, m) || slices.ContainsFunc(pl.rejected, func(r Rejected) bool { return r.Model == m.Key }) {
		return false
	}
	if kind, why := pl.unfit(m); kind != "" {
		pl.rejected = append(pl.rejected, Rejected{Model: m.Key, Kind: kind, Reason: why})
		return false
	}
	if pl.usable != nil {
		if ok, why, after := pl.usable(m); !ok {
			pl.down(m, why, after)
			return false
		}
	}
	pl.decided.Eligible++
	if pl.plan.Attempts == nil {
		n := min(pl.expect, maxExpected)
		pl.plan.Attempts, pl.decided.Models = make([]Attempt, 0, n*pl.r.Attempts.PerModel), make([]*Model, 0, n)
	}
	pl.decided.Models = append(pl.decided.Models, m)
	for range pl.r.Attempts.PerModel {
		pl.plan.Attempts = append(pl.plan.Attempts, Attempt{Model: m, Tier: tier, By: by})
	}
	return true
}

// down leaves out a model that may carry the request and cannot be asked now.
func (pl *planner) down(m *Model, why string, after time.Duration) {
	pl.decided.Eligible++
	pl.rejected = append(pl.rejected, Rejected{Model: m.Key, Kind: RejectedByState, Reason: why, Down: true, After: after})
}

// unfit says why a model may not carry the request: the kind, "" when it may, and the reason.
func (pl *planner) unfit(m *Model) (kind, why string) {
	if !pl.b.Allows(m.Provider) {
		return RejectedByBoundary, "provider " + m.Provider.Name + " is outside \"" + strings.Join(pl.b.Names, `", "`) + `"`
	}
	if lack := m.Lacks(&pl.needs); lack != "" {
		return RejectedByCapability, "cannot do " + lack
	}
	if pl.tokens > 0 && m.Context > 0 && pl.tokens > m.Context {
		return RejectedByContext, fmt.Sprintf("%d tokens do not fit its context of %d", pl.tokens, m.Context)
	}
	return "", ""
}

// Lacks returns the first capability that the request needs and the model's `can` does not list, or "". An absent `can` refuses nothing. Chat
// and completions go without saying for every model but one that lists embeddings and nothing that generates; a model that lists one of
// the two has only that one. Logprobs are never held against a model: providers differ by the call, and the call is answered without.
func (m *Model) Lacks(n *Needs) string {
	if m.Can == nil {
		return ""
	}
	says := m.Can["chat"] || m.Can["completions"]
	embeds := m.Can["embeddings"] && !m.Can["tools"] && !m.Can["json"]
	switch {
	case n.Chat && !m.Can["chat"] && (says || embeds):
		return "chat"
	case n.Completions && !m.Can["completions"] && (says || embeds):
		return "completions"
	}
	for _, c := range [...]struct {
		need bool
		name string
	}{{n.Embeddings, "embeddings"}, {n.Tools, "tools"}, {n.JSON, "json"}, {n.Vision, "vision"}, {n.Audio, "audio"}, {n.Files, "files"}} {
		if c.need && !m.Can[c.name] {
			return c.name
		}
	}
	return ""
}

// Rank returns a tier's place from cheap to strong, 0 first; -1 if there is none of that name.
func (p *Policy) Rank(tier string) int {
	if t := p.tier(tier); t != nil {
		return t.Rank
	}
	return -1
}

// TierNames lists the tiers from cheap to strong, as text.
func (p *Policy) TierNames() string {
	names := make([]string, len(p.Tiers))
	for i, t := range p.Tiers {
		names[i] = t.Name
	}
	return strings.Join(names, ", ")
}

// tier returns the tier with the name, or nil.
func (p *Policy) tier(name string) *Tier {
	for _, t := range p.Tiers {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// carrierWhy says why the route's carrier is what it is. What a route asks of the executor alone makes it carry.
func (r *Route) carrierWhy() string {
	switch {
	case r.asks != "":
		return r.asks + " is written in the route"
	case r.asked == "":
		return "the default"
	}
	return "carrier is written in the route"
}
