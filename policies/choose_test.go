package policies

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func route(t testing.TB, p *Policy, name string) *Route {
	t.Helper()
	r, ok := p.Route(name, nil)
	if !ok {
		t.Fatalf("no route %s", name)
	}
	return r
}

func TestRouteLookup(t *testing.T) {
	p := small(t)
	keys := map[string]*Key{"": nil}
	for _, k := range p.Tenants["acme"].Keys {
		keys[k.ID] = k
	}
	for _, c := range []struct{ key, model, want string }{
		{"", "auto", "auto"}, {"", "gpt-4o", "auto"}, {"", "gpt-4o-mini", "auto"}, {"", "fast", "auto"}, {"", "faster", ""}, {"", "GPT-4o", ""},
		{"", "plain", "plain"}, {"", "big", ""}, {"", "", ""}, {"", "gpt-4", ""},
		{"web", "auto", "auto"}, {"web", "gpt-4o", "auto"}, {"web", "plain", ""}, {"web", "big", "big"}, {"web", "small", ""},
		{"none", "auto", ""}, {"none", "gpt-4o", ""}, {"none", "big", ""},
		{"all", "plain", "plain"}, {"all", "big", ""},
	} {
		got := ""
		if r, ok := p.Route(c.model, keys[c.key]); ok {
			got = r.Name
		}
		if got != c.want {
			t.Errorf("key %q, model %q: route %q, expected %q", c.key, c.model, got, c.want)
		}
	}
	r, _ := p.Route("big", keys["web"])
	if !r.Direct || len(r.Rules) != 1 || len(r.Fallback) != 0 || r.Timeouts != defaultTimeouts {
		t.Errorf("direct route %+v", r)
	}
	for key, want := range map[string][]string{
		"": {"auto", "fast", "plain", "narrow", "embed"}, "web": {"auto", "fast", "embed", "big"}, "none": nil, "all": {"auto", "fast", "plain", "narrow", "embed"},
	} {
		if d := cmp.Diff(want, p.Listed(keys[key])); d != "" {
			t.Errorf("listed for %q (-want +got):\n%s", key, d)
		}
	}
	if k := keys["all"]; k.Expires.UTC().Format(time.RFC3339) != "2026-06-01T10:00:00Z" || k.Routes != nil || keys["none"].Routes == nil {
		t.Errorf("key %+v", k)
	}
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"a*", "a", true}, {"*", "", true}, {"*a", "bca", true}, {"*a", "ab", false},
		{"a*b*c", "axxbyyc", true}, {"a*b*c", "acb", false}, {"a*a", "a", false}, {"a**b", "ab", true}, {"*x*", "axb", true}, {"gpt-4*-mini", "gpt-4o-mini", true},
		{"a*bc", "abcbc", true}, {"ab*ba", "aba", false},
	} {
		if got := matches(c.pattern, c.name); got != c.want {
			t.Errorf("%q on %q: %v", c.pattern, c.name, got)
		}
	}
}

func TestPassthrough(t *testing.T) {
	p := small(t)
	for path, want := range map[string]string{
		"/v1/files": "openai", "/v1/files/": "openai", "/v1/files/abc": "openai", "/v1/filesx": "", "/v1/file": "", "/v1/files/own/1": "house", "/v1/files/own": "house", "/v1/files/owner": "openai", "/": "",
	} {
		got := ""
		if x, ok := p.PassthroughFor(path, nil); ok {
			got = x.Name
		}
		if got != want {
			t.Errorf("%s goes to %q, expected %q", path, got, want)
		}
	}
	only := &Key{Routes: map[string]bool{"auto": true, "/v1/files": true}}
	for path, want := range map[string]string{"/v1/files": "openai", "/v1/files/abc": "openai", "/v1/files/own/1": "", "/v1/file": ""} {
		got := ""
		x, ok := p.PassthroughFor(path, only)
		if x != nil {
			got = x.Name
		}
		if got != want || ok != (path != "/v1/file") {
			t.Errorf("%s goes to %q (%v) for a key with routes, expected %q", path, got, ok, want)
		}
	}
}

func TestBound(t *testing.T) {
	p := small(t)
	acme := p.Tenants["acme"]
	private := func(f *Facts) { f.Req.Header = func(string) string { return "private" } }
	hard := func(f *Facts) { f.Task.Gain = 0.95 }
	for _, c := range []struct {
		name    string
		change  func(*Facts)
		route   string
		tenant  *Tenant
		names   []string
		allowed []string
	}{
		{"nothing holds", func(*Facts) {}, "auto", nil, nil, nil},
		{"own", private, "auto", nil, []string{"private stays home"}, []string{"pool"}},
		{"list", hard, "auto", nil, []string{"hard stays near"}, []string{"house", "pool"}},
		{"both", func(f *Facts) { private(f); hard(f) }, "auto", nil, []string{"private stays home", "hard stays near"}, []string{"pool"}},
		{"an error holds", func(f *Facts) { f.TaskErr = errors.New("x") }, "auto", nil, []string{"hard stays near"}, []string{"house", "pool"}},
		{"a panic holds", func(f *Facts) { f.Req.Header = func(string) string { panic("x") } }, "auto", nil, []string{"private stays home"}, []string{"pool"}},
		{"route's residency", func(*Facts) {}, "narrow", nil, []string{"residency [eu]"}, []string{"pool"}},
		{"tenant's residency", func(*Facts) {}, "auto", acme, []string{"residency [eu, us]"}, []string{"openai", "pool"}},
		{"residency and boundary", hard, "auto", acme, []string{"hard stays near", "residency [eu, us]"}, []string{"pool"}},
	} {
		f := &Facts{}
		c.change(f)
		b, traces := p.Bound(f, route(t, p, c.route), c.tenant, true)
		if d := cmp.Diff(c.names, b.Names); d != "" {
			t.Errorf("%s: names (-want +got):\n%s", c.name, d)
		}
		if d := cmp.Diff(c.allowed, allowedBy(&b)); d != "" || b.Free != (c.names == nil) {
			t.Errorf("%s: free %v, allowed (-want +got):\n%s", c.name, b.Free, d)
		}
		if len(traces) < 2 {
			t.Errorf("%s: %d traces", c.name, len(traces))
		}
		quiet, none := p.Bound(f, route(t, p, c.route), c.tenant, false)
		if none != nil || !slices.Equal(allowedBy(&quiet), allowedBy(&b)) {
			t.Errorf("%s: differs without traces", c.name)
		}
	}
}

func TestMatch(t *testing.T) {
	p := small(t)
	for _, c := range []struct {
		facts Facts
		route string
		want  string
	}{
		{Facts{Task: Task{Class: "math"}}, "auto", "maths"},
		{Facts{Task: Task{Class: "math"}, Req: Req{Turns: 5}}, "auto", "maths"},
		{Facts{Req: Req{Turns: 5}}, "auto", "middling"},
		{Facts{Req: Req{Stream: true}}, "auto", "listed"},
		{Facts{}, "auto", "otherwise (implicit)"},
		{Facts{Task: Task{Class: "math"}, TaskErr: errors.New("x"), Req: Req{Stream: true}}, "auto", "listed"},
		{Facts{}, "plain", "rule 1"},
	} {
		r := route(t, p, c.route)
		rule, none := r.Match(&c.facts, false)
		again, traces := r.Match(&c.facts, true)
		if rule.Name != c.want || again != rule || none != nil || len(traces) != len(r.Rules) {
			t.Errorf("%+v: rule %q, %d traces; expected %q", c.facts.Task, rule.Name, len(traces), c.want)
		}
	}
}

// models writes a plan as the models in order, with who comes from a session marked.
func models(plan Plan) string {
	var out []string
	for i, a := range plan.Attempts {
		if i > 0 && plan.Attempts[i-1].Model == a.Model {
			continue
		}
		s := a.Model.Key
		if a.By == "session" {
			s = "=" + s
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestPlan(t *testing.T) {
	p := small(t)
	home := Bounds{allowed: map[string]bool{"pool": true}, Names: []string{"home"}}
	free := Bounds{Free: true}
	down := func(keys ...string) Usable {
		return func(m *Model) (bool, string, time.Duration) {
			return !slices.Contains(keys, m.Key), "breaker open", time.Second
		}
	}
	for _, c := range []struct {
		name     string
		route    string
		rule     string
		gain     float64
		bounds   Bounds
		needs    Needs
		tokens   int
		session  string
		usable   Usable
		want     string
		tier     string
		eligible int
	}{
		{"by gain, low", "plain", "rule 1", 0.1, free, Needs{Chat: true}, 10, "", nil, "small middle big bigger", "cheap", 4},
		{"by gain, high", "plain", "rule 1", 0.2, free, Needs{Chat: true}, 10, "", nil, "big bigger", "strong", 2},
		{"by gain, at the threshold", "plain", "rule 1", 0.12, free, Needs{}, 0, "", nil, "small middle big bigger", "cheap", 4},
		{"by gain, unknown", "plain", "rule 1", math.NaN(), free, Needs{}, 0, "", nil, "small middle big bigger", "cheap", 4},
		{"by gain, bound", "plain", "rule 1", 0.9, home, Needs{}, 0, "", nil, "small", "cheap", 1},
		{"by gain, cannot", "plain", "rule 1", 0, free, Needs{Vision: true}, 0, "", nil, "middle big bigger", "mid", 3},
		{"by gain, too long", "plain", "rule 1", 0, free, Needs{}, 9000, "", nil, "middle big bigger", "mid", 3},
		{"by gain, down", "plain", "rule 1", 0, free, Needs{}, 0, "", down("small"), "middle big bigger", "mid", 4},
		{"tier and fallback both ways", "auto", "maths", 0, free, Needs{}, 0, "", nil, "big bigger middle small", "strong", 4},
		{"middle tier", "auto", "middling", 0, free, Needs{}, 0, "", nil, "middle big bigger small", "mid", 4},
		{"bound tier falls to the weaker", "auto", "maths", 0, home, Needs{}, 0, "", nil, "small", "strong", 1},
		{"no fallback", "narrow", "rule 1", 0, free, Needs{}, 0, "", nil, "big", "strong", 1},
		{"no fallback, first down", "narrow", "rule 1", 0, free, Needs{}, 0, "", down("big"), "bigger", "strong", 2},
		{"no fallback, bound", "narrow", "rule 1", 0, home, Needs{}, 0, "", nil, "", "strong", 0},
		{"list", "auto", "listed", 0, free, Needs{}, 0, "", nil, "middle small", "mid", 2},
		{"list, bound", "auto", "listed", 0, home, Needs{}, 0, "", nil, "small", "cheap", 1},
		{"list, session inside", "auto", "listed", 0, free, Needs{}, 0, "small", nil, "=small middle", "cheap", 2},
		{"list, session outside", "auto", "listed", 0, free, Needs{}, 0, "big", nil, "middle small", "mid", 2},
		{"session stays", "plain", "rule 1", 0, free, Needs{}, 0, "bigger", nil, "=bigger big", "strong", 2},
		{"session bound out", "plain", "rule 1", 0, home, Needs{}, 0, "bigger", nil, "small", "cheap", 1},
		{"session down", "plain", "rule 1", 0, free, Needs{}, 0, "big", down("big"), "small middle bigger", "cheap", 4},
		{"embeddings", "embed", "rule 1", 0, free, Needs{Embeddings: true}, 0, "", nil, "embedder", "", 1},
		{"chat to an embedder", "embed", "rule 1", 0, free, Needs{Chat: true}, 0, "", nil, "", "", 0},
		{"nothing can", "plain", "rule 1", 0, home, Needs{Audio: true}, 0, "", nil, "", "", 0},
		{"all down", "plain", "rule 1", 0, free, Needs{}, 0, "", down("small", "middle", "big", "bigger"), "", "cheap", 4},
	} {
		r := route(t, p, c.route)
		i := slices.IndexFunc(r.Rules, func(x *Rule) bool { return x.Name == c.rule })
		plan, d, rejected := p.Plan(r, r.Rules[i], Stakes{Gain: c.gain, Tokens: c.tokens}, c.bounds, c.needs, p.Models[c.session], c.usable)
		if got := models(plan); got != c.want || d.Tier != c.tier || d.Eligible != c.eligible {
			t.Errorf("%s: %q, tier %q, %d eligible; expected %q, %q, %d (rejected %v)", c.name, got, d.Tier, d.Eligible, c.want, c.tier, c.eligible, rejected)
		}
		if len(plan.Attempts) != 2*len(d.Models) || plan.Total != 4 {
			t.Errorf("%s: %d attempts for %d models, total %d", c.name, len(plan.Attempts), len(d.Models), plan.Total)
		}
		for _, x := range rejected {
			if x.Reason == "" || x.Kind == "" || x.Down != (x.Kind == RejectedByState) {
				t.Errorf("%s: rejected %+v", c.name, x)
			}
		}
	}
}

func TestLacks(t *testing.T) {
	for _, c := range []struct {
		can   string
		needs Needs
		want  string
	}{
		{"-", Needs{Chat: true, Tools: true, Embeddings: true}, ""},
		{"", Needs{Chat: true}, ""}, {"", Needs{Tools: true}, "tools"}, {"", Needs{Embeddings: true}, "embeddings"},
		{"tools json", Needs{Chat: true, Tools: true, Logprobs: true}, ""}, {"tools json", Needs{Completions: true}, ""}, {"tools", Needs{JSON: true}, "json"},
		{"embeddings", Needs{Chat: true}, "chat"}, {"embeddings", Needs{Completions: true}, "completions"}, {"embeddings", Needs{Embeddings: true}, ""},
		{"embeddings chat", Needs{Chat: true}, ""}, {"chat", Needs{Completions: true}, "completions"}, {"completions", Needs{Chat: true}, "chat"},
		{"tools", Needs{Chat: true, Vision: true}, "vision"}, {"vision", Needs{Files: true}, "files"}, {"vision", Needs{Audio: true}, "audio"},
	} {
		m := &Model{}
		if c.can != "-" {
			m.Can = map[string]bool{}
			for _, a := range strings.Fields(c.can) {
				m.Can[a] = true
			}
		}
		if got := m.Lacks(&c.needs); got != c.want {
			t.Errorf("can %q, needs %+v: lacks %q, expected %q", c.can, c.needs, got, c.want)
		}
	}
}

func TestActions(t *testing.T) {
	r := &Route{Attempts: AttemptLimits{On: map[string]bool{"timeout": true, "5xx": true}}}
	for _, c := range []struct {
		class, cause string
		want         bool
	}{
		{"transient", "5xx", true}, {"transient", "reset", false}, {"transient", "connect", false}, {"transient", "", true}, {"timeout", "timeout", true},
		{"throttle", "429", false}, {"throttle", "", false}, {"capacity", "", true}, {"stream_broken", "error_event", false}, {"stream_broken", "", false},
		{"auth", "", true}, {"context_overflow", "", true}, {"client", "5xx", false}, {"filtered", "", false}, {"canceled", "timeout", false}, {"nonsense", "5xx", false},
	} {
		if got := r.Retries(c.class, c.cause); got != c.want {
			t.Errorf("%s after %q: %v", c.class, c.cause, got)
		}
	}
	for class, a := range actions {
		if a.Final == a.MoveOn || a.SameModel && !a.MoveOn || a.Breaker && a.Cooldown {
			t.Errorf("%s: %+v", class, a)
		}
	}
	if a := ActionFor("timeout"); a.SameModel {
		t.Error("a silent model is asked twice")
	}
}

func TestOutcome(t *testing.T) {
	o := Outcome{Tier: "cheap", Model: "small", Class: "chat", Rule: "r", Providers: []string{"pool"}}
	for _, c := range []struct {
		expect Expect
		good   bool
	}{
		{Expect{Tier: "cheap", Model: "small", Class: "chat", Rule: "r", Never: []string{"openai"}}, true},
		{Expect{Tier: "strong"}, false}, {Expect{Model: "big"}, false}, {Expect{Class: "math"}, false}, {Expect{Rule: "x"}, false},
		{Expect{Never: []string{"pool"}}, false}, {Expect{Denied: true}, false},
	} {
		if msg := (Test{Expect: c.expect}).Check(o); (msg == "") != c.good {
			t.Errorf("%+v: %q", c.expect, msg)
		}
	}
	if msg := (Test{}).Check(Outcome{Denied: true}); msg == "" {
		t.Error("a denied request passes a test that did not expect it")
	}
}

// TestBoundariesHold draws policies, requests and states: no plan ever holds a provider that any holding boundary, or a residency, leaves out.
func TestBoundariesHold(t *testing.T) {
	providers := []string{"p0", "p1", "p2", "p3"}
	regions := []string{"", "eu", "us"}
	rapid.Check(t, func(rt *rapid.T) {
		own, region := map[string]bool{}, map[string]string{}
		var src strings.Builder
		src.WriteString("version: 1\nproviders:\n")
		for _, p := range providers {
			own[p], region[p] = rapid.Bool().Draw(rt, "own"), rapid.SampledFrom(regions).Draw(rt, "region")
			how := "dialect: openai, base_url: http://h"
			if own[p] {
				how = "engine: openai, endpoints: [http://h]"
			}
			fmt.Fprintf(&src, "  %s: {%s", p, how)
			if region[p] != "" {
				fmt.Fprintf(&src, ", region: %s", region[p])
			}
			src.WriteString("}\n")
		}
		src.WriteString("models:\n")
		for i := range 8 {
			fmt.Fprintf(&src, "  m%d: {provider: %s, name: x}\n", i, providers[i%len(providers)])
		}
		src.WriteString("tiers: [{name: t0, models: [m0, m1, m2]}, {name: t1, models: [m3, m4]}, {name: t2, models: [m5, m6]}]\nboundaries:\n")
		type rule struct {
			broken bool // its evidence is missing
			on     bool
			only   []string
		}
		var rules []rule
		for i := range rapid.IntRange(1, 4).Draw(rt, "boundaries") {
			r := rule{broken: rapid.Bool().Draw(rt, "broken"), on: rapid.Bool().Draw(rt, "on")}
			only := "own"
			if rapid.Bool().Draw(rt, "list") {
				r.only = rapid.SliceOfDistinct(rapid.SampledFrom(providers), rapid.ID[string]).Draw(rt, "only")
				only = "[" + strings.Join(r.only, ", ") + "]"
			} else {
				for _, p := range providers {
					if own[p] {
						r.only = append(r.only, p)
					}
				}
			}
			when := fmt.Sprintf(`req.headers["b%d"] == "on"`, i)
			if r.broken {
				when = "task.gain > 2.0"
			}
			fmt.Fprintf(&src, "  - {name: b%d, when: '%s', only: %s}\n", i, when, only)
			rules = append(rules, r)
		}
		use := rapid.SampledFrom([]string{"by_gain", "t0", "t1", "t2", "[m7, m0, m3]"}).Draw(rt, "use")
		residency := rapid.SampledFrom([]string{"", "eu", "us"}).Draw(rt, "residency")
		fmt.Fprintf(&src, "routes:\n  auto:\n    rules: [{use: %s}]\n    fallback: [same_tier, stronger, weaker]\n", use)
		if residency != "" {
			fmt.Fprintf(&src, "    residency: [%s]\n", residency)
		}
		p, ps := LoadBytes("p.yaml", []byte(src.String()), testOptions())
		if len(ps) > 0 {
			rt.Fatalf("%v\n%s", ps, src.String())
		}
		f := &Facts{TaskErr: errors.New("no classifier"), Req: Req{Header: func(n string) string {
			for i, r := range rules {
				if r.on && n == fmt.Sprintf("b%d", i) {
					return "on"
				}
			}
			return ""
		}}}
		r := p.Routes[0]
		bounds, _ := p.Bound(f, r, nil, false)
		down := rapid.SliceOfDistinct(rapid.IntRange(0, 7), rapid.ID[int]).Draw(rt, "down")
		usable := func(m *Model) (bool, string, time.Duration) {
			return !slices.Contains(down, int(m.Key[1]-'0')), "down", 0
		}
		matched, _ := r.Match(f, false)
		session := p.Models[rapid.SampledFrom([]string{"", "m0", "m3", "m7"}).Draw(rt, "session")]
		plan, _, _ := p.Plan(r, matched, Stakes{Gain: rapid.Float64Range(-1, 1).Draw(rt, "gain")}, bounds, Needs{}, session, usable)
		permitted := func(name string) bool {
			for _, r := range rules {
				if (r.broken || r.on) && !slices.Contains(r.only, name) {
					return false
				}
			}
			return residency == "" || region[name] == residency
		}
		for _, name := range providers {
			if bounds.Allows(p.Providers[name]) != permitted(name) {
				rt.Fatalf("provider %s allowed: %v\n%s", name, !permitted(name), src.String())
			}
		}
		for _, a := range plan.Attempts {
			if !permitted(a.Model.Provider.Name) {
				rt.Fatalf("the plan asks %s of %s\n%s", a.Model.Key, a.Model.Provider.Name, src.String())
			}
			if slices.Contains(down, int(a.Model.Key[1]-'0')) {
				rt.Fatalf("the plan asks %s, which is down", a.Model.Key)
			}
		}
	})
}

// allowedBy returns the providers that bounds leave, sorted; nil when no boundary holds.
func allowedBy(b *Bounds) []string {
	if b.Free {
		return nil
	}
	return sortedKeys(b.allowed)
}
