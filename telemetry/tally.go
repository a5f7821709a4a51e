package telemetry

import (
	"context"
	"sync"
	"time"
)

// tallyRoom is how many records may wait to be counted. Half of them are as many as wait for others; whoever finds no room counts them himself.
const tallyRoom = 128

// tally counts records a little later and together: the client need not wait for it, and what counts is code and tables that have long left the processor's caches
// when the next exchange ends. Nothing is lost, and every reading begins with what waits.
type tally struct {
	metrics *instruments
	timer   *time.Timer // fires linePause after the first record that waits

	mu       sync.Mutex // of waiting
	waiting  []counted
	counting sync.Mutex // of spare; held while a batch is counted
	spare    []counted
}

// counted is a copy of a record: its owner may use it again.
type counted struct {
	ctx context.Context // holds the span that exemplars point to, if any
	r   Record
}

func newTally(m *instruments) *tally {
	t := &tally{metrics: m, waiting: make([]counted, 0, tallyRoom), spare: make([]counted, 0, tallyRoom)}
	t.timer = time.AfterFunc(time.Hour, t.flush)
	t.timer.Stop()
	return t
}

func (t *tally) put(ctx context.Context, r *Record) {
	t.mu.Lock()
	n := len(t.waiting)
	if n < cap(t.waiting) {
		t.waiting = t.waiting[:n+1]
	} else { // whoever found it full is about to count
		t.waiting = append(t.waiting, counted{})
	}
	t.waiting[n].take(ctx, r)
	t.mu.Unlock()
	switch {
	case n == 0:
		t.timer.Reset(linePause)
	case n == tallyRoom/2:
		t.timer.Reset(0)
	case n >= tallyRoom-1:
		t.flush()
	}
}

func (c *counted) take(ctx context.Context, r *Record) {
	attempts := append(c.r.Attempts, r.Attempts...)
	c.ctx, c.r = ctx, *r
	c.r.Attempts = attempts
	if r.Embedding != nil {
		e := *r.Embedding
		c.r.Embedding = &e
	}
}

// flush counts what waits.
func (t *tally) flush() {
	t.counting.Lock()
	defer t.counting.Unlock()
	t.mu.Lock()
	all := t.waiting
	t.waiting = t.spare
	t.mu.Unlock()
	for i := range all {
		c := &all[i]
		t.metrics.measure(c.ctx, &c.r)
		clear(c.r.Attempts)
		*c = counted{r: Record{Attempts: c.r.Attempts[:0]}} // its memory is the next one's
	}
	t.spare = all[:0]
}
