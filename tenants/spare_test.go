package tenants

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/policies"
)

// ready is how many spares the gateway has.
func (n *node) ready() (ready int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.shelves {
		ready += len(s.ready)
	}
	return ready
}

// keepSpares waits until there are spares, and nothing that the store has to be asked for, and has them live long.
func (n *node) keepSpares(t *testing.T, a *Ask) {
	t.Helper()
	harness.Until(t, "no spares", func() bool {
		n.mu.Lock()
		kept, busy := 0, len(n.owed) > 0
		for _, s := range n.shelves {
			for _, p := range s.ready {
				p.made = time.Now().Add(time.Hour)
				kept++
			}
		}
		n.mu.Unlock()
		if !busy && kept == 0 { // they have lived
			tab, refusal := Open(t.Context(), n, a)
			if refusal != nil {
				t.Fatal(refusal)
			}
			tab.Cancel()
		}
		return !busy && kept > 0
	})
}

// wealthy is an exchange of a tenant with limits and a budget.
func wealthy(requests, concurrent int, budget int64) *Ask {
	tenant := &policies.Tenant{Name: "acme", Limits: &policies.Limits{Requests: policies.Rate{Count: requests, Window: 24 * time.Hour}, Concurrent: concurrent},
		Budget: &policies.Budget{MicroUSD: budget, Per: "month", Zone: time.UTC, OnExceed: policies.OnRefuse}}
	return &Ask{ID: "x", Now: time.Now(), Hold: time.Minute, Key: &policies.Key{Tenant: tenant, ID: "web"}, Ahead: func() int64 { return 10 }}
}

// Where there is plenty the next exchange finds its charge made, and needs the store no more than it knows: it is settled as any other. What nobody takes is given
// back.
func TestSpares(t *testing.T) {
	m := miniredis.RunT(t)
	n := shared(t, m, policies.Redis{Limits: "local", Budget: "local_slack"})
	a := wealthy(1000, 1000, 1_000_000)
	first, refusal := Open(t.Context(), n, a)
	if refusal != nil || first.charge.ID != a.ID {
		t.Fatal(refusal, first)
	}
	n.keepSpares(t, a)
	m.SetError("LOADING") // nobody has noticed yet
	second, refusal := Open(t.Context(), n, a)
	if refusal == nil {
		refusal = second.Reserve(t.Context(), 10, false)
	}
	if refusal != nil || second.receipt.Local || second.receipt.BudgetErr != nil || second.charge.ID == a.ID {
		t.Fatalf("%v %+v", refusal, second)
	}
	harness.Until(t, "spares of a store that is away", func() bool { return n.ready() == 0 })
	if third, refusal := Open(t.Context(), n, a); refusal != nil || !third.receipt.Local {
		t.Errorf("%v %+v", refusal, third)
	}
	m.SetError("")
	look := &Charge{ID: "reader", Rates: []RateCharge{first.charge.Rates[0]}, Accounts: slices.Clone(first.charge.Accounts)}
	look.Rates[0].Take = 0
	first.Close(0, 1)
	second.Close(0, 2)
	harness.Until(t, "not all is given back", func() bool {
		r, err := n.Charge(t.Context(), look)
		if err != nil || r.BudgetErr != nil || r.Local {
			return false
		}
		taken := m.HGet("sluice:{state}:limits:tenant/acme", "taken")
		return r.Accounts[0] == Balance{Spent: 3} && taken == "0" && r.Rates[0] <= 2*24*time.Hour/1000
	})
}

// Spares never let more through than there is, at however many gateways, and keep nothing from anybody for longer than they live.
func TestSparesAreExact(t *testing.T) {
	m := miniredis.RunT(t)
	nodes := []*node{shared(t, m, policies.Redis{}), shared(t, m, policies.Redis{})}
	const limit, budget = 400, 10_000
	var let atomic.Int64
	ask := func(i int) bool {
		a := wealthy(limit, 1_000_000, budget)
		a.ID = fmt.Sprint("x", i)
		tab, refusal := Open(context.Background(), nodes[i%2], a)
		if refusal == nil {
			refusal = tab.Reserve(context.Background(), 10, false)
		}
		if refusal != nil {
			tab.Cancel()
			return false
		}
		let.Add(1)
		tab.Close(0, 10)
		return true
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 100 {
				ask(i + 8*k)
			}
		})
	}
	wg.Wait()
	harness.Until(t, "what is left is refused", func() bool {
		if ask(1000) {
			return false
		}
		b := nodes[0].tenantBalance(t, budget)
		return b.Held == 0 && b.Spent == 10*let.Load() && let.Load() >= limit
	})
	if got := let.Load(); got > limit+1 { // times are whole microseconds
		t.Errorf("%d let through of %d", got, limit)
	}
}

// tenantBalance is the tenant's budget.
func (n *node) tenantBalance(t *testing.T, limit int64) Balance {
	t.Helper()
	tenant := &policies.Tenant{Name: "acme", Budget: &policies.Budget{MicroUSD: limit, Per: "month", Zone: time.UTC}}
	r, err := n.Charge(t.Context(), &Charge{ID: "reader", Accounts: []AccountCharge{account1(tenant)}})
	if err != nil || r.BudgetErr != nil {
		t.Fatal(r, err)
	}
	return r.Accounts[0]
}

// A gateway has no spares of little, and as many as take one per cent of much.
func TestRoom(t *testing.T) {
	for _, tc := range []struct {
		requests, concurrent int
		budget               int64
		want                 int
	}{
		{99, 1000, 1_000_000, 0},
		{1000, 99, 1_000_000, 0},
		{1000, 1000, 900, 0},
		{300, 1000, 1_000_000, 3},
		{1000, 500, 1_000_000, 5},
		{1000, 1000, 7_990, 7},
		{1_000_000, 1_000_000, 1 << 40, maxSpares},
	} {
		a := wealthy(tc.requests, tc.concurrent, tc.budget)
		tab, refusal := Open(t.Context(), NewMemory(), a)
		if refusal != nil {
			t.Fatal(refusal)
		}
		c := tab.charge
		c.Accounts[0].Reserve = 10
		if got := c.room(tab.receipt); got != tc.want {
			t.Errorf("%+v: %d", tc, got)
		}
	}
}
