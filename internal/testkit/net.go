package testkit

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// Net is a network in memory: names with listeners behind them. A name that nobody listens on refuses connections.
type Net struct {
	// Cut is the most that one read returns on either side of a connection made from now on; 0 = no limit.
	Cut int

	mu        sync.Mutex
	listeners map[string]*listener
	conns     []*Conn
	dialed    int
}

// NewNet returns a network without hosts.
func NewNet() *Net { return &Net{listeners: map[string]*listener{}} }

type listener struct {
	net   *Net
	addr  addr
	gate  func(ctx context.Context) error // asked before a connection is made; nil = open
	mu    sync.Mutex
	conns chan *Conn
	done  chan struct{}
	shut  bool
}

// Listen opens a name such as "pool.test:8000".
func (n *Net) Listen(name string) net.Listener { return n.listen(name, nil) }

func (n *Net) listen(name string, gate func(context.Context) error) *listener {
	l := &listener{net: n, addr: addr(name), gate: gate, conns: make(chan *Conn, 64), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[name] = l
	return l
}

// Dial connects to a name. It has the form of net.Dialer.DialContext, so that transports can use it.
func (n *Net) Dial(ctx context.Context, network, name string) (net.Conn, error) {
	c, err := n.dial(ctx, name)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: addr(name), Err: err}
	}
	return c, nil
}

func (n *Net) dial(ctx context.Context, name string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[name]
	n.dialed++
	local := addr(fmt.Sprintf("10.0.0.1:%d", 40000+n.dialed))
	n.mu.Unlock()
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	if l.gate != nil {
		if err := l.gate(ctx); err != nil {
			return nil, err
		}
	}
	ours, theirs := pair(local, l.addr, n.Cut)
	select {
	case l.conns <- theirs:
	case <-l.done:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, ours, theirs)
	return ours, nil
}

// Close breaks every connection and closes every listener, so that nothing that still reads is left waiting.
func (n *Net) Close() {
	n.mu.Lock()
	conns, ls := n.conns, n.listeners
	n.mu.Unlock()
	for _, l := range ls {
		l.Close()
	}
	for _, c := range conns {
		c.Reset()
	}
}

// Accept returns the next connection.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close refuses further connections.
func (l *listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.shut {
		l.shut = true
		close(l.done)
	}
	return nil
}

// Addr returns the listener's name.
func (l *listener) Addr() net.Addr { return l.addr }
