package cache

import (
	"sync/atomic"
	"time"
)

// Landing says how a flight ended.
type Landing uint8

// The ends of a flight.
const (
	Landed Landing = iota // with an answer for everybody
	Alone                 // with one that is the leader's only, or with none: who waits asks for itself
	Died                  // the leader's client left, or reads too slowly: somebody else leads
)

// Flight is one request that others wait for, because they ask the same.
type Flight struct {
	c    *Cache
	k    Key
	over chan struct{}
	lag  atomic.Int64 // nanoseconds; less the time since which the leader is held up, while it is

	ended bool // under the cache's lock

	// Set before over is closed.
	how   Landing
	entry *Entry
}

// Join puts a request into the flight of its key. The first one leads: it must call End, whatever becomes of it.
func (c *Cache) Join(k Key) (f *Flight, leads bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[k]; f != nil {
		return f, false
	}
	f = &Flight{c: c, k: k, over: make(chan struct{})}
	c.flights[k] = f
	return f, true
}

// HeldUp says that the leader waits for its own client to take what it was given.
func (f *Flight) HeldUp(now time.Time) { f.lag.Add(-now.UnixNano()) }

// Freed says that the leader goes on.
func (f *Flight) Freed(now time.Time) { f.lag.Add(now.UnixNano()) }

// Lag is how long the leader was held up in all: so much sooner who follows could have had the answer.
func (f *Flight) Lag(now time.Time) time.Duration {
	n := f.lag.Load()
	if n < 0 {
		n += now.UnixNano()
	}
	return time.Duration(n)
}

// Over is closed when the flight has ended.
func (f *Flight) Over() <-chan struct{} { return f.over }

// Result returns how a flight that is over ended; the entry is there when it landed.
func (f *Flight) Result() (*Entry, Landing) { return f.entry, f.how }

// End ends the flight, for its leader or for those whom it keeps waiting; only the first call counts. What is to be found under its key must have been saved before.
func (f *Flight) End(e *Entry, how Landing) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if f.ended {
		return
	}
	f.ended = true
	if f.c.flights[f.k] == f { // and not one that began after a purge
		delete(f.c.flights, f.k)
	}
	f.entry, f.how = e, how
	close(f.over)
}
