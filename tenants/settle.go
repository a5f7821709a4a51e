package tenants

import (
	"context"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/internal/redis"
)

// debt is what is to be settled. slack says which of its accounts were reserved on from what may be spent while the store is away.
type debt struct {
	*Charge
	slack  []bool
	number int64  // by which the store knows it again; 0 = it has not been sent, or the store has said that it did not take it
	paid   bool   // the settling goroutine's own, like number
	shelf  *shelf // of a spare that is to be made; nil = it is none
}

const (
	// maxOwed bounds what waits to be settled: beyond it the oldest is forgotten, and what it held ends by itself.
	maxOwed = 100_000
	// maxTogether bounds what is settled in one trip.
	maxTogether = 128
	// company is how long a settlement for which nobody waits lets others join it.
	company = 2 * time.Millisecond
	// retryOwed is how often what is owed is tried again while the store is away.
	retryOwed = 250 * time.Millisecond
	// closeWait is how long Close tries to settle what is owed.
	closeWait = 2 * time.Second
)

// Close settles what is owed, if the store is there, and stops.
func (s *Shared) Close() error {
	s.stop()
	<-s.done
	s.noOrders()
	s.clear(0)
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	s.settleAll(ctx)
	return nil
}

// owe leaves it to the background to settle a charge with the store, also one that was taken without it.
func (s *Shared) owe(c *Charge) {
	c = c.clone() // it may be a part of something larger, which nobody needs meanwhile
	d := &debt{Charge: c}
	if c.Settle {
		d.slack = s.slack.settleHeld(c)
	}
	if c.Local {
		s.local.charge(&Charge{ID: c.ID, Settle: true, Rates: c.Rates, Slots: c.Slots})
		c.Rates = nil
	}
	s.mu.Lock()
	s.push(d)
	s.mu.Unlock()
	if c.Patient {
		call(s.wake)
	} else {
		call(s.hurry)
	}
}

// push puts a debt behind the others. The lock is held.
func (s *Shared) push(d *debt) {
	if len(s.owed) >= maxOwed {
		s.owed = s.owed[1:]
	}
	s.owed = append(s.owed, d)
}

// call has the settling goroutine look, unless it is about to.
func call(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

func (s *Shared) settleOwed(ctx context.Context) {
	defer close(s.done)
	tick := time.NewTicker(retryOwed)
	defer tick.Stop()
	var together <-chan time.Time // nil = nothing waits for others
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			if together == nil {
				together = time.After(company)
			}
			continue
		case <-together:
		case <-s.hurry:
		case <-tick.C:
			s.clear(spareLife)
		}
		together = nil
		s.settleAll(ctx)
	}
}

// settleAll settles what is owed, in order and many at a time, until the store fails.
func (s *Shared) settleAll(ctx context.Context) {
	for ctx.Err() == nil {
		s.mu.Lock()
		batch := slices.Clone(s.owed[:min(len(s.owed), maxTogether)])
		s.mu.Unlock()
		if len(batch) == 0 || !s.settle(ctx, batch) {
			return
		}
	}
}

// settle sends debts in one trip and takes off what is owed what the store took. It reports whether that is all of them.
func (s *Shared) settle(ctx context.Context, batch []*debt) bool {
	calls, uses := make([]redis.Call, len(batch)), make([]string, 0, 3)
	for i, d := range batch {
		if d.number == 0 {
			s.settled++
			d.number = s.settled
		}
		s.floors(d.Charge)
		calls[i] = scriptCall(d.Charge, s.name, d.number)
		for _, use := range d.uses() {
			if !slices.Contains(uses, use) {
				uses = append(uses, use)
			}
		}
	}
	err := s.rdb.RunFor(ctx, uses, func(ctx context.Context, cmd redis.Commands) (failed error) {
		for i, answer := range redis.CallEach(ctx, cmd, chargeScript, calls) {
			d := batch[i]
			said, err := answer.Slice()
			var r *Receipt
			if err == nil {
				r, err = read(d.Charge, said)
			}
			if err == nil {
				s.learn(d.Charge, r)
				d.paid = true
				if d.shelf != nil {
					s.shelve(d, r)
				}
				continue
			}
			if failed == nil {
				failed = err
			}
			if redis.Refused(err) {
				d.number = 0
			}
		}
		return failed
	})
	s.pay(batch)
	if err != nil {
		s.clear(0)
	}
	return err == nil
}

// pay takes off what is owed the debts of a batch that are paid, and those that need not be. What the store has refused goes behind the others, as it gets another
// number.
func (s *Shared) pay(batch []*debt) {
	for _, d := range batch {
		if d.paid {
			s.repay(d)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(batch) > 0 && (len(s.owed) == 0 || s.owed[0] != batch[0]) {
		batch = batch[1:] // forgotten meanwhile
	}
	var left, refused, unsure []*debt
	for _, d := range batch {
		switch {
		case d.paid:
		case d.forgivable():
			if d.shelf != nil {
				d.shelf.ordered--
				if d.number != 0 && (len(d.Slots) > 0 || len(d.Accounts) > 0) {
					unsure = append(unsure, &debt{Charge: d.unmade()})
				}
			}
		case d.number == 0:
			refused = append(refused, d)
		default:
			left = append(left, d)
		}
	}
	settled := len(batch) - len(left)
	copy(s.owed[settled:], left)
	clear(s.owed[:settled])
	if s.owed = append(append(s.owed[settled:], refused...), unsure...); len(s.owed) == 0 {
		s.owed = nil
	}
}

// forgivable reports whether it may be left undone: what is not told of a conversation, a reservation that is not lowered before it is settled, a spare.
func (d *debt) forgivable() bool { return d.notesOnly() || !d.Settle }

// repay makes what a debt took of the slack be there again.
func (s *Shared) repay(d *debt) {
	for i, mine := range d.slack {
		if mine {
			q := d.Accounts[i]
			q.Spend, q.Floor = -q.Spend, 0
			s.slack.charge(&Charge{ID: d.ID, Settle: true, Accounts: []AccountCharge{q}})
		}
	}
}
