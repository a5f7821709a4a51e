package proxy

import (
	"sync"
	"sync/atomic"
	"time"
)

// Owner says who may go on with an exchange: open -> direct | claimed -> ended. It changes in Table.Step only, under the exchange's lock, so
// of two connections that know its id one is first and the other one is late.
type Owner uint32

// The owners of an exchange.
const (
	OwnerOpen    Owner = iota // the plane that began it
	OwnerDirect               // an external proxy carries the answer; its access log ends the exchange
	OwnerClaimed              // the executor runs the plan
	OwnerEnded                // nobody: what comes later is counted and dropped
)

var ownerNames = [...]string{OwnerOpen: "open", OwnerDirect: "direct", OwnerClaimed: "claimed", OwnerEnded: "ended"}

// String names the owner.
func (o Owner) String() string { return ownerNames[o] }

// Owner returns who may go on with the exchange at this moment.
func (x *Exchange) Owner() Owner { return Owner(x.owner.Load()) }

// shards keeps the table's locks apart; a power of two.
const shards = 64

// Table finds exchanges by id for planes whose steps arrive on different connections: ext_proc streams, the executor's socket, access
// logs. An exchange leaves it when it ends.
type Table struct {
	shard [shards]struct {
		mu sync.Mutex
		m  map[[16]byte]*Exchange
	}
	late    atomic.Int64
	swept   atomic.Int64
	waiting atomic.Int64
}

// NewTable returns an empty table.
func NewTable() *Table {
	t := &Table{}
	for i := range t.shard {
		t.shard[i].m = map[[16]byte]*Exchange{}
	}
	return t
}

// Add puts an open exchange into the table.
func (t *Table) Add(x *Exchange) {
	s := &t.shard[x.rec.ID[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[x.rec.ID] = x
	x.learned = make(chan Failure, 1)
	t.waiting.Add(1)
}

// Find returns the exchange with the id, nil when nobody knows it.
func (t *Table) Find(id [16]byte) *Exchange {
	s := &t.shard[id[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[id]
}

// Step runs f if from owns the exchange and hands the exchange to the owner that f names; OwnerEnded emits its record and drops it. No other
// step of the exchange runs meanwhile, but for the executor's after Claim. False: somebody else owns it, and f did not run.
func (t *Table) Step(x *Exchange, from Owner, f func() Owner) bool {
	x.stepping.Lock()
	defer x.stepping.Unlock()
	if Owner(x.owner.Load()) != from {
		return false
	}
	next := f()
	x.owner.Store(uint32(next))
	if next == OwnerEnded {
		s := &t.shard[x.rec.ID[0]%shards]
		s.mu.Lock()
		delete(s.m, x.rec.ID)
		s.mu.Unlock()
		t.waiting.Add(-1)
		x.End()
	}
	return true
}

// Claim takes an open exchange for the executor. An exchange can be claimed once: known without an exchange means that somebody else
// has it or that it ended.
func (t *Table) Claim(id [16]byte) (x *Exchange, known bool) {
	x = t.Find(id)
	if x == nil {
		return nil, false
	}
	if !t.Step(x, OwnerOpen, func() Owner { return OwnerClaimed }) {
		t.late.Add(1)
		return nil, true
	}
	return x, true
}

// End ends the exchange if from owns it, runs settle before its record is emitted, and drops it. False: somebody else owns it, and what the caller
// knows is late.
func (t *Table) End(x *Exchange, from Owner, settle func(*Exchange)) bool {
	ended := t.Step(x, from, func() Owner {
		if settle != nil {
			settle(x)
		}
		return OwnerEnded
	})
	if !ended {
		t.late.Add(1)
	}
	return ended
}

// Sweep ends every direct or open exchange that is past its total limit by grace: its log was lost. What it ends is estimated.
func (t *Table) Sweep(now time.Time, grace time.Duration, settle func(*Exchange)) int {
	var due []*Exchange
	for i := range t.shard {
		s := &t.shard[i]
		s.mu.Lock()
		for _, x := range s.m {
			if limit := x.sweepAt.Load(); limit != 0 && now.UnixNano() > limit+int64(grace) {
				due = append(due, x)
			}
		}
		s.mu.Unlock()
	}
	n := 0
	for _, x := range due {
		for _, from := range []Owner{OwnerDirect, OwnerOpen} {
			if x.Owner() == from && t.End(x, from, settle) {
				n++
				break
			}
		}
	}
	t.swept.Add(int64(n))
	return n
}

// Counts returns how many exchanges are in the table, how many steps came late, and how many exchanges the sweep ended.
func (t *Table) Counts() (waiting, late, swept int64) {
	return t.waiting.Load(), t.late.Load(), t.swept.Load()
}
