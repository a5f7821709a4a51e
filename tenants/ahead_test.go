package tenants

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/policies"
)

// What a plan may cost at most is held in the first trip where there is plenty, lowered to what it does cost, and nothing that rules read shows it. Where there
// is not plenty nothing is held before the decision.
func TestHeldAhead(t *testing.T) {
	m := miniredis.RunT(t)
	n := shared(t, m, policies.Redis{})
	tenant := &policies.Tenant{Name: "acme", Budget: &policies.Budget{MicroUSD: 10_000, Per: "month", Zone: time.UTC, OnExceed: policies.OnRefuse}}
	told := &Note{Key: "s", Told: func(string) {}} // whoever has to learn of its conversation has no use for spares
	held := func() Balance {
		t.Helper()
		r, err := n.Charge(t.Context(), &Charge{ID: "reader", Accounts: []AccountCharge{account1(tenant)}})
		if err != nil || r.BudgetErr != nil {
			t.Fatal(r, err)
		}
		return r.Accounts[0]
	}
	for _, tc := range []struct {
		name                string
		ahead, costs        int64
		first, then         int64 // held
		trips               int   // before the answer
		spend, spentAfterIt int64
	}{
		{"as much as it costs", 100, 100, 100, 100, 1, 90, 90},
		{"more than it costs", 99, 40, 99, 40, 1, 30, 120},
		{"it costs nothing", 98, 0, 98, 0, 1, 0, 120},
		{"less than it costs", 10, 60, 10, 60, 2, 60, 180},
		{"not plenty", 101, 101, 0, 101, 2, 1, 181},
		{"unknown", 0, 50, 0, 50, 2, 50, 231},
	} {
		before := m.CommandCount()
		tab, refusal := Open(t.Context(), n, &Ask{ID: tc.name, Now: time.Now(), Hold: time.Minute, Key: &policies.Key{Tenant: tenant, ID: "web"}, Note: told, Ahead: func() int64 { return tc.ahead }})
		if refusal != nil {
			t.Fatal(refusal)
		}
		first := m.CommandCount() - before
		if facts, err := tab.Facts(); err != nil || facts.Used != float64(held().Spent)/10_000 {
			t.Errorf("%s: %+v %v", tc.name, facts, err)
		}
		if b := held(); b.Held != tc.first {
			t.Errorf("%s: %d held in the first trip, want %d", tc.name, b.Held, tc.first)
		}
		before = m.CommandCount()
		if refusal := tab.Reserve(t.Context(), tc.costs, false); refusal != nil {
			t.Errorf("%s: %v", tc.name, refusal)
		}
		if waits := tc.trips == 2; waits && m.CommandCount() == before || first == 0 {
			t.Errorf("%s: %d commands, then %d", tc.name, first, m.CommandCount()-before)
		}
		harness.Until(t, tc.name+": not what it costs is held", func() bool { return held().Held == tc.then })
		tab.Close(0, tc.spend)
		harness.Until(t, tc.name+": not settled", func() bool { return held() == Balance{Spent: tc.spentAfterIt} })
	}
}

func account1(t *policies.Tenant) AccountCharge {
	name, end := t.Budget.Period(time.Now())
	return AccountCharge{Key: "tenant/" + t.Name + "/" + name, Limit: t.Budget.MicroUSD, End: end}
}

// A gateway whose store is away holds nothing ahead: what it may spend is little.
func TestHeldAheadAlone(t *testing.T) {
	m := miniredis.RunT(t)
	n := shared(t, m, policies.Redis{Limits: "local", Budget: "local_slack"})
	m.SetError("LOADING")
	tenant := &policies.Tenant{Name: "acme", Budget: &policies.Budget{MicroUSD: 10_000, Per: "month", Zone: time.UTC, OnExceed: policies.OnRefuse}}
	ask := &Ask{ID: "x", Now: time.Now(), Hold: time.Minute, Key: &policies.Key{Tenant: tenant, ID: "web"}, Ahead: func() int64 { return 100 }}
	tab, refusal := Open(t.Context(), n, ask)
	if refusal != nil || tab.ahead != 0 {
		t.Fatal(refusal, tab)
	}
	if refusal := tab.Reserve(t.Context(), 60, false); refusal != nil {
		t.Error(refusal)
	}
	ask.ID = "y"
	if tab, refusal = Open(t.Context(), n, ask); refusal == nil {
		refusal = tab.Reserve(t.Context(), 60, false)
	}
	if refusal == nil {
		t.Error("120 of a slack of 100")
	}
}
