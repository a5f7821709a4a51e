package simulator

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Ending says how a call ended.
type Ending string

// The endings of a call. An error status that was sent whole is Completed.
const (
	Open       Ending = "open"        // still being answered
	Completed  Ending = "completed"   // the answer was sent whole, also when a fault made it a bad one
	Cut        Ending = "cut"         // a fault broke the connection
	ClientGone Ending = "client gone" // the client left first
)

const (
	keptBody   = 1 << 20  // bytes of one body that the log keeps
	keptBodies = 64 << 20 // bytes of all bodies that the log keeps
)

// Call is one request as the provider saw it.
type Call struct {
	Seq       int         // 1, 2, … in order of arrival since the last Reset
	Method    string      // as received
	Path      string      // as received, without the query
	Query     string      // raw query, without "?"
	Header    http.Header // the call's own copy
	Body      []byte      // at most the first MiB
	Size      int64       // bytes of the body that were read
	Model     string      // as sent, fault suffix included; "" when none was named
	Stream    bool        // a stream was asked for
	Fault     string      // the fault spec in force; "" for none, also after once=N is used up
	Started   time.Time
	Ended     time.Time // zero while Open
	Status    int       // HTTP status sent; 0 when none was
	Events    int       // content events sent on a stream
	TokensIn  int       // by the simulator's estimate; 0 until generation begins
	TokensOut int       // produced so far; on a stream, sent so far
	Ending    Ending
}

// Most returns the largest number of calls that began within a span of time.
func Most(calls []Call, span time.Duration) (n int) {
	for i := range calls {
		k := 0
		for _, c := range calls[i:] {
			if c.Started.Sub(calls[i].Started) < span {
				k++
			}
		}
		n = max(n, k)
	}
	return n
}

// MarshalJSON writes the body as text and the times in RFC 3339; it is the form of GET /_sim/log.
func (c Call) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Seq       int         `json:"seq"`
		Method    string      `json:"method"`
		Path      string      `json:"path"`
		Query     string      `json:"query,omitempty"`
		Header    http.Header `json:"header"`
		Body      string      `json:"body"`
		Size      int64       `json:"size"`
		Model     string      `json:"model"`
		Stream    bool        `json:"stream"`
		Fault     string      `json:"fault,omitempty"`
		Started   time.Time   `json:"started"`
		Ended     time.Time   `json:"ended,omitzero"`
		Status    int         `json:"status"`
		Events    int         `json:"events"`
		TokensIn  int         `json:"tokens_in"`
		TokensOut int         `json:"tokens_out"`
		Ending    Ending      `json:"ending"`
	}{c.Seq, c.Method, c.Path, c.Query, c.Header, string(c.Body), c.Size, c.Model, c.Stream, c.Fault, c.Started, c.Ended,
		c.Status, c.Events, c.TokensIn, c.TokensOut, c.Ending})
}

// Log returns the calls since New or Reset, oldest first, open ones included. The caller owns what it gets.
func (s *Server) Log() []Call { return s.log.snapshot() }

// Total is what the log holds of one model: what a gateway's own account of it can be held against.
type Total struct {
	Calls     int            `json:"calls"`
	Statuses  map[string]int `json:"statuses"` // calls by the status sent; "0" where none was
	Endings   map[Ending]int `json:"endings"`
	TokensIn  int            `json:"tokens_in"`
	TokensOut int            `json:"tokens_out"` // produced, whoever got them
}

// Totals sums the log up by model, fault suffixes cut off.
func (s *Server) Totals() map[string]*Total {
	all := map[string]*Total{}
	for _, c := range s.Log() {
		name, _, _ := strings.Cut(c.Model, faultMark)
		t := all[name]
		if t == nil {
			t = &Total{Statuses: map[string]int{}, Endings: map[Ending]int{}}
			all[name] = t
		}
		t.Calls++
		t.Statuses[strconv.Itoa(c.Status)]++
		t.Endings[c.Ending]++
		t.TokensIn += c.TokensIn
		t.TokensOut += c.TokensOut
	}
	return all
}

// Await returns nil once ok holds for the log, or the context's cause. It is how a test sees that a call was freed, which no answer
// can tell it. ok may be called often.
func (s *Server) Await(ctx context.Context, ok func([]Call) bool) error {
	for {
		changed := s.log.watch()
		if ok(s.Log()) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// callLog is a bounded list of calls.
type callLog struct {
	limit int

	mu      sync.Mutex
	seq     int
	bodies  int // bytes of the bodies in entries
	entries []*entry
	changed chan struct{} // closed at the next change; nil when nobody watches
}

// entry is a call in the log; every access to it holds the log's lock.
type entry struct {
	log    *callLog
	call   Call
	logged bool // still in the log's list
}

func (l *callLog) begin(r *http.Request) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	e := &entry{log: l, logged: true, call: Call{Seq: l.seq, Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery,
		Header: r.Header.Clone(), Started: time.Now(), Ending: Open}}
	l.entries = append(l.entries, e)
	l.trim()
	l.notify()
	return e
}

// trim drops the oldest calls beyond the limits, never the newest.
func (l *callLog) trim() {
	drop := 0
	for len(l.entries)-drop > 1 && (len(l.entries)-drop > l.limit || l.bodies > keptBodies) {
		l.bodies -= len(l.entries[drop].call.Body)
		l.entries[drop].logged = false
		drop++
	}
	if drop > 0 {
		l.entries = append(l.entries[:0:0], l.entries[drop:]...)
	}
}

func (l *callLog) notify() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

func (l *callLog) watch() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed
}

func (l *callLog) snapshot() []Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	calls := make([]Call, len(l.entries))
	for i, e := range l.entries {
		calls[i] = e.call
		calls[i].Header = e.call.Header.Clone()
		calls[i].Body = append([]byte(nil), e.call.Body...)
	}
	return calls
}

func (l *callLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		e.logged = false
	}
	l.entries, l.bodies, l.seq = nil, 0, 0
	l.notify()
}

// note changes the call under the log's lock and wakes those who wait.
func (e *entry) note(change func(*Call)) {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	before := len(e.call.Body)
	change(&e.call)
	if e.logged {
		e.log.bodies += len(e.call.Body) - before
		e.log.trim()
	}
	e.log.notify()
}

// end settles the call. The first ending counts, but a call taken for completed may turn out to have lost its client with the last write.
func (e *entry) end(how Ending) {
	e.note(func(c *Call) {
		if c.Ending == Open || c.Ending == Completed && how == ClientGone {
			c.Ending, c.Ended = how, time.Now()
		}
	})
}
