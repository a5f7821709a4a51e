package tenants

import (
	"context"
	_ "embed"
	"fmt"
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
	register *Register       // as last seen
	mirror   *Embedded       // keeps the register for a start without the store

	wake chan struct{}
	stop context.CancelFunc
	done chan struct{}
}

// seen is an account as it was last seen.
type seen struct {
	Balance
	end time.Time
}

// debt is what is to be settled. slack says which of its accounts were reserved on from what may be spent while the store is away.
type debt struct {
	*Charge
	slack []bool
}

// slackShare is the share of a budget that each gateway may spend while the store is away, beyond what it has reserved.
const slackShare = 100

// maxOwed bounds what waits to be settled: beyond it the oldest is forgotten, and what it held ends by itself.
const maxOwed = 100_000

//go:embed charge.lua
var chargeSource string

var chargeScript = redis.NewScript(chargeSource)

// OpenShared makes the store over a client. mirror keeps a copy of the register of keys, so that a key that was revoked stays so where the
// gateway starts and the store is not there. Client and mirror stay the caller's.
func OpenShared(rdb *redis.Client, o *policies.Redis, mirror *Embedded) (*Shared, error) {
	r, err := mirror.Register(context.Background(), "")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Shared{rdb: rdb, limits: o.Limits, money: o.Budget, local: newCounters(), slack: newCounters(), seen: map[string]seen{},
		register: r, mirror: mirror, wake: make(chan struct{}, 1), stop: cancel, done: make(chan struct{})}
	go s.settleOwed(ctx)
	return s, nil
}

// closeWait is how long Close tries to settle what is owed.
const closeWait = 2 * time.Second

// Close settles what is owed, if the store is there, and stops.
func (s *Shared) Close() error {
	s.stop()
	<-s.done
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	s.settleAll(ctx)
	return nil
}

// Charge takes and reserves in one trip. Settling never waits for the trip.
func (s *Shared) Charge(ctx context.Context, c *Charge) (*Receipt, error) {
	if c.Settle || c.Later {
		s.owe(c)
		return newReceipt(c), nil
	}
	s.floors(c)
	r, err := s.trip(ctx, c)
	if err == nil {
		s.learn(c, r)
		return r, nil
	}
	return s.alone(c, err)
}

// trip asks the store once, for every use that the charge has.
func (s *Shared) trip(ctx context.Context, c *Charge) (r *Receipt, err error) {
	work := func(ctx context.Context, cmd redis.Commands) (err error) {
		r, err = charge(ctx, cmd, c)
		return err
	}
	limits, money := len(c.Rates)+len(c.Slots) > 0, len(c.Accounts) > 0
	switch {
	case limits && money:
		err = s.rdb.Run(ctx, UseLimits, func(ctx context.Context, _ redis.Commands) error { return s.rdb.Run(ctx, UseBudget, work) })
	case money:
		err = s.rdb.Run(ctx, UseBudget, work)
	case c.notesOnly():
		err = s.rdb.Run(ctx, UseSessions, work)
	default:
		err = s.rdb.Run(ctx, UseLimits, work)
	}
	return r, err
}

// charge runs the script.
func charge(ctx context.Context, cmd redis.Commands, c *Charge) (*Receipt, error) {
	keys := make([]string, 0, len(c.Rates)+len(c.Slots)+2*len(c.Accounts)+1)
	argv := make([]any, 0, 6+3*len(c.Rates)+len(c.Slots)+6*len(c.Accounts)+2)
	argv = append(argv, c.ID, c.Hold.Microseconds(), flag(c.Settle), len(c.Rates), len(c.Slots), len(c.Accounts))
	for _, q := range c.Rates {
		keys = append(keys, redis.Prefix+"rate:"+q.Key)
		argv = append(argv, q.Limit, q.Window.Microseconds(), q.Take)
	}
	for _, q := range c.Slots {
		keys = append(keys, redis.Prefix+"slot:"+q.Key)
		argv = append(argv, q.Limit)
	}
	for _, q := range c.Accounts {
		keys = append(keys, redis.Prefix+"account:"+q.Key, redis.Prefix+"holds:"+q.Key)
		keep := int64(max(time.Until(q.End), 0)/time.Second) + int64(keepEnded/time.Second)
		argv = append(argv, q.Limit, q.Reserve, q.force(), q.Spend, q.Floor, keep)
	}
	if c.Note != nil {
		keys, argv = append(keys, redis.Prefix+"session:"+c.Note.Key), append(argv, c.Note.Text, c.Note.Keep.Milliseconds())
	}
	said, err := chargeScript.Run(ctx, cmd, keys, argv...).Slice()
	if err != nil {
		return nil, err
	}
	return read(c, said)
}

// read makes a receipt of what the script said.
func read(c *Charge, said []any) (*Receipt, error) {
	n := 1 + len(c.Rates) + len(c.Slots) + 3*len(c.Accounts)
	note := ""
	if c.Note != nil && len(said) == n+1 {
		note, _ = said[n].(string)
		said = said[:n]
	}
	if len(said) != n {
		return nil, fmt.Errorf("the script answered %d values", len(said))
	}
	out := make([]int64, n)
	for i, v := range said {
		number, ok := v.(int64)
		if !ok {
			return nil, fmt.Errorf("the script answered %T", v)
		}
		out[i] = number
	}
	if c.Note != nil {
		c.Note.Told(note)
	}
	r := newReceipt(c)
	r.Refused, out = int(out[0]), out[1:]
	for i := range c.Rates {
		r.Rates[i] = time.Duration(out[i]) * time.Microsecond
	}
	out = out[len(c.Rates):]
	copy(r.Slots, out)
	out = out[len(c.Slots):]
	for i := range c.Accounts {
		r.Accounts[i], r.Short[i] = Balance{out[3*i], out[3*i+1]}, out[3*i+2] == 1
		r.Soft = r.Soft || out[3*i+2] == 2
	}
	return r, nil
}

// force is how the script is told what kind of reservation it is.
func (q *AccountCharge) force() string {
	if q.Soft {
		return "2"
	}
	return flag(q.Force)
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
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
	switch s.money {
	case "refuse":
		return nil, ErrUnavailable
	case "local_slack":
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

// owe leaves it to the background to settle a charge with the store, also one that was taken without it.
func (s *Shared) owe(c *Charge) {
	d := &debt{Charge: c}
	if c.Settle {
		d.slack = s.slack.settleHeld(c)
	}
	if c.Local {
		s.local.charge(&Charge{ID: c.ID, Settle: true, Rates: c.Rates, Slots: c.Slots})
		c.Rates = nil
	}
	s.mu.Lock()
	if len(s.owed) >= maxOwed {
		s.owed = s.owed[1:]
	}
	s.owed = append(s.owed, d)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// retryOwed is how often what is owed is tried again while the store is away.
const retryOwed = 250 * time.Millisecond

func (s *Shared) settleOwed(ctx context.Context) {
	defer close(s.done)
	tick := time.NewTicker(retryOwed)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-tick.C:
		}
		s.settleAll(ctx)
	}
}

// settleAll settles what is owed, in order, until the store fails.
func (s *Shared) settleAll(ctx context.Context) {
	for ctx.Err() == nil {
		s.mu.Lock()
		if len(s.owed) == 0 {
			s.owed = nil
			s.mu.Unlock()
			return
		}
		d := s.owed[0]
		s.mu.Unlock()
		s.floors(d.Charge)
		r, err := s.trip(ctx, d.Charge)
		switch {
		case err == nil:
			s.learn(d.Charge, r)
		case !d.notesOnly(): // what is not told of a conversation is not owed
			return
		}
		s.paid(d)
	}
}

// paid takes a debt off what is owed; what it took of the slack is there again.
func (s *Shared) paid(d *debt) {
	for i, mine := range d.slack {
		if mine {
			q := d.Accounts[i]
			q.Spend, q.Floor = -q.Spend, 0
			s.slack.charge(&Charge{ID: d.ID, Settle: true, Accounts: []AccountCharge{q}})
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.owed) > 0 && s.owed[0] == d {
		s.owed[0], s.owed = nil, s.owed[1:]
	}
}
