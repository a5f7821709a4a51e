package policies

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// defaultGain is `by_gain` when it is absent.
const defaultGain = 0.12

// routes compiles what a client may write in "model", and the routes made for models' own names.
func (c *compiler) routes(n *node) {
	if n != nil && len(n.entries) == 0 {
		c.problemKey(n, "at least one route is needed")
	}
	for _, e := range n.each() {
		if strings.Contains(e.name, "*") {
			c.problemKey(e.value, "the name of a route holds no *: write patterns in match")
			continue
		}
		r := c.route(e.name, e.value)
		c.shadowed(r, e.value)
		c.p.Routes = append(c.p.Routes, r)
		c.p.byName[r.Name] = r
	}
	for name, m := range c.p.Models {
		r := c.blank(name)
		r.Direct, r.Fallback = true, nil
		r.Rules = []*Rule{{Name: "direct", Models: []*Model{m}}}
		c.p.direct[name] = r
	}
	c.judged()
}

// judged marks the routes whose prompts are to be classified. Without tiers there is neither cheap nor hard work, and nothing to choose, escalate
// or learn from: unless an expression asks, a classification would be paid for and not used.
func (c *compiler) judged() {
	all := len(c.p.Tiers) > 0 || slices.ContainsFunc(c.p.Boundaries, func(b *Boundary) bool { return b.When.Reads("task") })
	for _, r := range c.p.Routes {
		r.Judged = all || slices.ContainsFunc(r.Rules, func(rule *Rule) bool { return rule.When.Reads("task") })
	}
	for _, r := range c.p.direct {
		r.Judged = all
	}
}

// blank returns a route with every default.
func (c *compiler) blank(name string) *Route {
	r := &Route{
		Name: name, ByGain: ByGain{Prefer: "cheap", Above: defaultGain}, Fallback: []string{"same_tier", "stronger"},
		Attempts: AttemptLimits{PerModel: 2, Total: 4, On: map[string]bool{}}, Timeouts: defaultTimeouts, Carrier: "executor",
		Session: Session{ToolTurns: "locked", Direction: "up"}, Keepalive: "committed", Lossy: "warn",
		Content: c.f.root.at("telemetry").at("content").str("off"),
	}
	for _, cause := range causes {
		r.Attempts.On[cause] = true
	}
	return r
}

func (c *compiler) route(name string, n *node) *Route {
	r := c.blank(name)
	r.Pos = n.key
	c.matchList(r, n.at("match"))
	c.rules(r, n.at("rules"))
	c.byGain(r, n.at("by_gain"))
	if f := n.at("fallback"); f != nil {
		r.Fallback = f.strings()
		c.unique(f)
	}
	if a := n.at("attempts"); a != nil {
		r.Attempts.PerModel = a.at("per_model").integer(2)
		r.Attempts.Total = a.at("total").integer(4)
		if on := a.at("on"); on != nil {
			r.Attempts.On = map[string]bool{}
			for _, cause := range on.strings() {
				r.Attempts.On[cause] = true
			}
		}
	}
	c.timeouts(r, n.at("timeouts"))
	r.asked = n.at("carrier").str("")
	r.Carrier = n.at("carrier").str("executor")
	r.Rescue = n.at("rescue").str("")
	r.Keepalive = n.at("keepalive").str("committed")
	r.Escalate = escalate(n.at("escalate"))
	for _, key := range []string{"rescue", "keepalive", "escalate"} {
		if v := n.at(key); v != nil && v.str("") != "off" && r.Carrier == "envoy" { // what only the executor can do
			r.Carrier, r.asks = "executor", key
		}
	}
	if s := n.at("session"); s != nil {
		r.Session = Session{
			Header: lowerASCII(s.at("header").str("")), Sticky: s.at("sticky").duration(0),
			ToolTurns: s.at("tool_turns").str("locked"), Direction: s.at("direction").str("up"),
		}
		if h := s.at("header"); h != nil && !headerName(h.text) {
			c.problem(h, "%q is not the name of a header", h.text)
		}
	}
	r.Lossy = n.at("lossy").str("warn")
	if m := n.at("max_tokens"); m != nil {
		r.MaxTokens = MaxTokens{Default: m.at("default").tokens(0), Cap: m.at("cap").tokens(0)}
		if r.MaxTokens.Cap > 0 && r.MaxTokens.Default > r.MaxTokens.Cap {
			c.problem(m.at("default"), "the default of %d is above the cap of %d", r.MaxTokens.Default, r.MaxTokens.Cap)
		}
	}
	r.Residency = c.regions(n.at("residency"))
	r.resident = residency(r.Residency, c.p.Providers)
	r.Limits, r.Budget = c.limits(n.at("limits")), c.budget(n.at("budget"))
	r.Cache = c.cache(r, n.at("cache"))
	r.Content = n.at("content").str(r.Content)
	return r
}

// The defaults of escalate.
const (
	defaultEscalations = 1
	defaultHoldTokens  = 40
	defaultHoldTime    = 2 * time.Second
)

func escalate(n *node) *Escalate {
	if n == nil {
		return nil
	}
	hold, on := n.at("hold"), map[string]bool{}
	for _, sign := range n.at("on").strings() {
		on[sign] = true
	}
	return &Escalate{
		On: on, Max: n.at("max").integer(defaultEscalations),
		Tokens: hold.at("tokens").tokens(defaultHoldTokens), Time: hold.at("time").duration(defaultHoldTime),
	}
}

func (c *compiler) timeouts(r *Route, n *node) {
	if n == nil {
		return
	}
	for name, d := range map[string]*time.Duration{
		"connect": &r.Timeouts.Connect, "headers": &r.Timeouts.Headers, "first_token": &r.Timeouts.FirstToken,
		"idle": &r.Timeouts.Idle, "answer": &r.Timeouts.Answer, "total": &r.Timeouts.Total,
	} {
		*d = n.at(name).duration(*d)
		if t := n.at(name); t != nil && name != "total" && *d > n.at("total").duration(defaultTimeouts.Total) {
			c.notice(t, "%s is longer than the total of %s, which comes first", t.text, n.at("total").duration(defaultTimeouts.Total))
		}
	}
	r.Timeouts.Answer = min(r.Timeouts.Answer, r.Timeouts.Total)
}

// regions reads a residency and says when no provider is in it.
func (c *compiler) regions(n *node) []string {
	if n == nil {
		return nil
	}
	c.unique(n)
	regions := n.strings()
	if b := residency(regions, c.p.Providers); b != nil && len(b.allowed) == 0 {
		c.notice(n, "no provider is in %s: nothing is eligible", strings.Join(regions, ", "))
	}
	return regions
}

// unique reports what a list says twice.
func (c *compiler) unique(n *node) {
	seen := map[string]bool{}
	for _, i := range n.list() {
		if seen[i.text] {
			c.problem(i, "%q is listed twice", i.text)
		}
		seen[i.text] = true
	}
}

func (c *compiler) matchList(r *Route, n *node) {
	for _, i := range n.list() {
		if slices.Contains(r.Matches, i.text) {
			c.problem(i, "%q is listed twice", i.text)
			continue
		}
		r.Matches = append(r.Matches, i.text)
	}
}

// shadowed reports names that an earlier route takes: a route's own name must reach it, and the same match twice is a mistake.
func (c *compiler) shadowed(r *Route, n *node) {
	for _, earlier := range c.p.Routes {
		for _, m := range earlier.Matches {
			if matches(m, r.Name) {
				c.problemKey(n, "the name %q already belongs to route %s, whose match has %q: put this route first or narrow that match", r.Name, earlier.Name, m)
			}
		}
		for _, i := range n.at("match").list() {
			switch {
			case i.text == earlier.Name:
				c.problem(i, "%q is the name of another route", i.text)
			case slices.Contains(earlier.Matches, i.text):
				c.problem(i, "route %s already matches %q", earlier.Name, i.text)
			case slices.ContainsFunc(earlier.Matches, func(m string) bool { return matches(m, strings.ReplaceAll(i.text, "*", "\x00")) }):
				c.p.Notices = append(c.p.Notices, c.f.problem(i.pos, i.path, "never reached: route %s comes first and matches it", earlier.Name))
			}
		}
	}
	for _, i := range n.at("match").list() {
		if i.text != r.Name && c.f.root.at("routes").has(i.text) && c.p.byName[i.text] == nil {
			c.problem(i, "%q is the name of another route", i.text)
		}
	}
	if m := c.p.Models[r.Name]; m != nil {
		c.notice(n, "model %s has the same name: it cannot be called by its own name", r.Name)
	}
}

// rules compiles a route's table. A table whose last rule has a condition is closed by one that goes by gain.
func (c *compiler) rules(r *Route, n *node) {
	names := map[string]bool{}
	always := false
	for i, item := range n.list() {
		rule := &Rule{Index: i, Name: item.at("name").str(fmt.Sprintf("rule %d", i+1)), When: c.expr(item.at("when")), Pos: item.pos}
		if names[rule.Name] {
			at := item.at("name")
			if at == nil {
				at = item
			}
			c.problem(at, "a rule named %q is already there", rule.Name)
		}
		names[rule.Name] = true
		if always {
			c.notice(item, "never reached: the rule before it has no condition")
		}
		always = always || !item.has("when")
		c.use(rule, item.at("use"))
		r.Rules = append(r.Rules, rule)
	}
	if always || n == nil {
		return
	}
	if len(c.p.Tiers) == 0 && !c.reported("tier", "") {
		c.problemKey(n, "the last rule needs to hold always: without tiers nothing can be chosen by gain")
		return
	}
	r.Rules = append(r.Rules, &Rule{Index: len(r.Rules), Name: "otherwise (implicit)", ByGain: true})
}

func (c *compiler) use(rule *Rule, n *node) {
	switch {
	case n == nil:
	case n.kind == listNode:
		rule.Models = c.modelList(n)
	case n.text == "by_gain":
		rule.ByGain = true
		if len(c.p.Tiers) == 0 && !c.reported("tier", "") {
			c.problem(n, "by_gain chooses between tiers, and there are none")
		}
	default:
		if rule.Tier = c.p.tier(n.text); rule.Tier != nil || c.reported("tier", n.text) {
			return
		}
		if _, ok := c.p.Models[n.text]; ok {
			c.problem(n, "%q is a model, not a tier: write [%s]", n.text, n.text)
			return
		}
		names := []string{"by_gain"}
		for _, t := range c.p.Tiers {
			names = append(names, t.Name)
		}
		c.problem(n, "no tier is named %q%s", n.text, meant(n.text, names))
	}
}

// tests compiles the in-file tests.
func (c *compiler) tests(n *node) {
	for _, item := range n.list() {
		t := Test{Name: item.at("name").str(""), Route: item.at("route").str(""), Prompt: item.at("prompt").str(""), Pos: item.pos}
		for _, h := range item.at("headers").each() {
			if !headerName(h.name) {
				c.problemKey(h.value, "%q is not the name of a header", h.name)
			}
			if t.Headers == nil {
				t.Headers = map[string]string{}
			}
			t.Headers[lowerASCII(h.name)] = h.value.text
		}
		if r := item.at("route"); r != nil && c.p.named(r.text) == nil && !c.reported("route", r.text) {
			c.problem(r, "no route answers to %q%s", r.text, meant(r.text, sortedKeys(c.p.byName)))
		}
		if e := item.at("expect"); e != nil {
			t.Expect = c.expect(t.Route, e)
		}
		c.p.Tests = append(c.p.Tests, t)
	}
}

func (c *compiler) expect(route string, n *node) Expect {
	if len(n.entries) == 0 {
		c.problem(n, "a test must expect something")
	}
	e := Expect{
		Tier: n.at("tier").str(""), Model: n.at("model").str(""), Class: n.at("class").str(""), Rule: n.at("rule").str(""),
		Never: n.at("never").strings(), Denied: n.at("denied").boolean(false),
	}
	if t := n.at("tier"); t != nil && c.p.tier(t.text) == nil && !c.reported("tier", t.text) {
		var names []string
		for _, t := range c.p.Tiers {
			names = append(names, t.Name)
		}
		c.problem(t, "no tier is named %q%s", t.text, meant(t.text, names))
	}
	if m := n.at("model"); m != nil {
		reference(c, m, "model", c.p.Models)
	}
	if cl := n.at("class"); cl != nil && len(c.o.Classes) > 0 && !slices.Contains(c.o.Classes, cl.text) {
		c.problem(cl, "no class is named %q%s", cl.text, meant(cl.text, c.o.Classes))
	}
	if r := c.p.named(route); n.at("rule") != nil && r != nil {
		var names []string
		for _, rule := range r.Rules {
			names = append(names, rule.Name)
		}
		if !slices.Contains(names, e.Rule) {
			c.problem(n.at("rule"), "route %s has no rule named %q%s", r.Name, e.Rule, meant(e.Rule, names))
		}
	}
	for _, p := range n.at("never").list() {
		reference(c, p, "provider", c.p.Providers)
	}
	return e
}
