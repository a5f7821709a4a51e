package tenants

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/policies"
)

// metered is a tenant with a key, and a route, each with limits of its own.
func metered(limits ...*policies.Limits) *Ask {
	t := &policies.Tenant{Name: "acme", Limits: limits[0]}
	return &Ask{ID: "x", Key: &policies.Key{Tenant: t, ID: "web", Limits: limits[1]}, Route: &policies.Route{Name: "auto", Limits: limits[2]}, Tokens: 50, Hold: time.Hour}
}

func perMinute(requests, tokens, concurrent int) *policies.Limits {
	return &policies.Limits{Requests: policies.Rate{Count: requests, Window: time.Minute}, Tokens: policies.Rate{Count: tokens, Window: time.Minute}, Concurrent: concurrent}
}

func TestNothingToMeter(t *testing.T) {
	tab, err := Open(t.Context(), nil, metered(nil, nil, nil))
	if tab != nil || err != nil {
		t.Fatalf("%v %v", tab, err)
	}
	f, ferr := tab.Facts()
	if _, ok := tab.Standing(true); ok || f.Exhausted || ferr != nil || tab.Budgeted() || tab.Exceeded(policies.OnWarn) || tab.Unpriced() != "" {
		t.Error("a tab of nothing says something")
	}
	if err := tab.Reserve(t.Context(), 1, false); err != nil {
		t.Error(err)
	}
	tab.Close(1, 1)
	tab.Cancel()
}

// The tightest of tenant, key and route is the one that is told, and the one that refuses.
func TestTightest(t *testing.T) {
	s := NewMemory()
	a := metered(perMinute(10, 1000, 0), perMinute(2, 0, 0), perMinute(0, 120, 0))
	for i, want := range []struct {
		requests, tokens Standing
		refused          bool
	}{
		{Standing{2, 1, 30 * time.Second}, Standing{120, 70, 25 * time.Second}, false},
		{Standing{2, 0, time.Minute}, Standing{120, 20, 50 * time.Second}, false},
		{Standing{2, 0, time.Minute}, Standing{120, 20, 50 * time.Second}, true},
	} {
		tab, err := Open(t.Context(), s, a)
		requests, _ := tab.Standing(false)
		tokens, _ := tab.Standing(true)
		if (err != nil) != want.refused || requests.Limit != want.requests.Limit || requests.Remaining != want.requests.Remaining || tokens.Limit != want.tokens.Limit || tokens.Remaining != want.tokens.Remaining {
			t.Errorf("request %d: %+v %+v %v", i+1, requests, tokens, err)
		}
		if want.refused && (err.Status != 429 || err.Code != "rate_limit_exceeded" || err.RetryAfter <= 0 || err.RetryAfter > 30*time.Second) {
			t.Errorf("%+v", err)
		}
	}
}

// A limit on what is under way is given back at the end, and by nothing else.
func TestConcurrent(t *testing.T) {
	s, a := NewMemory(), metered(perMinute(0, 0, 1), nil, nil)
	first, err := Open(t.Context(), s, a)
	if err != nil {
		t.Fatal(err)
	}
	b := *a
	b.ID = "y"
	refused, err := Open(t.Context(), s, &b)
	if err == nil || err.Status != 429 || err.RetryAfter != time.Second {
		t.Fatalf("%v", err)
	}
	refused.Close(0, 0)
	if _, err := Open(t.Context(), s, &b); err == nil {
		t.Error("who was refused gave back what it never had")
	}
	first.Close(0, 0)
	first.Close(0, 0)
	if _, err := Open(t.Context(), s, &b); err != nil {
		t.Error(err)
	}
}

// What an exchange took and did not use is there again; one that begins afresh elsewhere took nothing.
func TestGivenBack(t *testing.T) {
	s, a := NewMemory(), metered(perMinute(2, 100, 0), nil, nil)
	for _, tc := range []struct {
		close            func(*Tab)
		requests, tokens int64
	}{
		{func(t *Tab) { t.Cancel() }, 2, 100},
		{func(t *Tab) { t.Close(10, 0) }, 1, 90},
		{func(t *Tab) { t.Close(95, 0) }, 0, 0}, // more than it took: the debt is paid
	} {
		tab, err := Open(t.Context(), s, a)
		if err != nil {
			t.Fatal(err)
		}
		tc.close(tab)
		look, _ := s.Charge(t.Context(), &Charge{Rates: []RateCharge{{Key: "requests/tenant/acme", Limit: 2, Window: time.Minute}, {Key: "tokens/tenant/acme", Limit: 100, Window: time.Minute}}})
		q := RateCharge{Limit: 2, Window: time.Minute}
		k := RateCharge{Limit: 100, Window: time.Minute}
		if r, n := q.left(look.Rates[0]), k.left(look.Rates[1]); r > tc.requests || r < tc.requests-1 || n > tc.tokens+1 || n < tc.tokens-1 {
			t.Errorf("%d requests and %d tokens are left, want %d and %d", r, n, tc.requests, tc.tokens)
		}
	}
}

// A guess never makes a request larger than what a rate lets through at all; what the request says itself may.
func TestGuess(t *testing.T) {
	a := metered(perMinute(0, 40, 0), nil, nil)
	if _, err := Open(t.Context(), NewMemory(), a); err == nil || err.RetryAfter <= 0 {
		t.Errorf("%v", err)
	}
	a.Guess = true
	if _, err := Open(t.Context(), NewMemory(), a); err != nil {
		t.Error(err)
	}
}

// A budget that is used up is told with its period's end, and is new after it.
func TestBudgetPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewMemory()
		a := metered(nil, nil, nil)
		a.Key.Tenant.Budget = &policies.Budget{MicroUSD: 100, Per: "day", Zone: time.UTC, OnExceed: policies.OnRefuse}
		open := func() *Tab {
			a.Now = time.Now()
			tab, err := Open(context.Background(), s, a)
			if err != nil {
				t.Fatal(err)
			}
			return tab
		}
		tab := open()
		if err := tab.Reserve(t.Context(), 80, false); err != nil {
			t.Fatal(err)
		}
		if f, _ := open().Facts(); f.Used != 0.8 || f.Exhausted {
			t.Errorf("%+v", f)
		}
		tab.Close(0, 100)
		tab = open()
		if f, _ := tab.Facts(); f.Used != 1 || !f.Exhausted || !tab.Exceeded(policies.OnRefuse) || tab.Exceeded(policies.OnWarn) {
			t.Errorf("%+v", f)
		}
		if err := tab.Reserve(t.Context(), 0, false); err != nil {
			t.Errorf("what costs nothing: %v", err)
		}
		err := tab.Reserve(t.Context(), 1, false)
		if err == nil || err.Status != 429 || err.Code != "insufficient_quota" || err.RetryAfter != 24*time.Hour { // the bubble's clock begins at midnight
			t.Fatalf("%+v", err)
		}
		time.Sleep(err.RetryAfter)
		if f, _ := open().Facts(); f.Used != 0 {
			t.Errorf("%+v", f)
		}
	})
}

// Amply is reserved where what is left of every budget, beside what is spent and held, holds an amount a hundred times, and nowhere else.
func TestReserveAmply(t *testing.T) {
	s, a := NewMemory(), metered(nil, nil, nil)
	a.Now = time.Now()
	a.Key.Tenant.Budget = &policies.Budget{MicroUSD: 1e6, Per: "month", Zone: time.UTC, OnExceed: policies.OnWarn}
	a.Key.Budget = &policies.Budget{MicroUSD: 10_000, Per: "month", Zone: time.UTC, OnExceed: policies.OnRefuse}
	open := func() *Tab {
		a.ID += "x" // another exchange
		tab, err := Open(t.Context(), s, a)
		if err != nil {
			t.Fatal(err)
		}
		return tab
	}
	amply := func(microUSD int64) bool {
		tab := open()
		defer tab.Close(0, 0)
		return tab.ReserveAmply(t.Context(), microUSD)
	}
	if !amply(100) || amply(101) || amply(math.MaxInt64) {
		t.Error("the smaller of two budgets is not what counts")
	}
	held, spent := open(), open()
	if err := held.Reserve(t.Context(), 1000, false); err != nil {
		t.Fatal(err)
	}
	spent.Close(0, 2000)
	if !amply(70) || amply(71) {
		t.Error("what is spent or held is left")
	}
	held.Close(0, 20_000)
	if amply(1) {
		t.Error("there is room in a budget that is used up")
	}
}

// Exchanges that all saw room for many times what they want do not take it from each other: whoever comes when it is no longer there reserves exactly.
func TestReserveAmplyAtOnce(t *testing.T) {
	s, a := NewMemory(), metered(nil, nil, nil)
	a.Now = time.Now()
	a.Key.Budget = &policies.Budget{MicroUSD: 12_000, Per: "month", Zone: time.UTC, OnExceed: policies.OnRefuse}
	tabs := make([]*Tab, 1000)
	for i := range tabs {
		a.ID += "x"
		tab, err := Open(t.Context(), s, a)
		if err != nil {
			t.Fatal(err)
		}
		tabs[i] = tab
	}
	ample, exact, refused := 0, 0, 0
	for _, tab := range tabs {
		switch {
		case tab.ReserveAmply(t.Context(), 100):
			ample++
		case tab.Reserve(t.Context(), 20, false) == nil:
			exact++
		default:
			refused++
		}
	}
	if ample != 21 || exact != 495 || ample*100+exact*20 != 12_000 {
		t.Errorf("%d amply, %d exactly, %d not at all", ample, exact, refused)
	}
}

func TestDollars(t *testing.T) {
	for micro, want := range map[int64]string{0: "0.00", 1: "0.000001", 2_000: "0.002", 500_000_000: "500.00", 1_230_000: "1.23", 1_200_000: "1.20"} {
		if got := dollars(micro); got != want {
			t.Errorf("%d: %s, want %s", micro, got, want)
		}
	}
}
