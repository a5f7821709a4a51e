package tenants

import (
	"context"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sluice-gateway/sluice/internal/redis"
)

func TestRateTakesTheWholeCountAtOnce(t *testing.T) {
	for _, limit := range []int64{1, 3, 6, 7, 600, 99_991} {
		synctest.Test(t, func(t *testing.T) {
			s := newCounters()
			take := func(n int64) *Receipt {
				return s.charge(&Charge{Rates: []RateCharge{{Key: "a", Limit: limit, Window: time.Minute, Take: n}}})
			}
			let := 0
			for range limit + 5 {
				if take(1).Refused < 0 {
					let++
				}
			}
			if more := int64(let) - limit; more < 0 || more > limit/10_000 { // times are whole microseconds
				t.Errorf("%d of %d at once", let, limit)
			}
			r := take(1)
			q := RateCharge{Key: "a", Limit: limit, Window: time.Minute, Take: 1}
			if left := q.left(r.Rates[0]); left > limit/10_000 {
				t.Errorf("%d left of nothing", left)
			}
			time.Sleep(q.wait(r.Rates[0]) - time.Millisecond)
			if limit < 10 && take(1).Refused < 0 {
				t.Error("let through before the wait was over")
			}
			time.Sleep(2 * time.Millisecond)
			if take(1).Refused >= 0 {
				t.Error("refused after the wait")
			}
		})
	}
}

// Nothing is taken of a charge of which anything is refused.
func TestAllOrNothing(t *testing.T) {
	s := newCounters()
	c := func() *Charge {
		return &Charge{ID: "x", Hold: time.Hour, Rates: []RateCharge{{Key: "wide", Limit: 10, Window: time.Hour, Take: 1}, {Key: "narrow", Limit: 1, Window: time.Hour, Take: 1}},
			Slots: []SlotCharge{{Key: "s", Limit: 1}}}
	}
	if r := s.charge(c()); r.Refused != -1 || r.Slots[0] != 1 {
		t.Fatalf("%+v", r)
	}
	r := s.charge(c())
	if q := c().Rates[0]; r.Refused != 1 || q.left(r.Rates[0]) != 9 || r.Slots[0] != 1 {
		t.Errorf("%+v", r)
	}
	s.charge(&Charge{ID: "x", Settle: true, Slots: c().Slots})
	if len(s.slots["s"].of) != 0 {
		t.Error("the slot is not given back")
	}
}

func TestHoldsEndByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCounters()
		c := func(id string) *Charge {
			return &Charge{ID: id, Hold: time.Minute, Slots: []SlotCharge{{"s", 1}}, Accounts: []AccountCharge{{Key: "a", Limit: 100, Reserve: 100, End: time.Now().Add(time.Hour)}}}
		}
		if r := s.charge(c("one")); r.Refused >= 0 || r.short() {
			t.Fatal("refused")
		}
		if r := s.charge(c("two")); r.Refused < 0 || !r.short() {
			t.Errorf("%+v", r)
		}
		time.Sleep(time.Minute)
		if r := s.charge(c("three")); r.Refused >= 0 || r.short() || r.Accounts[0].Held != 100 {
			t.Errorf("%+v", r)
		}
	})
}

func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCounters()
		for i := range 100 {
			id := fmt.Sprint(i)
			s.charge(&Charge{ID: id, Rates: []RateCharge{{Key: id, Limit: 1, Window: time.Second, Take: 1}}, Slots: []SlotCharge{{id, 1}},
				Accounts: []AccountCharge{{Key: id, Limit: 1, End: time.Now()}}})
		}
		time.Sleep(keepEnded + time.Hour)
		for range 2 {
			s.charge(&Charge{ID: "0", Slots: []SlotCharge{{"0", 1}}, Settle: true})
			time.Sleep(sweepEvery)
		}
		if len(s.rates) > 0 || len(s.accounts) > 0 {
			t.Errorf("%d rates, %d accounts stay", len(s.rates), len(s.accounts))
		}
	})
}

// genCharge draws a charge over few keys, so that they meet.
func genCharge(t *rapid.T) *Charge {
	end := time.Now().Add(time.Hour)
	c := &Charge{ID: fmt.Sprint("x", rapid.IntRange(0, 4).Draw(t, "id")), Hold: time.Duration(rapid.IntRange(1, 10).Draw(t, "hold")) * time.Second,
		Settle: rapid.Bool().Draw(t, "settle")}
	limits := map[string]int64{"a": 3, "b": 100, "c": 7}
	for _, key := range []string{"a", "b", "c"} {
		for _, rate := range []string{"requests/", "tokens/"} {
			if !rapid.Bool().Draw(t, "rate") {
				continue
			}
			take := int64(rapid.IntRange(0, 5).Draw(t, "take"))
			if c.Settle {
				take = int64(rapid.IntRange(-5, 5).Draw(t, "give"))
			}
			c.Rates = append(c.Rates, RateCharge{Key: rate + key, Limit: limits[key], Window: 10 * time.Second, Take: take})
		}
		if rapid.Bool().Draw(t, "slot") {
			c.Slots = append(c.Slots, SlotCharge{key, 2})
		}
		if rapid.Bool().Draw(t, "account") {
			q := AccountCharge{Key: key, Limit: limits[key] * 10, End: end}
			if c.Settle {
				q.Spend = int64(rapid.IntRange(0, 20).Draw(t, "spend"))
			} else {
				q.Reserve, q.Force = int64(rapid.IntRange(0, 20).Draw(t, "reserve")), rapid.Bool().Draw(t, "force")
				if rapid.Bool().Draw(t, "soft") {
					q.Reserve, q.Force, q.Soft = q.Reserve/5, false, true
				}
			}
			c.Accounts = append(c.Accounts, q)
		}
	}
	return c
}

// TestScriptIsTheModel holds the script to what the counters in memory do, over random charges with their clocks in step.
func TestScriptIsTheModel(t *testing.T) {
	m := miniredis.RunT(t)
	rdb, err := redis.Open(redis.Options{URL: "redis://" + m.Addr(), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	rapid.Check(t, func(rt *rapid.T) {
		m.FlushAll()
		now, model := time.Duration(0), newCounters()
		model.clock = func() time.Duration { return now }
		settled := map[string]bool{} // an exchange settles once
		for n := range rapid.IntRange(1, 30).Draw(rt, "charges") {
			now += time.Duration(rapid.IntRange(0, 6000).Draw(rt, "pass")) * time.Millisecond
			m.SetTime(time.Unix(1e9, 0).Add(now))
			c := genCharge(rt)
			if settled[c.ID] {
				c.ID += fmt.Sprint("-", n)
			}
			settled[c.ID] = c.Settle
			want := model.charge(c)
			var got *Receipt
			err := rdb.Run(context.Background(), "test", func(ctx context.Context, cmd redis.Commands) (err error) {
				got, err = charge(ctx, cmd, c)
				return err
			})
			if err != nil {
				rt.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				rt.Fatalf("charge %d %+v (-memory +script):\n%s", n, c, d)
			}
		}
	})
}

// What a client asks for is any number: none of them is free.
func TestAbsurdCount(t *testing.T) {
	for _, take := range []int64{2, 1 << 40, math.MaxInt64} {
		for _, window := range []time.Duration{time.Second, 24 * time.Hour} {
			q := RateCharge{Key: "tokens/a", Limit: 1, Window: window, Take: take}
			if r := newCounters().charge(&Charge{ID: "x", Rates: []RateCharge{q}}); r.Refused != 0 {
				t.Errorf("%d of 1 in %s are let through", take, window)
			}
			if q.Take = -take; q.cost() >= 0 {
				t.Errorf("%d given back cost %s", take, q.cost())
			}
		}
	}
}
