package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// call is one request; n numbers the requests of a load. It returns the time to the first byte of the answer.
type call func(ctx context.Context, n int) (first time.Duration, err error)

// tally is what a load brought.
type tally struct {
	latency histogram // to the last byte; in the open loop from the moment the request was due
	first   histogram // to the first byte of the body, from the moment of sending
	failed  int
	err     error // the first failure
	elapsed time.Duration
}

func (t *tally) done() int { return int(t.latency.n) }

// rate is completed requests a second.
func (t *tally) rate() float64 { return float64(t.done()) / t.elapsed.Seconds() }

func (t *tally) book(latency, first time.Duration, err error) {
	if err != nil {
		t.failed++
		if t.err == nil {
			t.err = err
		}
		return
	}
	t.latency.record(latency)
	t.first.record(first)
}

func (t *tally) merge(o *tally) {
	t.latency.merge(&o.latency)
	t.first.merge(&o.first)
	t.failed += o.failed
	if t.err == nil {
		t.err = o.err
	}
}

// closedLoop keeps `clients` requests in flight, each client sending its next when the last is answered, until the time is over or
// `count` requests have been sent (0 = no count, and a zero duration = no time).
func closedLoop(ctx context.Context, do call, clients int, duration time.Duration, count int) *tally {
	var sent atomic.Int64
	begin := time.Now()
	return crew(clients, begin, func(t *tally) {
		for ctx.Err() == nil {
			now := time.Now()
			if duration > 0 && now.Sub(begin) >= duration {
				return
			}
			n := int(sent.Add(1)) - 1
			if count > 0 && n >= count {
				return
			}
			first, err := do(ctx, n)
			t.book(time.Since(now), first, err)
		}
	})
}

// openLoop sends at a constant rate whatever the answers do, and counts each latency from the moment the request was due, not from when
// a client was free to send it: a stall is charged to every request that it delayed. wait sleeps until the next one is due.
func openLoop(ctx context.Context, do call, clients int, rate float64, duration time.Duration, wait func(time.Duration)) *tally {
	type slot struct {
		n   int
		due time.Time
	}
	total := int(rate * duration.Seconds())
	slots := make(chan slot, max(1, total)) // holds them all: the clock below never waits for the clients
	begin := time.Now()
	go func() {
		defer close(slots)
		for n := range total {
			due := begin.Add(time.Duration(float64(n) / rate * float64(time.Second)))
			for d := time.Until(due); d > 0; d = time.Until(due) { // a signal may end a sleep early
				wait(d)
			}
			if ctx.Err() != nil {
				return
			}
			slots <- slot{n, due}
		}
	}()
	return crew(clients, begin, func(t *tally) {
		for s := range slots {
			first, err := do(ctx, s.n)
			t.book(time.Since(s.due), first, err)
		}
	})
}

// crew runs the clients, each with a tally of its own, and merges them when all have ended.
func crew(clients int, begin time.Time, work func(*tally)) *tally {
	tallies := make([]tally, clients)
	var wg sync.WaitGroup
	for i := range tallies {
		wg.Go(func() { work(&tallies[i]) })
	}
	wg.Wait()
	sum := &tally{elapsed: time.Since(begin)}
	for i := range tallies {
		sum.merge(&tallies[i])
	}
	return sum
}
