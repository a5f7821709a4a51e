package tenants

import (
	"context"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/policies"
)

// late is a store to which what nobody waits for comes when the test says so.
type late struct {
	Store
	queue []*Charge
}

func (s *late) Charge(ctx context.Context, c *Charge) (*Receipt, error) {
	if !c.Later {
		return s.Store.Charge(ctx, c)
	}
	s.queue = append(s.queue, c.clone())
	return newReceipt(c), nil
}

func (s *late) come(t *testing.T) {
	t.Helper()
	for _, c := range s.queue {
		c.Later = false
		if _, err := s.Store.Charge(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	s.queue = nil
}

// A lowering that comes after more was held, or after the settlement, gives nothing back: else others would be let through for money that is being spent.
func TestLoweredLate(t *testing.T) {
	tenant := &policies.Tenant{Name: "acme", Budget: &policies.Budget{MicroUSD: 10_000, Per: "month", Zone: time.UTC, OnExceed: policies.OnRefuse}}
	for name, store := range map[string]Store{"of one node": NewMemory(), "shared": shared(t, miniredis.RunT(t), policies.Redis{})} {
		held := func() int64 {
			t.Helper()
			r, err := store.Charge(t.Context(), &Charge{ID: "reader", Accounts: []AccountCharge{account1(tenant)}})
			if err != nil || r.BudgetErr != nil {
				t.Fatal(r, err)
			}
			return r.Accounts[0].Held
		}
		for _, tc := range []struct {
			what                       string
			costs, more                int64
			early, atLast, whenItCame  int64 // held
			settledBefore, comesBefore bool
		}{
			{what: "in time", costs: 40, more: 70, early: 40, atLast: 70, whenItCame: 70, comesBefore: true},
			{what: "after more was held", costs: 40, more: 70, early: 99, atLast: 70, whenItCame: 70},
			{what: "after as much was held as before", costs: 40, more: 99, early: 99, atLast: 100, whenItCame: 100},
			{what: "after nothing was to be held, and then something", costs: 0, more: 99, early: 99, atLast: 100, whenItCame: 100},
			{what: "to nothing", costs: 0, early: 99, atLast: 99, whenItCame: 0},
			{what: "after the settlement", costs: 40, early: 99, settledBefore: true},
		} {
			s := &late{Store: store}
			tab, refusal := Open(t.Context(), s, &Ask{ID: tc.what, Now: time.Now(), Hold: time.Minute, Key: &policies.Key{Tenant: tenant, ID: "web"},
				Note: &Note{Key: "s", Told: func(string) {}}, Ahead: func() int64 { return 99 }})
			if refusal != nil {
				t.Fatal(refusal)
			}
			expect := func(when string, want int64) {
				t.Helper()
				if got := held(); got != want {
					t.Errorf("%s, %s, %s: %d held, want %d", name, tc.what, when, got, want)
				}
			}
			reserve := func(micro int64) {
				t.Helper()
				if refusal := tab.Reserve(t.Context(), micro, false); refusal != nil {
					t.Fatal(refusal)
				}
			}
			settle := func() {
				c := spending1(tab.charge.ID, 0)
				c.Settle, c.Accounts = true, []AccountCharge{account1(tenant)}
				if _, err := store.Charge(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				harness.Until(t, "not settled", func() bool { return held() == 0 })
			}
			if reserve(tc.costs); tc.comesBefore {
				s.come(t)
			}
			expect("early", tc.early)
			if tc.more > 0 {
				reserve(tc.more)
			}
			if tc.settledBefore {
				settle()
			}
			expect("at last", tc.atLast)
			s.come(t)
			expect("when it came", tc.whenItCame)
			settle()
		}
	}
}
