package tenants

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/policies"
)

// noted reads what the store tells of a conversation.
func noted(t *testing.T, n *node, key string) (text string) {
	t.Helper()
	if _, err := n.Charge(t.Context(), &Charge{ID: "reader", Note: &Note{Key: key, Told: func(s string) { text = s }}}); err != nil {
		t.Fatal(err)
	}
	return text
}

// What one gateway leaves of a conversation is at the other, the one with more turns stays, and whoever comes too late is told so.
func TestNotes(t *testing.T) {
	m := miniredis.RunT(t)
	a, b := shared(t, m, policies.Redis{}), shared(t, m, policies.Redis{})
	for _, step := range []struct {
		at         *node
		text, want string
	}{
		{a, "1 small", "1 small"}, {b, "2 big", "2 big"}, {a, "2 small", "2 big"}, {a, "1 small", "2 big"}, {b, "10 big", "10 big"}, {a, "9 small", "10 big"},
	} {
		told := make(chan string, 1)
		_, err := step.at.Charge(t.Context(), &Charge{ID: "x", Settle: true, Note: &Note{Key: "s", Text: step.text, Keep: time.Minute, Told: func(s string) { told <- s }}})
		if got := <-told; err != nil || got != step.want || noted(t, a, "s") != step.want || noted(t, b, "s") != step.want {
			t.Errorf("%q: told %q, want %q (%v)", step.text, got, step.want, err)
		}
	}
	if got := noted(t, b, "other"); got != "" {
		t.Errorf("another conversation: %q", got)
	}
	m.FastForward(time.Minute)
	if got := noted(t, b, "s"); got != "" {
		t.Errorf("it outlives its time: %q", got)
	}
}

// A note rides along with a charge; what is wrong with it hurts nobody.
func TestNoteRides(t *testing.T) {
	m := miniredis.RunT(t)
	n := shared(t, m, policies.Redis{})
	tenant := &policies.Tenant{Name: "acme", Limits: &policies.Limits{Requests: policies.Rate{Count: 1, Window: time.Hour}}}
	var told atomic.Value // from the background too
	told.Store("untold")
	note := &Note{Key: "s", Known: true, Keep: time.Minute, Told: func(s string) { told.Store(s) }}
	ask := &Ask{ID: "x", Now: time.Now(), Hold: time.Minute, Note: note, Key: &policies.Key{Tenant: tenant, ID: "web"}}
	tab, refusal := Open(t.Context(), n, ask)
	if refusal != nil || told.Load() != "" {
		t.Fatal(refusal, told.Load())
	}
	note.Text = "1 small"
	tab.Close(0, 0)
	harness.Until(t, "the note is not there", func() bool { return told.Load() == "1 small" && noted(t, n, "s") == "1 small" })
	told.Store("untold")
	if _, refusal = Open(t.Context(), n, ask); refusal == nil || told.Load() != "1 small" {
		t.Errorf("beyond the limit: %v, told %q", refusal, told.Load())
	}
	if _, err := m.Push("sluice:{state}:session:list", "x"); err != nil {
		t.Fatal(err)
	}
	tenant.Name = "globex"
	note.Key, note.Text = "list", ""
	told.Store("untold")
	if tab, refusal = Open(t.Context(), n, ask); refusal != nil || told.Load() != "" || tab.receipt.Local {
		t.Errorf("a key of another type: %v, told %q, %+v", refusal, told.Load(), tab)
	}
}

// Where there is nothing to charge, what is known is not asked for, and what cannot be told is not owed.
func TestNoteAlone(t *testing.T) {
	m := miniredis.RunT(t)
	n := shared(t, m, policies.Redis{})
	told := 0
	note := &Note{Key: "s", Known: true, Keep: time.Minute, Told: func(string) { told++ }}
	tab, refusal := Open(t.Context(), n, &Ask{ID: "x", Now: time.Now(), Note: note})
	if refusal != nil || told != 0 {
		t.Fatal(refusal, told)
	}
	tab.Close(0, 0) // no answer, nothing to leave
	m.SetError("LOADING")
	if r, err := n.Charge(t.Context(), &Charge{ID: "x", Note: note}); err != nil || r == nil || told != 0 || !n.rdb.Away(UseSessions) || n.rdb.Away(UseLimits) {
		t.Errorf("%+v %v, told %d", r, err, told)
	}
	note.Text = "1 small"
	_, _ = n.Charge(context.Background(), &Charge{ID: "x", Settle: true, Note: note})
	harness.Until(t, "it is owed", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.owed) == 0
	})
	m.SetError("")
	harness.Until(t, "the store is not back", func() bool { noted(t, n, "s"); return told == 0 && !n.rdb.Away(UseSessions) })
}
