package tenants

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/redis"
	"github.com/sluice-gateway/sluice/policies"
)

// node is one gateway's side of a shared store.
type node struct {
	*Shared
	own *Embedded
}

func shared(t *testing.T, m *miniredis.Miniredis, o policies.Redis) *node {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	rdb, err := redis.Open(redis.Options{URL: "redis://" + m.Addr(), Timeout: o.Timeout})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{own: NewMemory()}
	if n.Shared, err = OpenShared(rdb, &o, n.own); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = n.Close(), rdb.Close() })
	return n
}

func spending1(id string, reserve int64) *Charge {
	return &Charge{ID: id, Hold: time.Hour, Accounts: []AccountCharge{{Key: "a", Limit: 1000, Reserve: reserve, End: time.Now().Add(time.Hour)}}}
}

func settling(id string, spend int64) *Charge {
	c := spending1(id, 0)
	c.Settle, c.Accounts[0].Spend = true, spend
	return c
}

func (n *node) balance(t *testing.T) Balance {
	t.Helper()
	r, err := n.Charge(t.Context(), spending1("reader", 0))
	if err != nil || r.BudgetErr != nil {
		t.Fatalf("%+v %v", r, err)
	}
	return r.Accounts[0]
}

// Two gateways that reserve at the same time never hold more than there is.
func TestSharedNeverOversold(t *testing.T) {
	m := miniredis.RunT(t)
	nodes := []*node{shared(t, m, policies.Redis{}), shared(t, m, policies.Redis{})}
	var wg sync.WaitGroup
	var mu sync.Mutex
	held := int64(0)
	for i := range 60 {
		wg.Go(func() {
			id := string(rune('A' + i))
			r, err := nodes[i%2].Charge(context.Background(), spending1(id, 90))
			if err != nil || r.BudgetErr != nil {
				t.Errorf("%v %v", r, err)
				return
			}
			if !r.short() {
				mu.Lock()
				held += 90
				mu.Unlock()
				_, _ = nodes[i%2].Charge(context.Background(), settling(id, 90))
			}
		})
	}
	wg.Wait()
	harness.Until(t, "what is owed is not settled", func() bool { b := nodes[0].balance(t); return b.Held == 0 && b.Spent == held })
	if held != 990 {
		t.Errorf("%d let through of 1000", held)
	}
}

// While the store is away each gateway spends at most one per cent more, and what it spent is booked when the store is back.
func TestSlack(t *testing.T) {
	m := miniredis.RunT(t)
	n := shared(t, m, policies.Redis{Limits: "local", Budget: "local_slack"})
	if r, err := n.Charge(t.Context(), spending1("before", 100)); err != nil || r.short() {
		t.Fatal(r, err)
	}
	m.SetError("LOADING")
	_, _ = n.Charge(t.Context(), settling("before", 100)) // reserved: no slack
	let := 0
	for _, id := range []string{"a", "b", "c", "d"} {
		r, err := n.Charge(t.Context(), spending1(id, 4))
		if err != nil || r.BudgetErr == nil {
			t.Fatal(r, err)
		}
		if !r.short() {
			let++
			_, _ = n.Charge(t.Context(), settling(id, 4))
		}
	}
	if let != 2 {
		t.Errorf("%d of 4 fit in one per cent of 1000", let)
	}
	m.SetError("")
	harness.Until(t, "what was spent is not booked", func() bool {
		r, err := n.Charge(t.Context(), spending1("reader", 0))
		n.mu.Lock()
		defer n.mu.Unlock() // the store has it booked before the gateway knows
		return err == nil && r.BudgetErr == nil && r.Accounts[0] == Balance{Spent: 108} && len(n.owed) == 0
	})
	m.SetError("LOADING")
	if r, _ := n.Charge(t.Context(), spending1("again", 4)); r.BudgetErr == nil || r.short() {
		t.Errorf("what was booked does not make room again: %+v", r)
	}
}

func TestPostures(t *testing.T) {
	limits := func() *Charge {
		return &Charge{ID: "x", Hold: time.Hour, Rates: []RateCharge{{Key: "r", Limit: 1, Window: time.Hour, Take: 1}}}
	}
	for _, tc := range []struct {
		limits, budget string
		refuses        []bool // what becomes of three requests
		money          []bool
	}{
		{"local", "local_slack", []bool{false, true, true}, []bool{false, true, true}},
		{"open", "open", []bool{false, false, false}, []bool{false, false, false}},
		{"refuse", "refuse", nil, nil},
	} {
		m := miniredis.RunT(t)
		m.SetError("READONLY")
		n := shared(t, m, policies.Redis{Limits: tc.limits, Budget: tc.budget})
		var got, money []bool
		for _, id := range []string{"1", "2", "3"} {
			r, err := n.Charge(t.Context(), limits())
			b, berr := n.Charge(t.Context(), spending1(id, 10))
			if tc.refuses == nil {
				if !errors.Is(err, ErrUnavailable) || !errors.Is(berr, ErrUnavailable) {
					t.Errorf("%s: %v %v", tc.limits, err, berr)
				}
				continue
			}
			if err != nil || berr != nil {
				t.Fatal(err, berr)
			}
			got, money = append(got, r.Refused >= 0), append(money, b.short())
		}
		if !slices.Equal(got, tc.refuses) || !slices.Equal(money, tc.money) {
			t.Errorf("%s, %s: %v %v", tc.limits, tc.budget, got, money)
		}
	}
}

// A request that is refused for its budget takes nothing of the limits that each gateway keeps alone: it would be given back by nobody.
func TestRefusedTakesNothing(t *testing.T) {
	m := miniredis.RunT(t)
	m.SetError("READONLY")
	n := shared(t, m, policies.Redis{Limits: "local", Budget: "refuse"})
	slot := []SlotCharge{{Key: "s", Limit: 1}}
	for range 3 {
		c := spending1("refused", 10)
		c.Slots, c.Rates = slot, []RateCharge{{Key: "r", Limit: 1, Window: time.Hour, Take: 1}}
		if _, err := n.Charge(t.Context(), c); !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
	}
	r, err := n.Charge(t.Context(), &Charge{ID: "unbudgeted", Hold: time.Hour, Slots: slot, Rates: []RateCharge{{Key: "r", Limit: 1, Window: time.Hour, Take: 1}}})
	if err != nil || r.Refused >= 0 {
		t.Errorf("%+v %v", r, err)
	}
}

// A store that lost everything does not make budgets new, nor revoked keys good.
func TestFlushed(t *testing.T) {
	m := miniredis.RunT(t)
	n := shared(t, m, policies.Redis{})
	if r, err := n.Charge(t.Context(), spending1("x", 700)); err != nil || r.short() {
		t.Fatal(r, err)
	}
	_, _ = n.Charge(t.Context(), settling("x", 700))
	harness.Until(t, "not settled", func() bool { return n.balance(t).Spent == 700 })
	if err := n.Amend(t.Context(), func(r *Register) error { r.Revoke("h", time.Now()); return nil }); err != nil {
		t.Fatal(err)
	}
	m.FlushAll()
	if b := n.balance(t); b.Spent != 700 {
		t.Errorf("%+v", b)
	}
	if r, err := n.Register(t.Context(), ""); err != nil || !r.Ended("h", time.Now()) {
		t.Errorf("%+v %v", r, err)
	}
	if !m.Exists(registerKey) {
		t.Error("the register is not put back")
	}
}

// Two nodes that amend at once lose nothing, and each sees what the other did; a node that starts without the store knows what it has seen.
func TestSharedRegister(t *testing.T) {
	m := miniredis.RunT(t)
	nodes := []*node{shared(t, m, policies.Redis{}), shared(t, m, policies.Redis{})}
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			if err := nodes[i%2].Amend(context.Background(), func(r *Register) error {
				r.Keys = append(r.Keys, StoredKey{Tenant: "acme", ID: string(rune('a' + i))})
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r, err := nodes[0].Register(t.Context(), "")
	if err != nil || len(r.Keys) != 10 {
		t.Fatalf("%+v %v", r, err)
	}
	if again, err := nodes[0].Register(t.Context(), r.Version); again != nil || err != nil {
		t.Errorf("%+v %v", again, err)
	}
	m.SetError("LOADING")
	if _, err := nodes[0].Register(t.Context(), r.Version); err == nil {
		t.Error("a store that is away answered")
	}
	if own, _ := nodes[0].own.Register(t.Context(), ""); len(own.Keys) != 10 {
		t.Errorf("the copy has %d keys", len(own.Keys))
	}
}

// A settlement that is sent again under its number, because its answer was lost, counts once; another of the same exchange counts.
func TestSettlesOnce(t *testing.T) {
	m := miniredis.RunT(t)
	n := shared(t, m, policies.Redis{})
	rate := RateCharge{Key: "tokens/a", Limit: 100, Window: 100 * time.Second, Take: 50}
	if _, err := n.Charge(t.Context(), &Charge{ID: "reader", Rates: []RateCharge{rate}}); err != nil {
		t.Fatal(err)
	}
	m.SetTime(time.Now())
	for _, tc := range []struct{ number, spent, ahead int64 }{{7, 10, 40}, {7, 10, 40}, {8, 20, 30}, {7, 20, 30}, {8, 20, 30}, {9, 30, 20}} {
		c := settling("x", 10)
		rate.Take = -10
		c.Rates = []RateCharge{rate}
		if !n.settle(t.Context(), []*debt{{Charge: c, number: tc.number}}) {
			t.Fatal("not settled")
		}
		r, err := n.Charge(t.Context(), &Charge{ID: "reader", Rates: []RateCharge{{Key: rate.Key, Limit: 100, Window: rate.Window}}, Accounts: spending1("reader", 0).Accounts})
		if err != nil || r.Accounts[0].Spent != tc.spent || r.Rates[0].Round(time.Second) != time.Duration(tc.ahead)*time.Second {
			t.Errorf("number %d: %+v %v", tc.number, r, err)
		}
	}
}

// A level's rates and slots are one key's, and both keep their order.
func TestLevels(t *testing.T) {
	for _, tc := range []struct {
		rates, slots []string
		want         string
	}{
		{nil, nil, ""},
		{[]string{"requests/t", "tokens/t", "requests/k"}, []string{"t", "k"}, "t+2+slots k+1+slots"},
		{[]string{"requests/k"}, []string{"t", "k", "r"}, "t+0+slots k+1+slots r+0+slots"},
		{[]string{"requests/t", "requests/r"}, []string{"k", "r"}, "k+0+slots t+1 r+1+slots"},
		{[]string{"requests/t", "requests/k"}, []string{"k", "t"}, "t+1 k+1+slots t+0+slots"},
		{nil, []string{"t"}, "t+0+slots"},
	} {
		c := &Charge{}
		for _, key := range tc.rates {
			c.Rates = append(c.Rates, RateCharge{Key: key})
		}
		for _, key := range tc.slots {
			c.Slots = append(c.Slots, SlotCharge{Key: key})
		}
		var got []string
		for _, l := range c.levels() {
			text := fmt.Sprintf("%s+%d", l.key, len(l.rates))
			if l.slots >= 0 {
				text += "+slots"
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%v %v: %v, want %s", tc.rates, tc.slots, got, tc.want)
		}
	}
}

func BenchmarkCharge(b *testing.B) {
	quotas := func() *Charge {
		return &Charge{ID: "x", Hold: time.Minute, Rates: []RateCharge{{Key: "r", Limit: 1 << 40, Window: time.Second, Take: 1}, {Key: "t", Limit: 1 << 40, Window: time.Second, Take: 100}},
			Slots: []SlotCharge{{"s", 1 << 30}}, Accounts: []AccountCharge{{Key: "a", Limit: 1 << 50, End: time.Now().Add(time.Hour)}}}
	}
	b.Run("memory", func(b *testing.B) {
		s := NewMemory()
		b.ReportAllocs()
		for b.Loop() {
			c := quotas()
			_, _ = s.Charge(b.Context(), c)
			c = quotas()
			c.Settle = true
			_, _ = s.Charge(b.Context(), c)
		}
	})
}
