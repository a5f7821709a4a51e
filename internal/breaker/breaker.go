package breaker

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Why Allow refuses.
var (
	ErrOpen    = errors.New("breaker is open")
	ErrProbing = errors.New("breaker is half open and its probe is out")
)

// errFailed and errReleased are what the breaker below is told: a failure, and a probe without a verdict.
var (
	errFailed   = errors.New("failed")
	errReleased = errors.New("released")
)

// window is the span in which the share of failures counts; it moves in steps of bucket.
const (
	window = 30 * time.Second
	bucket = 3 * time.Second
)

// probing is how soon a half-open breaker is worth a second look: verdicts fall at the first event.
const probing = time.Second

// Key is what failures are counted for. Endpoint is used for own pools. Credential is the credential's id, never the credential.
type Key struct {
	Provider   string `json:"provider"`
	Model      string `json:"model"`
	Credential string `json:"credential,omitempty"`
	Endpoint   string `json:"endpoint,omitempty"`
}

// target is the key without its credential.
func (k Key) target() Key {
	k.Credential = ""
	return k
}

// circuit is one key's breaker. The two-step breaker below keeps the window and the states; the circuit adds what that lacks: a lease on
// probes, a longer wait after a failed probe, verdicts that count when they fall and not when their request began (a timeout longer than
// the window would never count), and a run of failures that has no window.
type circuit struct {
	key  Key
	opts *Options

	mu      sync.Mutex
	below   *gobreaker.TwoStepCircuitBreaker[struct{}]
	term    uint64    // counts changes of state: a verdict of an earlier term says nothing about this one
	tripped bool      // open or half open
	until   time.Time // open before it
	opened  int       // openings since it was last closed
	row     int       // failures in a row
	probe   *Lease    // out while half open
	cooled  time.Time
	used    time.Time
}

func newCircuit(k Key, o *Options) *circuit {
	c := &circuit{key: k, opts: o}
	c.below = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:  1,
		Interval:     window,
		BucketPeriod: bucket,
		// The circuit's own until decides; the breaker below must be ready at that very moment, and it compares with "before".
		Timeout:       o.OpenFor - 1,
		ReadyToTrip:   c.trips,
		OnStateChange: c.changed,
		IsExcluded:    func(err error) bool { return err == errReleased },
	})
	return c
}

// trips is called with c.mu held, after a failure.
func (c *circuit) trips(n gobreaker.Counts) bool {
	all := n.TotalSuccesses + n.TotalFailures
	return c.row >= c.opts.InRow || all >= uint32(c.opts.AtLeast) && 2*n.TotalFailures >= all
}

// changed is called with c.mu held: every call to the breaker below is made under it.
func (c *circuit) changed(_ string, from, to gobreaker.State) {
	c.term++
	c.row = 0
	c.tripped = to != gobreaker.StateClosed
	switch to {
	case gobreaker.StateClosed:
		c.opened = 0
		c.until = time.Time{}
	case gobreaker.StateOpen:
		wait := min(c.opts.OpenFor<<min(c.opened, 8), c.opts.OpenMax)
		c.opened++
		c.until = time.Now().Add(wait)
	}
}

// refusal says whether a request may be made now, and when not, why and until when. It changes nothing.
func (c *circuit) refusal(now time.Time) (until time.Time, err error) {
	switch {
	case !c.tripped:
		return time.Time{}, nil
	case now.Before(c.until):
		return c.until, ErrOpen
	case c.probe != nil && now.Before(c.probe.expires):
		return now.Add(probing), ErrProbing
	}
	return time.Time{}, nil
}

func (c *circuit) allow(now time.Time) (*Lease, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used = now
	if _, err := c.refusal(now); err != nil {
		return nil, err
	}
	if !c.tripped {
		return &Lease{c: c, term: c.term}, nil
	}
	if c.probe != nil { // its lease ran out
		c.probe.done(errReleased)
		c.probe = nil
	}
	done, err := c.below.Allow()
	if err != nil {
		return nil, ErrOpen
	}
	c.probe = &Lease{c: c, done: done, expires: now.Add(c.opts.ProbeLease)}
	return c.probe, nil
}

// Lease is the right to make one request. Exactly one of Done and Cancel ends it; what comes after is ignored.
type Lease struct {
	c       *circuit
	term    uint64
	expires time.Time   // of a probe
	done    func(error) // of a probe
	settled atomic.Bool
}

// Done tells the breaker whether the upstream answered. It is to be called at the first event, not at the end of a stream.
func (l *Lease) Done(ok bool) {
	if l.settled.Swap(true) {
		return
	}
	verdict := errFailed
	if ok {
		verdict = nil
	}
	c := l.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.done != nil {
		l.report(verdict)
		return
	}
	if l.term != c.term {
		return
	}
	if c.row++; ok {
		c.row = 0
	}
	if done, err := c.below.Allow(); err == nil {
		done(verdict)
	}
}

// Cancel ends the lease without a verdict: the client left, or the failure was the client's own. A probe's place is free again.
func (l *Lease) Cancel() {
	if l.settled.Swap(true) || l.done == nil {
		return
	}
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	l.report(errReleased)
}

// report ends a probe unless its lease has run out and was given to another.
func (l *Lease) report(verdict error) {
	if l.c.probe != l {
		return
	}
	l.c.probe = nil
	l.done(verdict)
}
