package router

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
)

const policyText = `version: 1
providers:
  pool: {engine: vllm, endpoints: ["http://10.0.0.11:8000"], region: eu}
  out: {dialect: openai, base_url: https://llm.example.com/v1, region: us}
  far: {dialect: openai, base_url: https://far.example.com/v1}
models:
  small: {provider: pool, name: small, context: 8k, can: [tools, json]}
  big: {provider: out, name: big, context: 100k, can: [tools, json, vision]}
  other: {provider: far, name: other, context: 50k}
tiers:
  - {name: cheap, models: [small]}
  - {name: strong, models: [big, other]}
boundaries:
  - {name: private stays home, when: 'req.headers["x-data-class"] == "private"', only: own}
  - {name: law stays home, when: 'req.headers["x-law"] == "yes" && task.class == "reasoning"', only: own}
routes:
  auto:
    rules:
      - {name: near the end, when: budget.used > 0.9, use: cheap}
      - {name: hard work, when: 'task.class in ["math", "code"] && task.gain > 0.15', use: strong}
      - {name: by hand, when: 'req.headers["x-list"] == "yes"', use: [big]}
      - {name: otherwise, use: by_gain}
    fallback: [same_tier, stronger, weaker]
    session: {header: X-Session-Id, sticky: 20m, tool_turns: locked, direction: up}
  loose:
    rules: [{use: by_gain}]
    session: {sticky: 20m, tool_turns: free, direction: any}
  europe:
    rules: [{use: [big, other]}]
    residency: [eu]
  eyes:
    rules: [{use: [small]}]
passthrough: {/v1/files: out}
`

func compiled(t testing.TB, text string) *policies.Policy {
	t.Helper()
	p, problems := policies.LoadBytes("policy.yaml", []byte(text), policies.Options{Classes: Classes[:]})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return p
}

func route(t testing.TB, p *policies.Policy, name string) *policies.Route {
	t.Helper()
	r, ok := p.Route(name, nil)
	if !ok {
		t.Fatalf("no route %q", name)
	}
	return r
}

func headers(kv ...string) func(string) string {
	return func(name string) string {
		for i := 0; i+1 < len(kv); i += 2 {
			if kv[i] == name {
				return kv[i+1]
			}
		}
		return ""
	}
}

// talk makes a chat from role, text, role, text, …
func talk(kv ...string) *llm.Envelope {
	e := &llm.Envelope{Op: llm.OpChat, Model: "auto", N: 1}
	for i := 0; i+1 < len(kv); i += 2 {
		e.Turns = append(e.Turns, llm.Turn{Role: kv[i], Text: []string{kv[i+1]}})
		e.ContentBytes += len(kv[i+1])
	}
	e.ToolTurn = kv[len(kv)-2] == "tool"
	return e
}

const (
	easy = "hi there"
	hard = "Prove that sqrt(2) + sqrt(3) is irrational."
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func order(d *Decision) string {
	var names []string
	for _, a := range d.Plan.Attempts {
		if len(names) == 0 || names[len(names)-1] != a.Model.Key {
			names = append(names, a.Model.Key)
		}
	}
	return strings.Join(names, " ")
}

func down(names ...string) func(*policies.Model) (bool, string, time.Duration) {
	return func(m *policies.Model) (bool, string, time.Duration) {
		for i, n := range names {
			if n == m.Key {
				return false, "breaker open", time.Duration(i+3) * time.Second
			}
		}
		return true, "", 0
	}
}

func TestDecide(t *testing.T) {
	p := compiled(t, policyText)
	long := talk("user", strings.Repeat("word ", 10_000))
	vision := talk("user", "what is on this picture?")
	vision.Images = 1
	tests := []struct {
		name, route    string
		e              *llm.Envelope
		header         func(string) string
		usable         policies.Usable
		budget         float64
		rule, plan     string
		status         int
		code, contains string
	}{
		{name: "small talk", e: talk("user", easy), rule: "otherwise", plan: "small big other"},
		{name: "a proof", e: talk("user", hard), rule: "hard work", plan: "big other small"},
		{name: "the strong one is down", e: talk("user", hard), usable: down("big"), rule: "hard work", plan: "other small"},
		{name: "the budget is nearly used", e: talk("user", hard), budget: .95, rule: "near the end", plan: "small big other"},
		{name: "a boundary stands over the rule", e: talk("user", hard), header: headers("x-data-class", "private"), rule: "hard work", plan: "small"},
		{name: "a boundary and a list", e: talk("user", easy), header: headers("x-data-class", "private", "x-list", "yes"), rule: "by hand",
			status: 403, code: "policy_denied", contains: "private stays home"},
		{name: "a boundary and a dead pool", e: talk("user", easy), header: headers("x-data-class", "private"), usable: down("small"), rule: "otherwise",
			status: 503, code: "no_target_available", contains: "private stays home"},
		{name: "all down", e: talk("user", easy), usable: down("small", "big", "other"), rule: "otherwise", status: 503, code: "no_target_available"},
		{name: "residency", route: "europe", e: talk("user", easy), rule: "rule 1", status: 403, code: "policy_denied", contains: "residency [eu]"},
		{name: "nobody sees", route: "eyes", e: vision, rule: "rule 1", status: 400, code: "unsupported_capability", contains: "vision"},
		{name: "an image goes where it can be seen", e: vision, rule: "otherwise", plan: "big other"},
		{name: "an image that may not leave", e: vision, header: headers("x-data-class", "private"), rule: "otherwise", status: 403, code: "policy_denied",
			contains: "private stays home"},
		{name: "too long", route: "eyes", e: long, rule: "rule 1", status: 400, code: "context_length_exceeded"},
		{name: "too long for the small one", e: long, rule: "otherwise", plan: "big other"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.route == "" {
				tt.route = "auto"
			}
			in := Input{Envelope: tt.e, Route: route(t, p, tt.route), Header: tt.header, Usable: tt.usable, Now: noon, Budget: policies.BudgetFacts{Used: tt.budget}}
			for _, in.Explain = range []bool{false, true} {
				d, err := New(Options{}).Decide(p, &in)
				if tt.status != 0 {
					if err == nil || err.Status != tt.status || err.Code != tt.code || !strings.Contains(err.Message, tt.contains) {
						t.Fatalf("error %v, want %d %s %q", err, tt.status, tt.code, tt.contains)
					}
					if (err.RetryAfter > 0) != (tt.status == 503) {
						t.Errorf("retry after %v with a %d", err.RetryAfter, err.Status)
					}
					if len(d.Plan.Attempts) != 0 {
						t.Errorf("a plan beside an error: %s", order(d))
					}
				} else if err != nil {
					t.Fatal(err)
				}
				if d.Rule != tt.rule || order(d) != tt.plan {
					t.Errorf("rule %q plan %q, want %q %q (%s)", d.Rule, order(d), tt.rule, tt.plan, d.Reason)
				}
				if in.Explain != (len(d.Boundaries) > 0) || in.Explain != (len(d.Rules) > 0) {
					t.Errorf("explain %v: %d boundaries, %d rules traced", in.Explain, len(d.Boundaries), len(d.Rules))
				}
			}
		})
	}
}

func TestReason(t *testing.T) {
	p := compiled(t, policyText)
	d, err := New(Options{}).Decide(p, &Input{Envelope: talk("user", hard), Route: route(t, p, "auto"), Header: headers("x-data-class", "private"), Now: noon})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(d.Reason, `rule="hard work" class=math gain=0.`) || !strings.HasSuffix(d.Reason, ` tier=cheap boundary="private stays home"`) {
		t.Error(d.Reason)
	}
}

type broken struct{ how string }

func (b broken) Classify(p Prompt) Class {
	c := NewHeuristic().Classify(p)
	switch b.how {
	case "panic":
		panic("out of luck")
	case "nan":
		c.Gain = math.NaN()
	case "infinite":
		c.Novelty = math.Inf(1)
	case "sum":
		c.P = [NumClasses]float64{}
	}
	return c
}

// A classifier that fails is missing evidence: boundaries that ask it hold, rules that ask it do not, and the request is answered.
func TestFailingClassifier(t *testing.T) {
	p := compiled(t, policyText)
	for _, how := range []string{"panic", "nan", "infinite", "sum"} {
		r := New(Options{Classifier: broken{how}})
		d, err := r.Decide(p, &Input{Envelope: talk("user", hard), Route: route(t, p, "auto"), Header: headers("x-law", "yes"), Now: noon})
		if err != nil {
			t.Fatalf("%s: %v", how, err)
		}
		if d.Rule != "otherwise" || order(d) != "small" || d.Facts.TaskErr == nil || r.Failures() != 1 {
			t.Errorf("%s: rule %q plan %q failures %d, %v", how, d.Rule, order(d), r.Failures(), d.Facts.TaskErr)
		}
	}
}

// What has no prompt cannot be classified: a boundary that binds a class binds it.
func TestOpaqueRequests(t *testing.T) {
	p := compiled(t, policyText)
	r := New(Options{})
	in := Input{Path: "/v1/responses", Method: "POST", Model: "auto", Route: route(t, p, "auto"), Header: headers("x-law", "yes"), Now: noon}
	d, err := r.Decide(p, &in)
	if err != nil || order(d) != "small" {
		t.Errorf("%q, %v", order(d), err)
	}
	in.Header = nil
	if d, err = r.Decide(p, &in); err != nil || order(d) != "small big other" {
		t.Errorf("%q, %v", order(d), err)
	}
}

func TestDecidePassthrough(t *testing.T) {
	p := compiled(t, policyText)
	r := New(Options{})
	out := p.Providers["out"]
	tests := []struct {
		name    string
		header  func(string) string
		key     *policies.Key
		usable  func(*policies.Provider) (bool, time.Duration)
		status  int
		message string
	}{
		{name: "free"},
		{name: "bound", header: headers("x-data-class", "private"), status: 403, message: "private stays home"},
		{name: "no evidence of the class", header: headers("x-law", "yes"), status: 403, message: "law stays home"},
		{name: "down", usable: func(*policies.Provider) (bool, time.Duration) { return false, 7 * time.Second }, status: 503},
	}
	for _, tt := range tests {
		d, err := r.DecidePassthrough(p, out, &Input{Path: "/v1/files", Method: "POST", Header: tt.header, Key: tt.key, Now: noon}, tt.usable)
		switch {
		case d == nil:
			t.Errorf("%s: no decision", tt.name)
		case tt.status == 0 && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.status != 0 && (err == nil || err.Status != tt.status || !strings.Contains(err.Message, tt.message)):
			t.Errorf("%s: %v, want %d %q", tt.name, err, tt.status, tt.message)
		}
		if tt.name == "down" && err.RetryAfter != 7*time.Second {
			t.Errorf("retry after %v", err.RetryAfter)
		}
	}
}

func TestErrorsAreOfTheDomain(t *testing.T) {
	var e *llm.Error
	if !errors.As(error(Denied([]string{"a", "b"})), &e) || e.Message != `no provider may take this request (boundaries "a", "b")` {
		t.Error(e)
	}
	if Unavailable(nil, 0).RetryAfter <= 0 {
		t.Error("no Retry-After")
	}
}

func TestDecideAllocations(t *testing.T) {
	p := compiled(t, policyText)
	r := New(Options{})
	in := Input{Envelope: talk("system", "You help.", "user", bench500), Route: route(t, p, "auto"), Header: headers(), Now: noon}
	if n := testing.AllocsPerRun(200, func() {
		if _, err := r.Decide(p, &in); err != nil {
			t.Fatal(err)
		}
	}); n > 12 {
		t.Errorf("%v allocations, want at most 12: 10, and two of the race detector", n)
	}
}

// BenchmarkDecide decides by a policy of four rules, and by one that has 10,000 more on other routes and behind the rule that holds: the classifier knows of none.
func BenchmarkDecide(b *testing.B) {
	const more = 5000
	rules := strings.Repeat("      - {when: 'task.class == \"math\" && task.gain > 0.15', use: strong}\n", more)
	const last = "      - {name: otherwise, use: by_gain}\n"
	many := strings.Replace(policyText, last, "      - {name: known, when: 'task.novelty < 2.0', use: by_gain}\n"+rules+last, 1)
	many = strings.Replace(many, "  loose:\n", "  many:\n    rules:\n"+rules+last+"  loose:\n", 1)
	for _, c := range []struct{ name, text string }{{"few", policyText}, {"many", many}} {
		b.Run(c.name, func(b *testing.B) {
			p := compiled(b, c.text)
			r := New(Options{})
			in := Input{Envelope: talk("system", "You help.", "user", bench500), Route: route(b, p, "auto"), Header: headers(), Now: noon}
			b.ReportAllocs()
			for b.Loop() {
				r.Decide(p, &in)
			}
		})
	}
}

// A policy that asks nothing of prompts pays for no classification; whatever asks, by whatever name, gets one.
func TestPlainPoliciesClassifyNothing(t *testing.T) {
	const plain = `version: 1
providers: {out: {dialect: openai, base_url: "http://127.0.0.1:1/v1"}}
models: {m: {provider: out, name: m}}
`
	for _, c := range []struct {
		name, rest string
		classified bool
	}{
		{"no tiers, nobody asks", `routes: {auto: {rules: [{when: req.stream, use: [m]}, {use: [m]}]}}`, false},
		{"a rule asks", `routes: {auto: {rules: [{when: task.gain > 0.5, use: [m]}, {use: [m]}]}}`, true},
		{"a rule asks by a computed name", `routes: {auto: {rules: [{when: 'task.class_p[req.headers["x-class"]] > 0.5', use: [m]}, {use: [m]}]}}`, true},
		{"a boundary asks", "boundaries: [{name: law, when: task.class == \"math\", only: [out]}]\nroutes: {auto: {rules: [{use: [m]}]}}", true},
		{"there are tiers", "tiers: [{name: only, models: [m]}]\nroutes: {auto: {rules: [{use: only}]}}", true},
	} {
		p := compiled(t, plain+c.rest)
		in := Input{Envelope: talk("user", hard), Route: route(t, p, "auto"), Header: headers("x-class", "math"), Now: noon}
		d, err := New(Options{}).Decide(p, &in)
		if err != nil || (d.Class != "") != c.classified || strings.Contains(d.Reason, "class=") != c.classified {
			t.Errorf("%s: class %q, %s, %v", c.name, d.Class, d.Reason, err)
		}
		in.Explain = true
		if d, err = New(Options{}).Decide(p, &in); err != nil || d.Class == "" {
			t.Errorf("%s: an explanation lacks the class; %v", c.name, err)
		}
	}
}
