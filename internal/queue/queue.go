package queue

import (
	"slices"
	"sync"
	"time"
)

// Limits are what a queue keeps to.
type Limits struct {
	Places int           // held at once; 0 = no limit
	Max    int           // tickets that wait
	Wait   time.Duration // of one ticket
}

// Queue is the places of one upstream and the line before them. The zero value has no limit. It is safe for concurrent use.
type Queue struct {
	mu      sync.Mutex
	limits  Limits
	held    int
	waiting int
	lines   [classes][]*Ticket // in order of arrival
	took    time.Duration      // how long a place is held, smoothed; 0 = unknown
}

// state is what became of a ticket.
type state uint8

const (
	waits state = iota
	holds
	refused // its time has passed, or something more urgent took its place in the line
	left
)

// Ticket is one request's place, or its wait for one. It must be given back by Leave.
type Ticket struct {
	q     *Queue
	class Class
	until time.Time     // its wait ends
	ready chan struct{} // closed when it waits no more; nil when it never waited
	state state         // guarded by q.mu
	since time.Time     // it holds its place
}

// Set changes the limits. Who holds a place keeps it; who waits may get one.
func (q *Queue) Set(l Limits) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limits = l
	q.advance(time.Now())
}

// Enter takes a place, or a ticket that waits for one until the queue's limit or by, whichever comes first (the zero time is no limit). Where neither
// can be had, or the wait could not end in time, there is no ticket and after says when it may be worth asking again.
func (q *Queue) Enter(c Class, by time.Time) (t *Ticket, after time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	t = &Ticket{q: q, class: c, until: now.Add(q.limits.Wait)}
	if !by.IsZero() && by.Before(t.until) {
		t.until = by
	}
	if q.roomLocked() && q.ahead(c) == 0 {
		q.give(t, now)
		return t, 0
	}
	if full, after := q.fullLocked(c, t.until.Sub(now)); full {
		return nil, after
	}
	if q.waiting >= q.limits.Max {
		q.evict(c)
	}
	t.ready = make(chan struct{})
	q.lines[c] = append(q.lines[c], t)
	q.waiting++
	return t, 0
}

// Full reports whether a request of the class would be refused now, and when it may be worth asking again.
func (q *Queue) Full(c Class) (full bool, after time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.roomLocked() && q.ahead(c) == 0 {
		return false, 0
	}
	return q.fullLocked(c, q.limits.Wait)
}

// Counts returns how many places are held and how many tickets wait.
func (q *Queue) Counts() (held, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.held, q.waiting
}

func (q *Queue) roomLocked() bool { return q.limits.Places == 0 || q.held < q.limits.Places }

// fullLocked reports whether the line has no room for the class, or is so long that its turn would not come within wait.
func (q *Queue) fullLocked(c Class, wait time.Duration) (full bool, after time.Duration) {
	turn := time.Duration(0)
	if n := q.limits.Places; n > 0 {
		turn = q.took * time.Duration(q.ahead(c)+1) / time.Duration(n)
	}
	switch {
	case q.limits.Max == 0, wait <= 0, turn > wait:
	case q.waiting < q.limits.Max, q.waiting > q.ahead(c):
		return false, 0
	}
	return true, max(turn, time.Second)
}

// ahead counts what is served before a newcomer of the class.
func (q *Queue) ahead(c Class) (n int) {
	for _, line := range q.lines[c:] {
		n += len(line)
	}
	return n
}

// evict refuses the last one to come of the least urgent class below c: it has the longest way to go.
func (q *Queue) evict(c Class) {
	for b := Batch; b < c; b++ {
		if n := len(q.lines[b]); n > 0 {
			q.refuse(q.lines[b][n-1])
			q.lines[b] = q.lines[b][:n-1]
			return
		}
	}
}

func (q *Queue) refuse(t *Ticket) {
	t.state = refused
	q.waiting--
	close(t.ready)
}

func (q *Queue) give(t *Ticket, now time.Time) {
	t.state, t.since = holds, now
	q.held++
}

// advance gives what room there is to who waits, the most urgent first. Whose time has passed is refused.
func (q *Queue) advance(now time.Time) {
	for c := Critical; ; c-- {
		for len(q.lines[c]) > 0 && q.roomLocked() {
			t := q.lines[c][0]
			q.lines[c] = q.lines[c][1:]
			if !now.Before(t.until) {
				q.refuse(t)
				continue
			}
			q.waiting--
			q.give(t, now)
			close(t.ready)
		}
		if c == Batch {
			return
		}
	}
}

// Ready is closed when the ticket waits no more.
func (t *Ticket) Ready() <-chan struct{} { return t.ready }

// Until is when the ticket's wait ends.
func (t *Ticket) Until() time.Time { return t.until }

// Waits reports whether the ticket still waits and may go on waiting.
func (t *Ticket) Waits() bool {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	return t.state == waits && time.Now().Before(t.until)
}

// Holds reports whether the ticket holds a place.
func (t *Ticket) Holds() bool {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	return t.state == holds
}

// smoothing is the weight of what is known already of how long a place is held, against one more time.
const smoothing = 7

// Leave gives the place back, or ends the wait. Only the first call counts.
func (t *Ticket) Leave() {
	q := t.q
	q.mu.Lock()
	defer q.mu.Unlock()
	was := t.state
	t.state = left
	now := time.Now()
	switch was {
	case waits:
		line := q.lines[t.class]
		if i := slices.Index(line, t); i >= 0 {
			q.lines[t.class] = slices.Delete(line, i, i+1)
		}
		q.waiting--
	case holds:
		q.held--
		held := now.Sub(t.since)
		if q.took == 0 {
			q.took = held
		}
		q.took = (smoothing*q.took + held) / (smoothing + 1)
		q.advance(now)
	}
}
