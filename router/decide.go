package router

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
)

// Options make a Router. The zero value is the trained classifier with the default memory.
type Options struct {
	Classifier Classifier // nil: the trained one
	Sessions   int        // conversations remembered at once; 0 = DefaultSessions
	Shared     bool       // conversations have the same names in every process, so that gateways can tell each other of them
}

// Router decides. It outlives policies: what it remembers of conversations is keyed by names. Safe for concurrent use.
type Router struct {
	classifier func() Classifier
	sessions   *sessions
	failures   atomic.Uint64
}

// New returns a router.
func New(o Options) *Router {
	classifier := func() Classifier { return o.Classifier }
	if o.Classifier == nil { // it takes milliseconds to build, and a policy that judges no prompt has no use for it
		classifier = sync.OnceValue(func() Classifier { return NewTrained() })
	}
	if o.Sessions <= 0 {
		o.Sessions = DefaultSessions
	}
	return &Router{classifier: classifier, sessions: newSessions(o.Sessions, o.Shared)}
}

// Failures returns how often the classifier has failed: panicked, or said what is not a number.
func (r *Router) Failures() uint64 { return r.failures.Load() }

// Sessions returns how many conversations are remembered.
func (r *Router) Sessions() int { return r.sessions.size() }

// Decision is what a request gets, and why.
type Decision struct {
	Rule    string
	Class   string // "" where nothing was classified
	Tier    string // of the plan's first attempt; "" if its model is in none
	Reason  string // for the header: rule="hard work" class=code gain=0.31 tier=strong …
	Gain    float64
	Novelty float64
	ClassP  [NumClasses]float64
	Reasons [numReasons]Reason // of the gain, the largest first

	Plan       policies.Plan
	Bounds     policies.Bounds
	Boundaries []policies.Trace // with Explain
	Rules      []policies.Trace // with Explain
	Rejected   []policies.Rejected
	Choice     policies.Choice // how by_gain chose, where a rule asked it
	Session    bool            // the conversation's model was kept
	Climbed    bool            // the conversation moved up because a tool call of its model kept failing
	Lowered    bool            // a budget left the lowest tier only
	Facts      policies.Facts
	Content    Content

	key    SessionKey
	sticky time.Duration
}

// Decide makes the plan for a request. The decision is never nil: beside an error it holds what was found out before it, for records and
// explanations. Every boundary is looked at before any rule, and apart from them.
func (r *Router) Decide(p *policies.Policy, in *Input) (*Decision, *llm.Error) {
	d := r.facts(p, in)
	f := &d.Facts
	d.Bounds, d.Boundaries = p.Bound(f, in.Route, in.tenant(), in.Explain)
	rule, traces := in.Route.Match(f, in.Explain)
	d.Rules = traces
	if rule == nil {
		return d, &llm.Error{Source: llm.SourceGateway, Class: llm.ClassClient, Status: 403, Type: "policy_denied", Code: "policy_denied",
			Message: "no rule of route " + strconv.Quote(in.Route.Name) + " holds for this request"}
	}
	d.Rule = rule.Name
	eligible := r.plan(p, in, d, rule)
	switch {
	case eligible == 0:
		err := refuse(p, in.Route, rule, d.Gain, d.Bounds, f.Req.Needs, f.Req.Tokens)
		d.reason(rule)
		return d, err
	case len(d.Plan.Attempts) == 0:
		d.reason(rule)
		return d, Unavailable(d.Bounds.Names, soonest(d.Rejected))
	}
	d.Tier = d.Plan.Attempts[0].Tier
	d.reason(rule)
	return d, nil
}

// DecidePassthrough checks a path that policy gives to a provider: boundaries and residency bind it like any request. usable is nil or says
// whether the provider can be asked now.
func (r *Router) DecidePassthrough(p *policies.Policy, pr *policies.Provider, in *Input, usable func(*policies.Provider) (ok bool, after time.Duration)) (*Decision, *llm.Error) {
	d := r.facts(p, in)
	d.Bounds, d.Boundaries = p.Bound(&d.Facts, in.Route, in.tenant(), in.Explain)
	d.Reason = "passthrough"
	if !d.Bounds.Allows(pr) {
		return d, Denied(d.Bounds.Names)
	}
	if usable != nil {
		if ok, after := usable(pr); !ok {
			return d, Unavailable(d.Bounds.Names, after)
		}
	}
	return d, nil
}

// facts fills in all that expressions may read. The class is one of the facts, so that a boundary may bind a class: it is had before the
// boundaries are looked at, and when it cannot be had they hold.
func (r *Router) facts(p *policies.Policy, in *Input) *Decision {
	d := new(Decision)
	switch {
	case in.Conversation != nil:
		d.Content = in.Conversation.content
	case in.Envelope != nil:
		d.Content = Extract(in.Envelope)
	}
	d.Facts = PolicyFacts(in, &d.Content)
	f := &d.Facts
	r.session(p, in, d)
	if in.Envelope == nil || !in.Envelope.Op.Generates() {
		return d
	}
	if !in.Route.Judged && !in.Explain {
		f.TaskErr = errUnjudged
		return d
	}
	c, err := r.classify(d.Content.Prompt)
	if f.TaskErr = err; err != nil {
		return d
	}
	d.Class, d.Gain, d.Novelty, d.ClassP, d.Reasons = c.Name, c.Gain, c.Novelty, c.P, c.Reasons
	f.Task = policies.Task{Class: c.Name, Gain: c.Gain, Novelty: c.Novelty, ClassP: d.prob}
	return d
}

func (d *Decision) prob(class string) float64 {
	for i, n := range Classes {
		if n == class {
			return d.ClassP[i]
		}
	}
	return 0
}

// session fills in what is remembered of the conversation. A model that the policy no longer has is forgotten.
func (r *Router) session(p *policies.Policy, in *Input, d *Decision) {
	s := &d.Facts.Session
	var may bool
	if c := in.Conversation; c != nil {
		d.key, s.ID, may = c.key, c.id, c.Begun
	} else {
		d.key, s.ID, may = r.sessions.key(in, &d.Content)
	}
	if in.Route != nil {
		d.sticky = in.Route.Session.Sticky
	}
	s.ToolTurn = in.Envelope != nil && in.Envelope.ToolTurn
	if in.Session != nil {
		*s = *in.Session
		return
	}
	if d.key.Zero() || !may {
		return
	}
	model, turns, ok := r.sessions.find(d.key, in.Now)
	if !ok {
		return
	}
	m := p.Models[model]
	if m == nil {
		r.sessions.forget(d.key)
		return
	}
	s.Known, s.Turns, s.Model, s.Tier = true, turns, m.Key, m.Tier
}

// classify asks the classifier and believes only what can be true.
func (r *Router) classify(p Prompt) (c Class, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("classifier panicked: %v", v)
		}
		if err != nil {
			r.failures.Add(1)
		}
	}()
	c = r.classifier().Classify(p)
	sum := 0.0
	for _, q := range c.P {
		if !(q >= 0 && q <= 1) {
			return c, fmt.Errorf("classifier gave the probability %v", q)
		}
		sum += q
	}
	if !(math.Abs(sum-1) < 1e-6) || !(c.Gain >= -1 && c.Gain <= 1) || !(c.Novelty >= 0 && c.Novelty <= 1) {
		return c, fmt.Errorf("classifier gave sum %v, gain %v, novelty %v", sum, c.Gain, c.Novelty)
	}
	return c, nil
}

// plan fills in the plan and returns how many models were eligible at all.
func (r *Router) plan(p *policies.Policy, in *Input, d *Decision, rule *policies.Rule) (eligible int) {
	f := &d.Facts
	stakes := policies.Stakes{Gain: d.Gain, Tokens: f.Req.Tokens, Out: cmp.Or(f.Req.MaxTokens, in.Route.MaxTokens.Default), Pace: in.Pace}
	if f.TaskErr != nil {
		stakes.Gain = math.NaN() // by_gain then does what the route prefers
	}
	ask := func(session *policies.Model) (dec policies.Decided) {
		d.Plan, dec, d.Rejected = p.Plan(in.Route, rule, stakes, d.Bounds, f.Req.Needs, session, in.Usable)
		d.Choice = dec.Choice
		return dec
	}
	var kept *policies.Model
	if f.Session.Known {
		kept = p.Models[f.Session.Model]
	}
	locked := kept != nil && f.Session.ToolTurn && in.Route.Session.ToolTurns != "free"
	if kept != nil && !in.Lowest && stuck(in.Envelope) {
		if up := climb(p, rule, kept); up != nil {
			asked := rule
			rule = up
			if dec := ask(nil); len(d.Plan.Attempts) > 0 && p.Rank(d.Plan.Attempts[0].Tier) > p.Rank(kept.Tier) {
				d.Climbed = true
				return dec.Eligible
			}
			rule = asked
		}
	}
	var dec policies.Decided
	switch {
	case in.Lowest:
		for _, t := range p.Tiers {
			rule = &policies.Rule{Name: rule.Name, Models: t.Models}
			var first *policies.Model
			if locked { // a tool's result still goes to the model that called the tool, and beyond it to nobody dearer
				first, rule.Models = kept, append([]*policies.Model{kept}, t.Models...)
			}
			if dec = ask(first); dec.Eligible > 0 {
				d.Lowered = true
				break
			}
		}
	case locked:
		if rule.Models != nil && !slices.Contains(rule.Models, kept) {
			// A list is the whole plan, but a tool's result belongs to the model that called the tool: it goes first.
			with := *rule
			with.Models = append([]*policies.Model{kept}, rule.Models...)
			rule = &with
		}
		dec = ask(kept)
	case kept == nil:
		return ask(nil).Eligible
	default:
		dec = ask(nil)
		if !stays(p, in.Route, rule, kept, dec.Tier) {
			return dec.Eligible
		}
		dec = ask(kept)
	}
	d.Session = len(d.Plan.Attempts) > 0 && d.Plan.Attempts[0].Model == kept
	return dec.Eligible
}

// stays reports whether a conversation keeps its model although the rules chose the tier. Upwards it may move; downwards only where the
// rule looks at the budget.
func stays(p *policies.Policy, r *policies.Route, rule *policies.Rule, kept *policies.Model, tier string) bool {
	if rule.Models != nil {
		return slices.Contains(rule.Models, kept)
	}
	was, now := p.Rank(kept.Tier), p.Rank(tier)
	switch {
	case was < 0 || was < now:
		return false
	case was == now:
		return true
	}
	return r.Session.Direction != "any" && !rule.When.Reads("budget")
}

// Remember keeps the model that answered for the conversation's next turns. The proxy calls it after a complete answer. It returns what [Router.Learn]
// of another router understands; "" where there is nothing to remember.
func (r *Router) Remember(d *Decision, m *policies.Model, now time.Time) (memory string) {
	if d == nil || m == nil || d.key.Zero() || d.sticky <= 0 {
		return ""
	}
	model, turns := r.sessions.remember(d.key, m, d.Facts.Session.Turns, now, d.sticky)
	return strconv.Itoa(turns) + " " + model
}

// reason writes the decision in one line. It holds names of the policy and numbers, nothing that a client wrote.
func (d *Decision) reason(rule *policies.Rule) {
	b := make([]byte, 0, 128)
	b = append(b, "rule="...)
	b = strconv.AppendQuoteToASCII(b, d.Rule)
	if d.Class != "" {
		b = append(b, " class="...)
		b = append(b, d.Class...)
		b = append(b, " gain="...)
		b = strconv.AppendFloat(b, d.Gain, 'f', 2, 64)
		b = append(b, " novelty="...)
		b = strconv.AppendFloat(b, d.Novelty, 'f', 2, 64)
	} else if d.Facts.TaskErr != nil && d.Facts.TaskErr != errUnjudged {
		b = append(b, " class=unknown"...)
	}
	if rule.ByGain {
		b = append(b, " by_gain"...)
		b = d.chosen(b)
	}
	if d.Tier != "" {
		b = append(b, " tier="...)
		b = append(b, d.Tier...)
	}
	switch {
	case d.Session:
		b = append(b, " session=kept"...)
	case d.Climbed:
		b = append(b, " session=up"...)
	}
	if d.Lowered {
		b = append(b, " budget=lowest_tier"...)
	}
	for _, n := range d.Bounds.Names {
		b = append(b, " boundary="...)
		b = strconv.AppendQuoteToASCII(b, n)
	}
	d.Reason = string(b)
}

// chosen tells how by_gain chose: the threshold and whether it is a measured one, or what the last tier's answer is worth more.
func (d *Decision) chosen(b []byte) []byte {
	g, c := &d.Plan.Route.ByGain, &d.Choice
	switch c.By {
	case "above", "calibration":
		b = append(b, " above="...)
		b = strconv.AppendFloat(b, c.Threshold, 'g', 3, 64)
	case "value":
		b = append(b, " worth="...)
		b = strconv.AppendFloat(b, c.Worth, 'g', 3, 64)
	}
	switch {
	case c.Unpriced != "":
		b = append(append(b, " unpriced="...), c.Unpriced...)
	case g.Uncalibrated != "":
		b = append(b, " uncalibrated"...)
	case c.By == "calibration":
		b = append(b, " regret<="...)
		b = strconv.AppendFloat(b, g.Calibration.Bound, 'g', 3, 64)
	}
	return b
}
