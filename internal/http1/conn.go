package http1

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// conn is one connection. It belongs to the transport's idle ones or to one exchange.
type conn struct {
	t     *Transport
	addr  string
	nc    net.Conn
	in    *bufio.Reader
	left  int64 // how many bytes may still be read: a head is bounded
	ear   *ear
	since time.Time // of the last use
	abort func()    // ends every read and write, now and from now on
}

// maxHead bounds an answer's head, with those of what went before it (1xx), in bytes.
const maxHead = 1 << 20

var errHead = errors.New("http1: the head of an answer is too large")

func newConn(t *Transport, addr string, nc net.Conn) *conn {
	c := &conn{t: t, addr: addr, nc: nc, ear: newEar(nc)}
	c.in = bufio.NewReaderSize(c, cmp.Or(t.Buffer, 4<<10))
	c.abort = func() { _ = nc.SetDeadline(time.Unix(1, 0)) }
	return c
}

// Read reads from the connection, for the buffer.
func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errHead
	}
	n, err := c.nc.Read(p)
	c.left -= int64(n)
	return n, err
}

func (c *conn) close() { _ = c.nc.Close() }

// roundTrip sends a request and reads the head of its answer.
func (c *conn) roundTrip(m *message) (*http.Response, error) {
	r := m.r
	x := &exchange{c: c, r: r, unwatch: context.AfterFunc(r.Context(), c.abort)}
	if n, err := c.nc.Write(m.first); err != nil {
		if err = x.fail(err); n == 0 {
			err = fmt.Errorf("%w: %w", errUnsent, err)
		}
		return nil, err
	}
	m.free()
	if m.rest != nil {
		x.up = &upload{c: c, body: m.rest, left: m.left, over: make(chan struct{})}
		m.rest = nil
		go x.up.run(r.Context())
	}
	resp, err := c.head(r)
	if err != nil {
		return nil, x.fail(err)
	}
	x.close = resp.Close || r.Close || resp.StatusCode < 200 // 101, and what does not exist
	if resp.Body == http.NoBody {
		_ = x.end(io.EOF)
		return resp, nil
	}
	x.body = resp.Body
	resp.Body = x
	return resp, nil
}

// head reads the head of the answer that counts.
func (c *conn) head(r *http.Request) (*http.Response, error) {
	c.left = maxHead
	for {
		resp, err := http.ReadResponse(c.in, r)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode/100 != 1 || resp.StatusCode == http.StatusSwitchingProtocols {
			c.left = 1<<63 - 1
			return resp, nil
		}
	}
}

// exchange is one request on a connection, and the body of its answer.
type exchange struct {
	c       *conn
	r       *http.Request
	up      *upload // nil = all is written
	body    io.Reader
	close   bool // the connection ends with it
	unwatch func() bool

	mu  sync.Mutex
	err error // what reads end with; nil = it is not over
}

// fail ends an exchange and returns the reason that was first.
func (x *exchange) fail(err error) error {
	if x.up != nil {
		err = cmp.Or(x.up.failed(), err)
		x.c.close()
		x.up.settle() // who gets the error may want to read the body anew
	}
	if err = cmp.Or(x.r.Context().Err(), err); errors.Is(err, io.EOF) { // a request's body may say so, and what broke off must not look whole
		err = fmt.Errorf("%v: %w", err, io.ErrUnexpectedEOF)
	}
	return x.end(err)
}

// end ends an exchange, once, and returns what reads say from then on: io.EOF if its answer is whole. Only then can the connection be used again, and if nothing is left to
// write or read, nor a deadline, which a context may have set that was done meanwhile.
func (x *exchange) end(err error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		return x.err
	}
	x.err = err
	if x.unwatch() && err == io.EOF && !x.close && (x.up == nil || x.up.settle()) && x.c.in.Buffered() == 0 {
		x.c.t.keep(x.c)
	} else {
		x.c.close()
	}
	return err
}

// over returns what reads end with; nil = there may be more.
func (x *exchange) over() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

// Read reads the answer's body.
func (x *exchange) Read(p []byte) (int, error) {
	if err := x.over(); err != nil {
		return 0, err
	}
	n, err := x.body.Read(p)
	switch err {
	case nil:
		return n, nil
	case io.EOF:
		return n, x.end(err)
	}
	return n, x.fail(err)
}

// Close gives up what was not read of the body, and the connection with it. It may be called while Read waits.
func (x *exchange) Close() error {
	_ = x.end(http.ErrBodyReadAfterClose)
	return nil
}
