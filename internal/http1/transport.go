package http1

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// Transport is an http.RoundTripper for URLs of the scheme http. Its fields must be set before the first request.
type Transport struct {
	Dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	Idle    time.Duration // an unused connection is kept for so long
	MaxIdle int           // and so many of them for each host
	Buffer  int           // what is read at once of an answer's head and of small pieces of its body, in bytes

	mu    sync.Mutex
	idle  map[string][]*conn // by address; the last one was used last
	timer *time.Timer        // set while there are idle connections
	shut  bool               // the idle ones were closed, and nothing was asked since
}

// errUnsent means that nothing of a request left.
var errUnsent = errors.New("http1: the connection was closed before the request was written")

// RoundTrip sends the request and returns with its answer's head; the body is the caller's to close. A body with GetBody is taken to be in memory: it is read at once.
// The request's context ends the exchange at any point before the body's end. Trailers and httptrace are not heeded, and of the fields that belong to the connection only Close.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var m message
	defer m.free()
	if err := m.compose(r); err != nil {
		return nil, err
	}
	defer m.close()
	for {
		resp, kept, err := t.once(&m)
		if err == nil || !kept || !errors.Is(err, errUnsent) {
			return resp, err
		}
	}
}

// once sends the message over one connection; kept = it was one that an earlier request had used.
func (t *Transport) once(m *message) (resp *http.Response, kept bool, err error) {
	ctx := m.r.Context()
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	c := t.take(m.addr)
	if kept = c != nil; !kept {
		nc, err := t.Dial(ctx, "tcp", m.addr)
		if err != nil {
			return nil, false, cmp.Or(ctx.Err(), err)
		}
		c = newConn(t, m.addr, nc)
	}
	resp, err = c.roundTrip(m)
	return resp, kept, err
}

// take returns the idle connection that was used last and still lives; nil = there is none.
func (t *Transport) take(addr string) *conn {
	for {
		t.mu.Lock()
		t.shut = false
		all := t.idle[addr]
		if len(all) == 0 {
			t.mu.Unlock()
			return nil
		}
		c := all[len(all)-1]
		all[len(all)-1] = nil
		t.idle[addr] = all[:len(all)-1]
		t.mu.Unlock()
		if c.ear.silent() {
			return c
		}
		c.close()
	}
}

// keep takes a connection back.
func (t *Transport) keep(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shut || len(t.idle[c.addr]) >= t.MaxIdle {
		c.close()
		return
	}
	if t.idle == nil {
		t.idle = map[string][]*conn{}
	}
	c.since = time.Now()
	t.idle[c.addr] = append(t.idle[c.addr], c)
	if t.timer == nil {
		t.timer = time.AfterFunc(t.Idle, t.reap)
	}
}

// reap closes what has been idle for too long.
func (t *Transport) reap() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = nil
	now := time.Now()
	next := t.Idle
	for addr, all := range t.idle {
		n := 0
		for n < len(all) && now.Sub(all[n].since) >= t.Idle {
			all[n].close()
			n++
		}
		if n == len(all) {
			delete(t.idle, addr)
			continue
		}
		t.idle[addr] = append(all[:0], all[n:]...)
		clear(all[len(all)-n:])
		next = min(next, t.Idle-now.Sub(t.idle[addr][0].since))
	}
	if len(t.idle) > 0 {
		t.timer = time.AfterFunc(next, t.reap)
	}
}

// CloseIdleConnections closes what is kept. Requests in flight go on; their connections are closed after them, unless more is asked meanwhile.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shut = true
	for _, all := range t.idle {
		for _, c := range all {
			c.close()
		}
	}
	t.idle = nil
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
}
