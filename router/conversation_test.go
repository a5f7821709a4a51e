package router

import (
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
)

// A conversation that one router has led goes on at another that is told of it, and only the same tenant's and key's.
func TestConversationGoesOnElsewhere(t *testing.T) {
	p := compiled(t, policyText)
	acme := &policies.Key{ID: "web", Tenant: &policies.Tenant{Name: "acme"}}
	named, unnamed := headers("x-session-id", "one"), headers()
	for _, tc := range []struct {
		name        string
		first, then *llm.Envelope
		header      func(string) string
		key         *policies.Key
		same        bool
	}{
		{"by a header", talk("user", hard), talk("user", easy), named, acme, true},
		{"by its first words", talk("user", hard), talk("user", hard, "assistant", "ok", "user", easy), unnamed, acme, true},
		{"another tenant's", talk("user", hard), talk("user", easy), named, &policies.Key{ID: "web", Tenant: &policies.Tenant{Name: "globex"}}, false},
		{"another key's", talk("user", hard), talk("user", easy), named, &policies.Key{ID: "app", Tenant: acme.Tenant}, false},
	} {
		a, b := New(Options{Shared: true}), New(Options{Shared: true})
		first := Input{Envelope: tc.first, Header: tc.header, Key: acme, Route: route(t, p, "auto"), Now: noon}
		then := Input{Envelope: tc.then, Header: tc.header, Key: tc.key, Route: route(t, p, "auto"), Now: noon}
		d, err := a.Decide(p, &first)
		if err != nil {
			t.Fatal(err)
		}
		memory := a.Remember(d, d.Plan.Attempts[0].Model, noon)
		at, other := a.Conversation(&first), b.Conversation(&then)
		if memory != "1 big" || !at.Known && at.Begun || other.Known || !other.Begun {
			t.Errorf("%s: %q, %+v, %+v", tc.name, memory, at, other)
		}
		if same := at.Name == other.Name; same != tc.same {
			t.Errorf("%s: names %s and %s", tc.name, at.Name, other.Name)
		} else if same {
			b.Learn(other, memory, noon)
		}
		then.Conversation = other
		if d := turn(t, b, p, then); d.Session != tc.same || d.Facts.Session.Known != tc.same {
			t.Errorf("%s: %s", tc.name, d.Reason)
		}
	}
}

func TestLearn(t *testing.T) {
	p := compiled(t, policyText)
	r := New(Options{Shared: true})
	in := Input{Envelope: talk("user", easy), Header: headers("x-session-id", "one"), Route: route(t, p, "auto"), Now: noon}
	c := r.Conversation(&in)
	for _, tt := range []struct {
		memory, model string
		turns         int
	}{
		{"", "", 0}, {"x", "", 0}, {"big", "", 0}, {"0 big", "", 0}, {"-1 big", "", 0}, {"3 ", "", 0}, {"99999999999999999999 big", "", 0},
		{"3 big", "big", 3}, {"2 small", "big", 3}, {"3 small", "small", 3}, {"4 a name with spaces", "a name with spaces", 4},
	} {
		r.Learn(c, tt.memory, noon)
		if model, turns, _ := r.sessions.find(c.key, noon); model != tt.model || turns != tt.turns {
			t.Errorf("%q: %q after %d turns, want %q after %d", tt.memory, model, turns, tt.model, tt.turns)
		}
	}
	if _, _, ok := r.sessions.find(c.key, noon.Add(c.Sticky)); ok {
		t.Error("what was learned is never forgotten")
	}
	// A model that the policy does not have is nobody's: the request is decided afresh.
	if d := turn(t, r, p, in); d.Facts.Session.Known || d.Session {
		t.Error(d.Reason)
	}
	if alone := New(Options{}); alone.Conversation(&in) != nil {
		t.Error("a router that is the only one has something to tell")
	}
	in.Envelope = &llm.Envelope{Op: llm.OpEmbeddings}
	if c := r.Conversation(&in); c != nil {
		t.Errorf("%+v", c)
	}
}

// A conversation without a header that has only begun is remembered, but nowhere looked for.
func TestConversationBegins(t *testing.T) {
	p := compiled(t, policyText)
	c := New(Options{Shared: true}).Conversation(&Input{Envelope: talk("user", easy), Route: route(t, p, "auto"), Now: noon})
	if c == nil || c.Begun || c.Known || c.Sticky != 20*time.Minute || len(c.Name) != 32 {
		t.Errorf("%+v", c)
	}
}

// What another router tells while an answer is on its way is newer than the choice of its model.
func TestToldMeanwhile(t *testing.T) {
	p := compiled(t, policyText)
	r := New(Options{Shared: true})
	in := Input{Envelope: talk("user", easy), Header: headers("x-session-id", "one"), Route: route(t, p, "auto"), Now: noon}
	turn(t, r, p, in)
	var late []*Decision
	for range 2 {
		d, err := r.Decide(p, &in)
		if err != nil {
			t.Fatal(err)
		}
		late = append(late, d)
	}
	r.Learn(r.Conversation(&in), "3 big", noon)
	for i, want := range []string{"4 big", "5 big"} {
		if got := r.Remember(late[i], p.Models["small"], noon); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if d := turn(t, r, p, in); d.Plan.Attempts[0].Model.Key != "big" || !d.Session {
		t.Error(d.Reason)
	}
}
