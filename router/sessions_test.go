package router

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
)

// turn decides one request and remembers the first model of its plan, as the proxy does after an answer.
func turn(t *testing.T, r *Router, p *policies.Policy, in Input) *Decision {
	t.Helper()
	d, err := r.Decide(p, &in)
	if err != nil {
		t.Fatal(err)
	}
	r.Remember(d, d.Plan.Attempts[0].Model, in.Now)
	return d
}

// loop is a conversation in which the model made the same call so many times, always with the same result.
func loop(times int, result string) *llm.Envelope {
	return rounds(times, called(`{"name":"read","arguments":"{\"path\":\"x\"}"}`), gave(result))
}

// rounds is a conversation that ends in the same turns so many times.
func rounds(times int, turns ...llm.Turn) *llm.Envelope {
	e := talk("user", easy)
	for range times {
		e.Turns = append(e.Turns, turns...)
	}
	e.ToolTurn = true
	return e
}

func called(calls ...string) llm.Turn { return llm.Turn{Role: "assistant", Calls: calls} }
func gave(result string) llm.Turn     { return llm.Turn{Role: "tool", Text: []string{result}} }

func TestSessions(t *testing.T) {
	p := compiled(t, policyText)
	id := headers("x-session-id", "one")
	acme, globex := &policies.Key{ID: "web", Tenant: &policies.Tenant{Name: "acme"}}, &policies.Key{ID: "web", Tenant: &policies.Tenant{Name: "globex"}}
	tools := talk("user", easy, "assistant", "", "tool", "42")
	type step struct {
		after  time.Duration
		route  string
		e      *llm.Envelope
		header func(string) string
		key    *policies.Key
		budget float64
		usable policies.Usable
		want   string // first model
		kept   bool
	}
	tests := []struct {
		name  string
		steps []step
	}{
		{"a conversation moves up and stays", []step{
			{e: talk("user", easy), header: id, want: "small"},
			{e: talk("user", hard), header: id, want: "big"},
			{e: talk("user", easy), header: id, want: "big", kept: true},
		}},
		{"another tenant's session of the same name is another", []step{
			{e: talk("user", hard), header: id, key: acme, want: "big"},
			{e: talk("user", easy), header: id, key: globex, want: "small"},
			{e: talk("user", easy), header: id, key: acme, want: "big", kept: true},
		}},
		{"memory ends", []step{
			{e: talk("user", hard), header: id, want: "big"},
			{after: 21 * time.Minute, e: talk("user", easy), header: id, want: "small"},
		}},
		{"a budget rule moves it down at the user's turn", []step{
			{e: talk("user", hard), header: id, want: "big"},
			{e: talk("user", easy), header: id, budget: .95, want: "small"},
		}},
		{"but not inside a tool loop", []step{
			{e: talk("user", hard), header: id, want: "big"},
			{e: tools, header: id, budget: .95, want: "big", kept: true},
		}},
		{"tool results keep the model, also under a rule that moves up", []step{
			{e: talk("user", easy), header: id, want: "small"},
			{e: talk("user", hard, "assistant", "", "tool", "42"), header: id, want: "small", kept: true},
		}},
		{"tool results keep the model, also under a list", []step{
			{e: talk("user", easy), header: id, want: "small"},
			{e: tools, header: headers("x-session-id", "one", "x-list", "yes"), want: "small", kept: true},
		}},
		{"the same call failing three times moves it up", []step{
			{e: talk("user", easy), header: id, want: "small"},
			{e: loop(2, "Error: no such file"), header: id, want: "small", kept: true},
			{e: loop(3, "Error: no such file"), header: id, want: "big"},
			{e: loop(4, "Error: no such file"), header: id, want: "big", kept: true},
		}},
		{"so do calls that are made together, of which one fails", []step{
			{e: talk("user", easy), header: id, want: "small"},
			{e: rounds(3, called("f", "g"), gave("41 degrees"), gave("not found")), header: id, want: "big"},
		}},
		{"and each in a turn of its own", []step{
			{e: talk("user", easy), header: id, want: "small"},
			{e: rounds(3, called(), called("f", "1"), called("g", "2"), gave("not found"), gave("41 degrees")), header: id, want: "big"},
		}},
		{"not calls of which one is another each time", []step{
			{e: talk("user", easy), header: id, want: "small"},
			{e: rounds(2, called("f", "1"), gave("not found"), called("f", "2"), gave("not found")), header: id, want: "small", kept: true},
		}},
		{"a call that works may be repeated", []step{
			{e: talk("user", easy), header: id, want: "small"},
			{e: loop(5, "still 41 degrees"), header: id, want: "small", kept: true},
		}},
		{"no failing call crosses a boundary", []step{
			{e: talk("user", easy), header: headers("x-session-id", "one", "x-data-class", "private"), want: "small"},
			{e: loop(3, "exit code 1"), header: headers("x-session-id", "one", "x-data-class", "private"), want: "small", kept: true},
		}},
		{"a session never crosses a boundary", []step{
			{e: talk("user", hard), header: id, want: "big"},
			{e: talk("user", hard), header: headers("x-session-id", "one", "x-data-class", "private"), want: "small"},
			{e: tools, header: headers("x-session-id", "one", "x-data-class", "private"), want: "small", kept: true},
		}},
		{"a session's model that is down is left", []step{
			{e: talk("user", hard), header: id, want: "big"},
			{e: talk("user", hard), header: id, usable: down("big"), want: "other"},
		}},
		{"without a header the first words name it", []step{
			{e: talk("user", hard), want: "big"},
			{e: talk("user", hard, "assistant", "Assume …", "user", "thanks!"), want: "big", kept: true},
			{e: talk("system", "Be brief.", "user", "hello"), want: "small"},
		}},
		{"a first turn belongs to no conversation yet", []step{
			{e: talk("user", "translate to german: good evening"), usable: down("small"), want: "big"},
			{e: talk("user", "translate to german: good evening"), want: "small"},
		}},
		{"direction any, tools free", []step{
			{route: "loose", e: talk("user", hard, "assistant", "ok", "user", hard), want: "big"},
			{route: "loose", e: talk("user", hard, "assistant", "ok", "user", strings.Repeat("hello there, thank you so much. ", 4)), want: "small"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, now := New(Options{}), noon
			for i, s := range tt.steps {
				if s.route == "" {
					s.route = "auto"
				}
				now = now.Add(time.Second + s.after)
				d := turn(t, r, p, Input{Envelope: s.e, Header: s.header, Key: s.key, Route: route(t, p, s.route), Usable: s.usable, Now: now,
					Budget: policies.BudgetFacts{Used: s.budget}})
				if got := d.Plan.Attempts[0].Model.Key; got != s.want || d.Session != s.kept {
					t.Fatalf("step %d: %s, kept %v; want %s, %v (%s)", i, got, d.Session, s.want, s.kept, d.Reason)
				}
			}
		})
	}
}

// TestLowestHoldsConversations: a budget that is used up leaves no way up, neither for a conversation that is stuck nor for one whose model fails.
func TestLowestHoldsConversations(t *testing.T) {
	p := compiled(t, policyText)
	for _, c := range []struct {
		name  string
		first *llm.Envelope
		e     *llm.Envelope
		want  string
	}{
		{"stuck with the cheap model", talk("user", easy), loop(3, "Error: no such file"), "small"},
		{"a tool's result for the strong one", talk("user", hard), talk("user", easy, "assistant", "", "tool", "42"), "big small"},
		{"no tool's result", talk("user", hard), talk("user", hard, "assistant", "ok", "user", hard), "small"},
	} {
		r, id := New(Options{}), headers("x-session-id", "one")
		turn(t, r, p, Input{Envelope: c.first, Header: id, Route: route(t, p, "auto"), Now: noon})
		d := turn(t, r, p, Input{Envelope: c.e, Header: id, Route: route(t, p, "auto"), Now: noon, Lowest: true})
		var got []string
		for _, a := range d.Plan.Attempts {
			if n := len(got); n == 0 || got[n-1] != a.Model.Key {
				got = append(got, a.Model.Key)
			}
		}
		if strings.Join(got, " ") != c.want || d.Climbed || !d.Lowered {
			t.Errorf("%s: %v (%s), want %s", c.name, got, d.Reason, c.want)
		}
	}
}

func TestSessionFacts(t *testing.T) {
	p := compiled(t, policyText)
	r := New(Options{})
	in := Input{Envelope: talk("user", hard), Header: headers("x-session-id", "one"), Route: route(t, p, "auto"), Now: noon}
	if d := turn(t, r, p, in); d.Facts.Session.Known || d.Facts.Session.ID != "one" {
		t.Errorf("%+v", d.Facts.Session)
	}
	want := policies.SessionFacts{ID: "one", Known: true, Turns: 1, Model: "big", Tier: "strong"}
	if d := turn(t, r, p, in); d.Facts.Session != want {
		t.Errorf("%+v, want %+v", d.Facts.Session, want)
	}
	// The policy changes and the model is gone.
	next := compiled(t, strings.NewReplacer("big", "huge").Replace(policyText))
	in.Route = route(t, next, "auto")
	if d := turn(t, r, next, in); d.Facts.Session.Known {
		t.Errorf("a model that is gone is remembered: %+v", d.Facts.Session)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	p := compiled(t, policyText)
	r := New(Options{Sessions: 160})
	ro := route(t, p, "auto")
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				in := Input{Envelope: talk("user", easy), Header: headers("x-session-id", fmt.Sprint(g, i)), Route: ro, Now: noon}
				d, err := r.Decide(p, &in)
				if err != nil {
					t.Error(err)
					return
				}
				r.Remember(d, d.Plan.Attempts[0].Model, noon)
			}
		})
	}
	wg.Wait()
	if n := r.Sessions(); n == 0 || n > 160 {
		t.Errorf("%d sessions, want at most 160", n)
	}
	r.Remember(nil, p.Models["small"], noon)
	r.Remember(&Decision{}, p.Models["small"], noon)
}

func TestLeastRecentlyUsedIsForgotten(t *testing.T) {
	s := newSessions(sessionShards*2, false)
	m := &policies.Model{Key: "m"}
	a, b, c := SessionKey{a: 16}, SessionKey{a: 32}, SessionKey{a: 48} // one shard
	for _, k := range []SessionKey{a, b, a, c} {
		s.remember(k, m, 0, noon, time.Minute)
	}
	for _, tt := range []struct {
		k     SessionKey
		turns int
	}{{a, 2}, {b, 0}, {c, 1}} {
		if _, turns, ok := s.find(tt.k, noon); turns != tt.turns || ok != (tt.turns > 0) {
			t.Errorf("%v: %d turns, %v; want %d", tt.k, turns, ok, tt.turns)
		}
	}
	if _, _, ok := s.find(a, noon.Add(time.Minute)); ok || s.size() != 1 {
		t.Errorf("an entry outlived its time: %v, %d entries", ok, s.size())
	}
}
