package policies

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testExprs(t testing.TB) *exprs {
	t.Helper()
	x, err := newExprs([]string{"pool", "other"}, testClasses)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func testFacts() *Facts {
	return &Facts{
		Req: Req{
			Model: "auto", Path: "/v1/chat/completions", Method: "POST", Op: "chat", Bytes: 10, Tokens: 20, MaxTokens: 30, Turns: 2, Messages: 3,
			Tools: 1, Images: 2, N: 1, Stream: true, Language: Guess{"hello", func(string) string { return "en" }},
			Header: func(n string) string { return map[string]string{"x-data-class": "private"}[n] },
		},
		Task:    Task{Class: "math", Gain: 0.31, Novelty: 0.5, ClassP: func(c string) float64 { return map[string]float64{"math": 0.75}[c] }},
		Key:     KeyFacts{ID: "web", Tenant: "acme", Labels: map[string]string{"team": "red"}},
		Budget:  BudgetFacts{Used: 0.95},
		Session: SessionFacts{ID: "s", Known: true, Turns: 4, Model: "small", Tier: "cheap"},
		Pool: func(n string) PoolFacts {
			return PoolFacts{Endpoints: len(n), Healthy: 1, Saturated: n == "other"}
		},
		Now: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC),
	}
}

func TestExpressions(t *testing.T) {
	x := testExprs(t)
	for src, want := range map[string]bool{
		`req.headers["x-data-class"] == "private"`:                              true,
		`req.headers["absent"] == ""`:                                           true,
		`"x-data-class" in req.headers`:                                         true,
		`"absent" in req.headers`:                                               false,
		`has(req.headers.absent)`:                                               false,
		`req.headers[req.model] == ""`:                                          true,
		`req.headers["x-data-class"].startsWith("priv")`:                        true,
		`req.headers["x-data-class"].matches("^p.*e$")`:                         true,
		`task.class in ["math", "code"] && task.gain > 0.15`:                    true,
		`task.class_p["math"] > 0.5 && task.class_p["code"] == 0.0`:             true,
		`task.gain > 1`:                                                         false,
		`key.labels["team"] == "red" && key.labels.app == ""`:                   true,
		`key.tenant == "acme" && key.id != "x"`:                                 true,
		`budget.used > 0.9 && !budget.exhausted`:                                true,
		`pool("pool").healthy > 0 && pool("other").saturated`:                   true,
		`pool(key.tenant).endpoints == 4`:                                       true,
		`session.known && session.tier == "cheap" && !session.tool_turn`:        true,
		`now > timestamp("2026-01-01T00:00:00Z") && now.getHours() == 10`:       true,
		`[1, 2].exists(x, x == req.turns)`:                                      true,
		`req.stream ? req.tokens == 20 : false`:                                 true,
		`req.bytes + req.n == 11 && req.images == 2 && req.audio == 0`:          true,
		`req.op == "chat" && req.language == "en" && req.path.size() > 3`:       true,
		`req.max_tokens == 30 && req.messages == 3 && req.tools == 1`:           true,
		`!req.json && !req.logprobs && req.files == 0 && task.novelty < 1`:      true,
		`pool("pool").inflight + pool("pool").tokens == 0`:                      true,
		`pool("pool").waiting == 0 && session.turns == 4`:                       true,
		`req.method == "POST" && session.model == "small" && session.id == "s"`: true,
	} {
		e, ps := x.compile(src)
		if len(ps) > 0 {
			t.Errorf("%s: %v", src, ps)
			continue
		}
		got, err := e.Eval(testFacts())
		if err != nil || got != want {
			t.Errorf("%s = %v, %v", src, got, err)
		}
		if e.String() != src {
			t.Errorf("%s prints as %s", src, e)
		}
	}
}

func TestExpressionProblems(t *testing.T) {
	x := testExprs(t)
	for src, want := range map[string]string{
		`req.tokens`:                           "must be true or false",
		`req.headers`:                          "must be true or false",
		`req == req`:                           "not a value",
		`pool("pool") == pool("other")`:        "not a value",
		`pool("pol").healthy > 0`:              `did you mean "pool"?`,
		`pool().healthy > 0`:                   "pool",
		`req.headers.exists(h, h == "x")`:      "only be asked for a name",
		`req.headers == key.labels`:            "only be asked for a name",
		`task.class == "maths"`:                `did you mean "math"?`,
		`"maths" != task.class`:                `did you mean "math"?`,
		`task.class_p["maths"] > 0.1`:          `did you mean "math"?`,
		`req.headers["X-Up"] == ""`:            `req.headers["x-up"]`,
		`req.nn > 1`:                           "no field",
		`foo`:                                  "unknown",
		`req.n > `:                             "syntax error",
		`req.model.matches("(")`:               "regular expression",
		`timestamp("yesterday") < now`:         "timestamp",
		`sluice.req{n: 1} == req`:              "",
		`__pools__["x"].healthy > 1`:           "unknown",
		`""`:                                   "must be true or false",
		` `:                                    "empty",
		strings.Repeat("(", 200) + "true":      "",
		"true" + strings.Repeat("||true", 990): "",
	} {
		e, ps := x.compile(src)
		if e != nil || len(ps) == 0 {
			t.Errorf("%.60s compiles", src)
			continue
		}
		if !strings.Contains(ps[0].message, want) {
			t.Errorf("%.60s: %q, expected %q", src, ps[0].message, want)
		}
	}
}

func TestMissingEvidence(t *testing.T) {
	x := testExprs(t)
	failed := errors.New("down")
	f := testFacts()
	f.TaskErr, f.BudgetErr, f.SessionErr = failed, failed, failed
	f.Task.ClassP = nil
	for _, src := range []string{`task.class == "math"`, `task.gain > 0.1`, `task.class_p["math"] > 0.1`, `budget.used > 0.1`, `session.known`, `1 / (req.n - 1) == 1`} {
		e, ps := x.compile(src)
		if len(ps) > 0 {
			t.Fatal(ps)
		}
		if ok, err := e.Eval(f); err == nil || ok {
			t.Errorf("%s = %v without an error", src, ok)
		}
		for label, v := range e.Values(f) {
			if !strings.HasPrefix(label, "req.") && !strings.HasPrefix(v, "unknown: ") {
				t.Errorf("%s: value %s = %s", src, label, v)
			}
		}
	}
	// What the missing part cannot change is known all the same.
	e, _ := x.compile(`task.gain > 0.1 || req.stream`)
	if ok, err := e.Eval(f); err != nil || !ok {
		t.Errorf("or: %v, %v", ok, err)
	}
}

func TestPanicIsAnError(t *testing.T) {
	x := testExprs(t)
	e, _ := x.compile(`req.headers["a"] == ""`)
	f := testFacts()
	f.Req.Header = func(string) string { panic("boom") }
	if ok, err := e.Eval(f); err == nil || ok {
		t.Errorf("a panic gave %v, %v", ok, err)
	}
	f.Req.Header = nil
	if ok, err := e.Eval(f); err != nil || !ok {
		t.Errorf("no headers: %v, %v", ok, err)
	}
}

func TestCostLimit(t *testing.T) {
	x := testExprs(t)
	list := "[" + strings.Repeat("1,", 300) + "1]"
	e, ps := x.compile(list + `.all(x, x == 1 && req.model.matches("^(a|b)+$"))`)
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	f := testFacts()
	f.Req.Model = strings.Repeat("ab", 100)
	if ok, err := e.Eval(f); err != nil || !ok {
		t.Errorf("a short name: %v, %v", ok, err)
	}
	f.Req.Model = strings.Repeat("ab", 10_000)
	if ok, err := e.Eval(f); err == nil || ok {
		t.Errorf("the cost has no limit: %v, %v", ok, err)
	}
}

func TestValues(t *testing.T) {
	x := testExprs(t)
	e, ps := x.compile(`req.headers["x-data-class"] == "private" && task.gain > 0.1 && "team" in key.labels && pool("pool").healthy > 0 && now > timestamp(0)`)
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	want := map[string]string{
		`req.headers["x-data-class"]`: `"private"`, "task.gain": "0.31", `key.labels["team"]`: `"red"`, `pool("pool").healthy`: "1", "now": "2026-11-22T10:00:00Z",
	}
	if d := cmp.Diff(want, e.Values(testFacts())); d != "" {
		t.Errorf("values (-want +got):\n%s", d)
	}
}

func TestEvalConcurrently(t *testing.T) {
	x := testExprs(t)
	e, _ := x.compile(`req.tokens == 20 && req.headers["x-data-class"] == "private" && pool("pool").endpoints == 4`)
	o, _ := x.compile(`req.tokens == 21`)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			f := testFacts()
			f.Req.Tokens = 20 + i%2
			for range 200 {
				a, err1 := e.Eval(f)
				b, err2 := o.Eval(f)
				if err1 != nil || err2 != nil || a != (i%2 == 0) || b != (i%2 == 1) {
					t.Errorf("goroutine %d: %v %v, %v %v", i, a, err1, b, err2)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestEvalAllocations(t *testing.T) {
	x := testExprs(t)
	e, _ := x.compile(`task.class in ["math", "code"] && task.gain > 0.15`)
	f := testFacts()
	if n := testing.AllocsPerRun(100, func() { _, _ = e.Eval(f) }); n > 4 {
		t.Errorf("%v allocations an evaluation", n)
	}
}

func BenchmarkEval(b *testing.B) {
	x := testExprs(b)
	for _, src := range []string{`req.headers["x-data-class"] == "private"`, `task.class in ["math", "code"] && task.gain > 0.15`} {
		e, _ := x.compile(src)
		f := testFacts()
		b.Run(src, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = e.Eval(f)
			}
		})
	}
}
