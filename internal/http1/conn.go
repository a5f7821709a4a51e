package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is one connection. It belongs to the transport's idle ones or to one exchange.
type conn struct {
	t    *Transport
	addr string
	nc   net.Conn
	in   *bufio.Reader
	left int64 // how many bytes may still be read: a head is bounded

	raw   syscall.RawConn // nil = not to be had
	since time.Time       // of the last use

	began atomic.Bool // a byte of the request was written
}

// maxHead bounds an answer's head, with those of what went before it (1xx), in bytes.
const maxHead = 1 << 20

var errHead = errors.New("http1: the head of an answer is too large")

func newConn(t *Transport, addr string, nc net.Conn) *conn {
	c := &conn{t: t, addr: addr, nc: nc}
	c.in = bufio.NewReaderSize(c, t.Buffer)
	if sc, ok := nc.(syscall.Conn); ok {
		c.raw, _ = sc.SyscallConn()
	}
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

// Write writes to the connection and remembers that it has.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.nc.Write(p)
	if n > 0 {
		c.began.Store(true)
	}
	return n, err
}

func (c *conn) close() { _ = c.nc.Close() }

// alive reports whether an idle connection can be used: nothing waits to be read, not even its end.
func (c *conn) alive() bool { return c.in.Buffered() == 0 && silent(c.raw) }

// roundTrip sends a request and reads the head of its answer.
func (c *conn) roundTrip(r *http.Request, head []byte) (*http.Response, error) {
	c.began.Store(false)
	c.left = maxHead
	x := &exchange{c: c, r: r}
	x.unwatch = context.AfterFunc(r.Context(), c.abort)
	if err := x.send(head); err != nil {
		return nil, x.fail(err)
	}
	resp, err := c.head(r)
	if err != nil {
		return nil, x.fail(err)
	}
	c.left = 1<<63 - 1
	x.close = resp.Close || r.Close || resp.StatusCode == http.StatusSwitchingProtocols
	if resp.Body == http.NoBody {
		x.end()
		return resp, nil
	}
	x.body = resp.Body
	resp.Body = x
	return resp, nil
}

// maxInterim is how many answers of the kind 1xx are read away before the one that counts.
const maxInterim = 5

func (c *conn) head(r *http.Request) (*http.Response, error) {
	for range maxInterim + 1 {
		resp, err := http.ReadResponse(c.in, r)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
	return nil, errors.New("http1: interim answers without end")
}

// abort ends every read and write, now and from now on.
func (c *conn) abort() { _ = c.nc.SetDeadline(time.Unix(1, 0)) }

// exchange is one request on a connection, and the body of its answer.
type exchange struct {
	c       *conn
	r       *http.Request
	body    io.ReadCloser
	close   bool // the connection ends with it
	unwatch func() bool
	over    bool
	err     error // what reads end with, once it is over

	sending chan struct{} // closed when all is written; nil = it is
	sent    error         // read after sending is closed
}

// whole is how much of a request is written at once, in bytes, and how much of a body is moved at a time.
const whole = 32 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, whole); return &b }}

// send writes the request: at once if it is small and in memory; else the answer is waited for meanwhile, since an upstream may well answer before it has read
// everything, and then read no more.
func (x *exchange) send(head []byte) error {
	r := x.r
	if r.Body == nil || r.Body == http.NoBody {
		_, err := x.c.Write(head)
		return err
	}
	if r.GetBody == nil || r.ContentLength <= 0 || int64(len(head))+r.ContentLength > whole {
		x.sending = make(chan struct{})
		go func() {
			x.sent = x.stream(head)
			close(x.sending)
			if x.sent != nil {
				x.c.close() // what is half written cannot be answered
			}
		}()
		return nil
	}
	defer r.Body.Close()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	p := (*buf)[:copy(*buf, head)+int(r.ContentLength)]
	if _, err := io.ReadFull(r.Body, p[len(head):]); err != nil {
		return err
	}
	_, err := x.c.Write(p)
	return err
}

// stream writes a request piece by piece, as the body comes.
func (x *exchange) stream(head []byte) error {
	r := x.r
	defer r.Body.Close()
	if _, err := x.c.Write(head); err != nil {
		return err
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	if r.ContentLength <= 0 {
		w := httputil.NewChunkedWriter(x.c)
		if _, err := io.CopyBuffer(w, onlyReader{r.Body}, *buf); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		_, err := io.WriteString(x.c, "\r\n")
		return err
	}
	n, err := io.CopyBuffer(x.c, io.LimitReader(r.Body, r.ContentLength), *buf)
	if err == nil && n < r.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// onlyReader hides a body's other methods, by which it would be copied without the buffer.
type onlyReader struct{ io.Reader }

// fail ends an exchange and names the reason that was first.
func (x *exchange) fail(err error) error {
	x.close = true
	x.end()
	if cerr := x.r.Context().Err(); cerr != nil {
		return cerr
	}
	if x.sending != nil {
		select {
		case <-x.sending:
			if x.sent != nil {
				err = x.sent
			}
		default:
		}
	}
	if !x.c.began.Load() {
		return errors.Join(errUnsent, err)
	}
	return err
}

// end gives the connection up, or back.
func (x *exchange) end() {
	x.over = true
	reusable := x.unwatch() && !x.close && x.written()
	if reusable {
		x.c.t.keep(x.c)
		return
	}
	x.c.close()
}

// written reports whether the whole request is on its way.
func (x *exchange) written() bool {
	if x.sending == nil {
		return true
	}
	select {
	case <-x.sending:
		return x.sent == nil
	default:
		return false
	}
}

// Read reads the answer's body.
func (x *exchange) Read(p []byte) (int, error) {
	if x.over {
		return 0, x.err
	}
	n, err := x.body.Read(p)
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF:
		x.end()
	default:
		err = x.fail(err)
	}
	x.err = err
	return n, err
}

// Close gives up what was not read of the body, and the connection with it.
func (x *exchange) Close() error {
	if !x.over {
		x.close, x.err = true, http.ErrBodyReadAfterClose
		x.end()
	}
	return nil
}
