package tenants

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/internal/redis"
	"github.com/sluice-gateway/sluice/policies"
)

// The uses of the shared state, as metrics and the policy's on_failure name them.
const (
	UseLimits   = "limits"
	UseBudget   = "budget"
	UseKeys     = "keys"
	UseSessions = "sessions"
)

// Shared is the store of all gateways that use one Redis. While that is away, limits and budgets are what the policy's on_failure says; what is to
// be settled waits until it is back.
type Shared struct {
	rdb           *redis.Client
	limits, money string // what holds while the store is away

	local *counters // limits while the store is away
	slack *counters // what may be spent while it is away

	mu       sync.Mutex
	seen     map[string]seen // what accounts had spent when they were last seen
	owed     []*debt         // oldest first
	shelves  map[string]*shelf
	register *Register // as last seen
	mirror   *Embedded // keeps the register for a start without the store

	name    string // of this gateway, by which its settlements are numbered
	settled int64  // the number of the last settlement that was sent; the settling goroutine's own
	hurry   chan struct{}
	wake    chan struct{}
	stop    context.CancelFunc
	done    chan struct{}
}

// seen is an account as it was last seen.
type seen struct {
	Balance
	end time.Time
}

// slackShare is the share of a budget that each gateway may spend while the store is away, beyond what it has reserved.
const slackShare = 100

// OpenShared makes the store over a client. mirror keeps a copy of the register of keys, so that a key that was revoked stays so where the
// gateway starts and the store is not there. Client and mirror stay the caller's.
func OpenShared(rdb *redis.Client, o *policies.Redis, mirror *Embedded) (*Shared, error) {
	r, err := mirror.Register(context.Background(), "")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Shared{rdb: rdb, limits: o.Limits, money: o.Budget, local: newCounters(), slack: newCounters(), seen: map[string]seen{}, shelves: map[string]*shelf{},
		register: r, mirror: mirror, name: rand.Text(), hurry: make(chan struct{}, 1), wake: make(chan struct{}, 1), stop: cancel, done: make(chan struct{})}
	go s.settleOwed(ctx)
	return s, nil
}

// Charge takes and reserves in one trip, which may have been made ahead. Settling never waits for the trip.
func (s *Shared) Charge(ctx context.Context, c *Charge) (*Receipt, error) {
	if c.Settle || c.Later {
		s.owe(c)
		return newReceipt(c), nil
	}
	shape, busy := "", false // of a charge that may be made ahead
	if c.ahead() {
		shape = c.shape()
		var r *Receipt
		if r, busy = s.take(c, shape); r != nil {
			return r, nil
		}
	}
	s.floors(c)
	r, err := s.trip(ctx, c)
	if err != nil {
		s.clear(0)
		r, refusal := s.alone(c, err)
		lost := !errors.Is(err, redis.ErrAway) && !redis.Refused(err)
		if lost && (refusal != nil || r.Refused >= 0) { // the store may have taken it, and nobody will settle it
			s.owe(c.unmade())
		}
		return r, refusal
	}
	s.learn(c, r)
	if busy {
		s.order(c, shape, r, 2)
	}
	return r, nil
}

// trip asks the store once, for every use that the charge has.
func (s *Shared) trip(ctx context.Context, c *Charge) (r *Receipt, err error) {
	err = s.rdb.RunFor(ctx, c.uses(), func(ctx context.Context, cmd redis.Commands) (err error) {
		r, err = charge(ctx, cmd, c)
		return err
	})
	return r, err
}

// floors tells the store what is known to be spent, so that a store that lost everything does not begin at nothing.
func (s *Shared) floors(c *Charge) {
	if len(c.Accounts) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range c.Accounts {
		c.Accounts[i].Floor = s.seen[c.Accounts[i].Key].Spent
	}
}

// learn keeps what the store says of accounts.
func (s *Shared) learn(c *Charge, r *Receipt) {
	if len(c.Accounts) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, q := range c.Accounts {
		if _, known := s.seen[q.Key]; !known {
			s.forget()
		}
		s.seen[q.Key] = seen{r.Accounts[i], q.End}
	}
}

// forget drops accounts of periods that are over.
func (s *Shared) forget() {
	old := time.Now().Add(-keepEnded)
	for key, v := range s.seen {
		if v.end.Before(old) {
			delete(s.seen, key)
		}
	}
}

// alone does what on_failure says of a charge that the store did not take.
func (s *Shared) alone(c *Charge, cause error) (*Receipt, error) {
	if len(c.Accounts) > 0 && s.money == "refuse" { // before anything is taken, which nobody would give back
		return nil, ErrUnavailable
	}
	r := newReceipt(c)
	if len(c.Rates)+len(c.Slots) > 0 {
		switch s.limits {
		case "refuse":
			return nil, ErrUnavailable
		case "open":
			r.Local = true
		case "local":
			own := s.local.charge(&Charge{ID: c.ID, Hold: c.Hold, Rates: c.Rates, Slots: c.Slots})
			r.Local, r.Refused, r.Rates, r.Slots = true, own.Refused, own.Rates, own.Slots
		}
	}
	if len(c.Accounts) == 0 {
		return r, nil
	}
	r.BudgetErr = cause
	if s.money == "local_slack" {
		s.fromSlack(c, r)
	}
	return r, nil
}

// fromSlack reserves from what may be spent while the store is away: nothing of an account that was used up when it was last seen, else one
// per cent of the budget.
func (s *Shared) fromSlack(c *Charge, r *Receipt) {
	own := &Charge{ID: c.ID, Hold: c.Hold, Accounts: append([]AccountCharge(nil), c.Accounts...)}
	s.mu.Lock()
	for i := range own.Accounts {
		q := &own.Accounts[i]
		last := s.seen[q.Key]
		r.Accounts[i] = last.Balance
		q.Floor, q.Limit = 0, q.Limit/slackShare
		if q.Soft { // it is not worth any of the slack
			q.Soft, q.Reserve = false, 0
		}
		if last.Spent >= c.Accounts[i].Limit {
			q.Limit = 0
		}
	}
	s.mu.Unlock()
	r.Short = s.slack.charge(own).Short
}
