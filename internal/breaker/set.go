package breaker

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Options are the limits of a set's breakers. Zero fields have the contract's defaults.
type Options struct {
	InRow      int           // opens on so many failures in a row; 3
	AtLeast    int           // opens when half of at least so many within 30 s failed; 10
	OpenFor    time.Duration // stays open so long at first; 10 s
	OpenMax    time.Duration // doubles after failed probes up to this; 20 s
	ProbeLease time.Duration // a probe that has not reported by then is forgotten; 30 s
	MaxKeys    int           // keys kept; 4096
	Idle       time.Duration // a closed breaker unused for so long may be forgotten; 10 min
}

func (o Options) withDefaults() Options {
	return Options{
		InRow:      cmp.Or(o.InRow, 3),
		AtLeast:    cmp.Or(o.AtLeast, 10),
		OpenFor:    cmp.Or(o.OpenFor, 10*time.Second),
		OpenMax:    cmp.Or(o.OpenMax, 20*time.Second),
		ProbeLease: cmp.Or(o.ProbeLease, 30*time.Second),
		MaxKeys:    cmp.Or(o.MaxKeys, 4096),
		Idle:       cmp.Or(o.Idle, 10*time.Minute),
	}
}

// Set holds the breakers of every target. It outlives policies and is safe for concurrent use.
type Set struct {
	opts Options

	mu      sync.RWMutex
	targets map[Key][]*circuit // by target; the circuits differ in their credential
	n       int
}

// New returns a set without a breaker: they are made when they are first asked.
func New(o Options) *Set {
	s := &Set{opts: o.withDefaults(), targets: map[Key][]*circuit{}}
	return s
}

// Allow takes the right to make one request, which the caller must give back through the lease. It fails with ErrOpen or ErrProbing.
func (s *Set) Allow(k Key) (*Lease, error) {
	now := time.Now()
	return s.circuit(k, now).allow(now)
}

// State reports whether Allow would refuse now, and until when it is likely to. It takes nothing. A key without a credential asks for all
// of the target's credentials: it is open when every one that was used is.
func (s *Set) State(k Key) (open bool, until time.Time) {
	now := time.Now()
	return s.every(k, func(c *circuit) (time.Time, bool) {
		t, err := c.refusal(now)
		return t, err != nil
	})
}

// Cool lets a key rest until a moment: it was throttled, which is no failure. A cooldown is never shortened.
func (s *Set) Cool(k Key, until time.Time) {
	now := time.Now()
	if !until.After(now) {
		return
	}
	c := s.circuit(k, now)
	c.mu.Lock()
	defer c.mu.Unlock()
	if until.After(c.cooled) {
		c.cooled = until
	}
}

// Cooling reports until when a key rests. A key without a credential asks for all of the target's credentials, as in State.
func (s *Set) Cooling(k Key) (until time.Time, ok bool) {
	now := time.Now()
	ok, until = s.every(k, func(c *circuit) (time.Time, bool) { return c.cooled, now.Before(c.cooled) })
	return until, ok
}

// HalfOpen reports whether any breaker of a provider's model, whatever its endpoint and credential, waits for a probe or has one out.
func (s *Set) HalfOpen(provider, model string) bool {
	now := time.Now()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for k, cs := range s.targets {
		if k.Provider != provider || k.Model != model {
			continue
		}
		for _, c := range cs {
			if c.status(now).State == "half-open" {
				return true
			}
		}
	}
	return false
}

// every asks the key's circuits, and returns the earliest moment when the answer is yes of each. Without a circuit it is no.
func (s *Set) every(k Key, ask func(*circuit) (time.Time, bool)) (yes bool, until time.Time) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, c := range s.targets[k.target()] {
		if k.Credential != "" && k.Credential != c.key.Credential {
			continue
		}
		c.mu.Lock()
		t, ok := ask(c)
		c.mu.Unlock()
		if !ok {
			return false, time.Time{}
		}
		if !yes || t.Before(until) {
			until = t
		}
		yes = true
	}
	return yes, until
}

// circuit returns the key's circuit, a new one when there is none.
func (s *Set) circuit(k Key, now time.Time) *circuit {
	s.mu.RLock()
	c := find(s.targets[k.target()], k)
	s.mu.RUnlock()
	if c != nil {
		return c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := find(s.targets[k.target()], k); c != nil {
		return c
	}
	if s.n >= s.opts.MaxKeys {
		s.evict(now)
	}
	c = newCircuit(k, &s.opts)
	c.used = now
	s.targets[k.target()] = append(s.targets[k.target()], c)
	s.n++
	return c
}

func find(cs []*circuit, k Key) *circuit {
	for _, c := range cs {
		if c.key.Credential == k.Credential {
			return c
		}
	}
	return nil
}

// evict makes room: it forgets what is idle, or else the one that was used the longest ago, closed ones first. Leases of a forgotten
// circuit stay valid and change nothing.
func (s *Set) evict(now time.Time) {
	var oldest *circuit
	var oldestUsed time.Time
	var oldestBusy bool
	idle := map[*circuit]bool{}
	for _, cs := range s.targets {
		for _, c := range cs {
			c.mu.Lock()
			used, busy := c.used, c.tripped || now.Before(c.cooled)
			c.mu.Unlock()
			if !busy && now.Sub(used) >= s.opts.Idle {
				idle[c] = true
			}
			if oldest == nil || oldestBusy && !busy || oldestBusy == busy && used.Before(oldestUsed) {
				oldest, oldestUsed, oldestBusy = c, used, busy
			}
		}
	}
	if len(idle) == 0 && oldest != nil {
		idle[oldest] = true
	}
	for c := range idle {
		t := c.key.target()
		left := slices.DeleteFunc(s.targets[t], func(x *circuit) bool { return x == c })
		if len(left) == 0 {
			delete(s.targets, t)
		} else {
			s.targets[t] = left
		}
		s.n--
	}
}

// Status is one breaker as the admin listener shows it.
type Status struct {
	Key
	State    string    `json:"state"`               // closed, open or half-open
	Until    time.Time `json:"until,omitzero"`      // of open
	Failures int       `json:"failures"`            // in a row, while closed
	Cooling  time.Time `json:"cool_until,omitzero"` // of a cooldown in force
}

// Snapshot returns every breaker, sorted by key.
func (s *Set) Snapshot() []Status {
	now := time.Now()
	s.mu.RLock()
	out := make([]Status, 0, s.n)
	for _, cs := range s.targets {
		for _, c := range cs {
			out = append(out, c.status(now))
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(out, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Model, b.Model),
			cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Credential, b.Credential))
	})
	return out
}

func (c *circuit) status(now time.Time) Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := Status{Key: c.key, State: "closed", Failures: c.row}
	switch {
	case c.tripped && now.Before(c.until):
		st.State, st.Until = "open", c.until
	case c.tripped:
		st.State = "half-open"
	}
	if now.Before(c.cooled) {
		st.Cooling = c.cooled
	}
	return st
}
