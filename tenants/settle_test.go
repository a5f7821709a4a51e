package tenants

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/policies"
)

// owes waits until no more than n settlements are owed.
func (n *node) owes(t *testing.T, want int) {
	t.Helper()
	harness.Until(t, fmt.Sprintf("not %d owed", want), func() bool { n.mu.Lock(); defer n.mu.Unlock(); return len(n.owed) == want })
}

// What could not be settled while the store was away is settled together, more than fits into one trip, without the script being there. Reservations that were to
// be lowered are forgotten: they end with their settlement.
func TestSettlesTogether(t *testing.T) {
	m := miniredis.RunT(t)
	n := shared(t, m, policies.Redis{})
	if r, err := n.Charge(t.Context(), spending1("lowered", 200)); err != nil || r.short() {
		t.Fatal(r, err)
	}
	m.SetError("LOADING")
	lower := spending1("lowered", 100)
	lower.Later, lower.Accounts[0].Force = true, true
	_, _ = n.Charge(t.Context(), lower)
	n.owes(t, 0)
	const exchanges = 3 * maxTogether / 2
	for i := range exchanges {
		c := settling(fmt.Sprint(i), 2)
		c.Patient = i%2 == 0
		_, _ = n.Charge(t.Context(), c)
	}
	_, _ = n.Charge(t.Context(), settling("lowered", 1))
	n.owes(t, exchanges+1)
	m.FlushAll()
	m.SetError("")
	n.owes(t, 0)
	if b := n.balance(t); b != (Balance{Spent: 2*exchanges + 1}) {
		t.Errorf("%+v", b)
	}
}

// A settlement that the store refuses keeps no other from being settled, and is settled when the store takes it.
func TestSettlesTheOthers(t *testing.T) {
	m := miniredis.RunT(t)
	n := shared(t, m, policies.Redis{})
	n.balance(t) // unlike a real server this one keeps no script whose first call fails
	const broken = "sluice:{state}:budget:broken"
	if err := m.Set(broken, "text"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		c := settling(fmt.Sprint("broken", i), 5)
		c.Accounts[0].Key = "broken"
		_, _ = n.Charge(t.Context(), c)
		_, _ = n.Charge(t.Context(), settling(fmt.Sprint("whole", i), 7))
	}
	n.owes(t, 3)
	harness.Until(t, "the others are not settled", func() bool {
		r, err := n.Charge(t.Context(), spending1("reader", 0))
		return err == nil && r.BudgetErr == nil && r.Accounts[0].Spent == 21
	})
	m.Del(broken)
	n.owes(t, 0)
	look := spending1("reader", 0)
	look.Accounts[0].Key = "broken"
	if r, err := n.Charge(t.Context(), look); err != nil || r.Accounts[0].Spent != 15 {
		t.Errorf("%+v %v", r, err)
	}
}

// What waits for others is settled before the end.
func TestSettlesAtTheEnd(t *testing.T) {
	m := miniredis.RunT(t)
	n, other := shared(t, m, policies.Redis{}), shared(t, m, policies.Redis{})
	c := settling("x", 10)
	c.Patient = true
	_, _ = n.Charge(context.Background(), c)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if b := other.balance(t); b.Spent != 10 {
		t.Errorf("%+v", b)
	}
}

// Only an exchange that leaves plenty of everything lets its settlement wait.
func TestPlenty(t *testing.T) {
	limits := func(requests, concurrent int) *policies.Limits {
		return &policies.Limits{Requests: policies.Rate{Count: requests, Window: time.Hour}, Concurrent: concurrent}
	}
	for _, tc := range []struct {
		name   string
		limits *policies.Limits
		budget int64
		costs  int64
		want   bool
	}{
		{"plenty", limits(100, 100), 10_000, 50, true},
		{"no budget", limits(100, 100), 0, 0, true},
		{"more than half of a rate", limits(1, 100), 10_000, 50, false},
		{"more than half of the slots", limits(100, 1), 10_000, 50, false},
		{"a small budget", limits(100, 100), 5_000, 50, false},
		{"dearer than it was thought", limits(100, 100), 10_000, 101, false},
	} {
		tenant := &policies.Tenant{Name: "acme", Limits: tc.limits}
		if tc.budget > 0 {
			tenant.Budget = &policies.Budget{MicroUSD: tc.budget, Per: "month", Zone: time.UTC}
		}
		tab, refusal := Open(t.Context(), NewMemory(), &Ask{ID: "x", Now: time.Now(), Hold: time.Minute, Key: &policies.Key{Tenant: tenant, ID: "web"}, Ahead: func() int64 { return 100 }})
		if refusal == nil {
			refusal = tab.Reserve(t.Context(), tc.costs, false)
		}
		if refusal != nil {
			t.Fatal(tc.name, refusal)
		}
		if tab.plenty != tc.want {
			t.Errorf("%s: %v", tc.name, tab.plenty)
		}
	}
}
