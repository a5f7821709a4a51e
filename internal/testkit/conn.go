package testkit

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// window is how much one direction of a connection holds before its writer waits: the socket buffer of this network.
const window = 64 << 10

// pipe is one direction of a connection.
type pipe struct {
	mu     sync.Mutex
	moved  sync.Cond
	held   ring
	eof    bool  // the writer closed: what is held is still read
	unread error // why the reader's side is gone
	unsent error // why nothing can be written any more
	cut    int   // the most that one read returns; 0 = all
	read   limit
	write  limit
}

func newPipe(cut int) *pipe {
	p := &pipe{cut: cut}
	p.moved.L = &p.mu
	return p
}

// limit is a deadline of one side.
type limit struct {
	at    time.Time
	timer *time.Timer
}

func (l *limit) passed() bool { return !l.at.IsZero() && !time.Now().Before(l.at) }

// set moves a deadline and wakes whoever waits when it passes.
func (p *pipe) set(l *limit, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	l.at = at
	if d := time.Until(at); !at.IsZero() && d > 0 {
		l.timer = time.AfterFunc(d, p.wake)
	}
	p.moved.Broadcast()
}

func (p *pipe) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moved.Broadcast()
}

func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.unread != nil:
			return 0, p.unread
		case p.read.passed():
			return 0, os.ErrDeadlineExceeded
		case p.held.n > 0:
			if p.cut > 0 && len(b) > p.cut {
				b = b[:p.cut]
			}
			n := p.held.read(b)
			p.moved.Broadcast()
			return n, nil
		case p.eof:
			return 0, io.EOF
		case len(b) == 0:
			return 0, nil
		}
		p.moved.Wait()
	}
}

func (p *pipe) Write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.unsent != nil:
			return n, p.unsent
		case p.eof:
			return n, net.ErrClosed
		case p.write.passed():
			return n, os.ErrDeadlineExceeded
		case len(b) == 0:
			return n, nil
		}
		if room := window - p.held.n; room > 0 {
			k := min(room, len(b))
			p.held.write(b[:k])
			b, n = b[k:], n+k
			p.moved.Broadcast()
			continue
		}
		p.moved.Wait()
	}
}

// end closes the direction from its writer's side: what is held is still read.
func (p *pipe) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.eof = true
	p.moved.Broadcast()
}

// tear breaks the direction at once, for its reader and its writer.
func (p *pipe) tear(unread, unsent error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unread == nil && p.unsent == nil {
		p.unread, p.unsent = unread, unsent
	}
	p.moved.Broadcast()
}

// Conn is one end of a connection in memory.
type Conn struct {
	in, out       *pipe
	local, remote addr
}

type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

// pair makes a connection. cut is the most that a read of the dialing side returns, to cut what comes at every possible place.
func pair(local, remote addr, cut int) (dialer, accepter *Conn) {
	up, down := newPipe(cut), newPipe(cut)
	return &Conn{in: down, out: up, local: local, remote: remote}, &Conn{in: up, out: down, local: remote, remote: local}
}

// Read reads what the other side wrote.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.in.Read(b)
	return n, c.op("read", err)
}

// Write hands bytes to the other side; it waits while too much is unread.
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.out.Write(b)
	return n, c.op("write", err)
}

func (c *Conn) op(name string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: name, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// Close ends the connection: the other side reads what was written and then the end, and can write no more. This side's reads fail before the other
// side learns of it, as a socket's do: a server's last chunk, written on the news, must not be read as a clean end.
func (c *Conn) Close() error {
	c.in.tear(net.ErrClosed, syscall.EPIPE)
	c.out.end()
	return nil
}

// CloseWrite ends this side's direction only.
func (c *Conn) CloseWrite() error { c.out.end(); return nil }

// Reset breaks the connection: the other side reads an error, at once.
func (c *Conn) Reset() {
	c.in.tear(net.ErrClosed, syscall.ECONNRESET)
	c.out.tear(syscall.ECONNRESET, net.ErrClosed)
}

// LocalAddr returns this side's address.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the other side's address.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline limits reads and writes.
func (c *Conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline limits reads, those that wait too.
func (c *Conn) SetReadDeadline(t time.Time) error { c.in.set(&c.in.read, t); return nil }

// SetWriteDeadline limits writes, those that wait too.
func (c *Conn) SetWriteDeadline(t time.Time) error { c.out.set(&c.out.write, t); return nil }
