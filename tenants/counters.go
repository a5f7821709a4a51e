package tenants

import (
	"maps"
	"math"
	"sync"
	"time"
)

// counters are rates, slots and accounts in memory: the store of one node, and what a node goes on with when the shared one is away. The script
// of the shared store does the same, step by step.
type counters struct {
	clock func() time.Duration // since the beginning: the clock of the wall may jump

	mu       sync.Mutex
	rates    map[string]time.Duration // the theoretical arrival time of the next one (GCRA)
	slots    map[string]*holds
	accounts map[string]*account
	dirty    map[string]bool // accounts changed since the last take of changes
	swept    time.Duration
}

// account is one period of one budget.
type account struct {
	spent int64
	holds holds
	end   time.Time
}

// holds are what exchanges have taken, by their IDs: slots, or money.
type holds struct {
	of    map[string]hold
	sum   int64
	lapse time.Duration // nothing lapses before it
}

// hold is what one exchange has taken, and until when it counts.
type hold struct {
	amount int64
	until  time.Duration
}

// put holds an amount for an exchange, in place of what it held.
func (h *holds) put(id string, q hold) {
	if h.of == nil {
		h.of = map[string]hold{}
	}
	if len(h.of) == 0 || q.until < h.lapse {
		h.lapse = q.until
	}
	h.release(id)
	h.of[id] = q
	h.sum += q.amount
}

// lower has an exchange hold an amount instead of exactly from.
func (h *holds) lower(id string, from, to int64) {
	q, ok := h.of[id]
	switch {
	case !ok || q.amount != from:
	case to == 0:
		h.release(id)
	default:
		h.put(id, hold{to, q.until})
	}
}

func (h *holds) release(id string) {
	h.sum -= h.of[id].amount
	delete(h.of, id)
}

// expire releases what counts no longer. It looks at every hold only when one may have lapsed: there are as many as there are open exchanges.
func (h *holds) expire(now time.Duration) {
	if now < h.lapse || len(h.of) == 0 {
		return
	}
	h.lapse = math.MaxInt64
	for id, q := range h.of {
		if q.until <= now {
			h.release(id)
		} else {
			h.lapse = min(h.lapse, q.until)
		}
	}
}

func newCounters() *counters {
	began := time.Now()
	return &counters{clock: func() time.Duration { return time.Since(began) }, rates: map[string]time.Duration{}, slots: map[string]*holds{}, accounts: map[string]*account{}, dirty: map[string]bool{}}
}

// sweepEvery bounds how long what is over stays in memory.
const sweepEvery = time.Minute

// charge does what the charge says.
func (s *counters) charge(c *Charge) *Receipt {
	r := newReceipt(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock().Truncate(time.Microsecond)
	s.sweep(now)
	r.Soft = s.look(c, r, now)
	if !c.Settle && (r.Refused >= 0 || r.short()) {
		r.Soft = false
		return r
	}
	s.apply(c, r, now)
	return r
}

// look fills in the receipt and finds what refuses. soft reports whether there is room for what is to be held softly.
func (s *counters) look(c *Charge, r *Receipt, now time.Duration) (soft bool) {
	for i := range c.Rates {
		q := &c.Rates[i]
		r.Rates[i] = max(s.rates[q.Key]-now, 0)
		if r.Refused < 0 && r.Rates[i]+q.cost() > q.Window {
			r.Refused = i
		}
	}
	for i, q := range c.Slots {
		if held := s.slots[q.Key]; held != nil {
			held.expire(now)
			r.Slots[i] = held.sum
		}
		if r.Refused < 0 && r.Slots[i] >= q.Limit {
			r.Refused = len(c.Rates) + i
		}
	}
	cramped := false
	for i := range c.Accounts {
		q := &c.Accounts[i]
		a := s.account(q, now)
		r.Accounts[i] = Balance{a.spent, a.holds.sum}
		others := a.spent + a.holds.sum - a.holds.of[c.ID].amount
		soft = soft || q.Soft
		cramped = cramped || q.Soft && (q.Reserve > q.Limit/roomy || others+roomy*q.Reserve > q.Limit)
		r.Short[i] = !q.Force && !q.Soft && q.Lower == 0 && q.Reserve > 0 && others+q.Reserve > q.Limit
	}
	return soft && !cramped
}

// apply does what nothing has refused.
func (s *counters) apply(c *Charge, r *Receipt, now time.Duration) {
	for i := range c.Rates {
		q := &c.Rates[i]
		r.Rates[i] = max(r.Rates[i]+q.cost(), 0)
		s.rates[q.Key] = now + r.Rates[i]
	}
	for i, q := range c.Slots {
		held := s.slots[q.Key]
		if held == nil {
			held = new(holds)
			s.slots[q.Key] = held
		}
		if c.Settle {
			held.release(c.ID)
		} else {
			held.put(c.ID, hold{1, now + c.Hold})
		}
		r.Slots[i] = held.sum
	}
	for i := range c.Accounts {
		q := &c.Accounts[i]
		a := s.accounts[q.Key]
		if c.Settle {
			a.holds.release(c.ID)
			a.spent += q.Spend
			s.dirty[q.Key] = true
		} else if q.Lower > 0 {
			a.holds.lower(c.ID, q.Lower, q.Reserve)
		} else if q.Reserve > 0 && (r.Soft || !q.Soft) {
			a.holds.put(c.ID, hold{q.Reserve, now + c.Hold})
		}
		r.Accounts[i] = Balance{a.spent, a.holds.sum}
	}
}

// account returns an account without what is held no longer.
func (s *counters) account(q *AccountCharge, now time.Duration) *account {
	a := s.accounts[q.Key]
	if a == nil {
		a = &account{end: q.End}
		s.accounts[q.Key] = a
	}
	a.end = q.End
	a.spent = max(a.spent, q.Floor)
	a.holds.expire(now)
	return a
}

// settleHeld settles the accounts on which the exchange holds something, and says which those were.
func (s *counters) settleHeld(c *Charge) (mine []bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine = make([]bool, len(c.Accounts))
	for i, q := range c.Accounts {
		a := s.accounts[q.Key]
		if a == nil {
			continue
		}
		if _, mine[i] = a.holds.of[c.ID]; mine[i] {
			a.holds.release(c.ID)
			a.spent += q.Spend
		}
	}
	return mine
}

// keepEnded is how long the account of a period stays after its end: for what settles late, and for who looks.
const keepEnded = 48 * time.Hour

// sweep drops what is over: full rates, free slots, accounts of ended periods.
func (s *counters) sweep(now time.Duration) {
	if now-s.swept < sweepEvery {
		return
	}
	s.swept = now
	maps.DeleteFunc(s.rates, func(_ string, at time.Duration) bool { return at <= now })
	maps.DeleteFunc(s.slots, func(_ string, held *holds) bool { return len(held.of) == 0 })
	old := time.Now().Add(-keepEnded)
	maps.DeleteFunc(s.accounts, func(_ string, a *account) bool { return a.end.Before(old) })
}

// spending is what outlives a process of an account.
type spending struct {
	spent int64
	end   time.Time
}

// changes returns what is spent on every account that changed since the last call.
func (s *counters) changes() map[string]spending {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.dirty) == 0 {
		return nil
	}
	out := make(map[string]spending, len(s.dirty))
	for key := range s.dirty {
		if a := s.accounts[key]; a != nil {
			out[key] = spending{a.spent, a.end}
		}
	}
	clear(s.dirty)
	return out
}

// unwritten takes back changes that could not be kept.
func (s *counters) unwritten(keys map[string]spending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range keys {
		s.dirty[key] = true
	}
}

// restore puts back what was spent before the process began.
func (s *counters) restore(was map[string]spending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, w := range was {
		s.accounts[key] = &account{spent: w.spent, end: w.end}
	}
}
