package httpproxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"

	"github.com/sluice-gateway/sluice/proxy"
)

// Listen returns the listener to serve s on, and prepares s: on a connection in the clear, what net/http does not have to know of an answer's head is written past it.
// Its map of a dozen fields, grown, copied and sorted for each answer, is dearer than all of the limits that these fields tell of. The handler works without as well.
func Listen(s *http.Server, l net.Listener) net.Listener {
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, clientKey{}, c) }
	return listener{l}
}

type clientKey struct{}

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if _, secure := c.(*tls.Conn); err != nil || secure { // which net/http must see as what it is
		return c, err
	}
	return &client{Conn: c}, nil
}

// client is a client's connection.
type client struct {
	net.Conn
	next *lines // of the answer whose head comes next; nil = none. It belongs to whoever may write
}

// lines are fields of an answer's head as they are written, and the memory to write them with.
type lines struct{ text, out []byte }

var linesPool = sync.Pool{New: func() any { return new(lines) }}

// Write writes what net/http writes, and the waiting lines behind the status line of an answer.
func (c *client) Write(p []byte) (int, error) {
	first := statusLine(p)
	if first == 0 || c.next == nil { // in this order: what bids a client send its body is written by whoever reads that, at any time
		return c.Conn.Write(p)
	}
	l := c.next
	c.next = nil
	defer linesPool.Put(l)
	l.out = append(append(append(l.out[:0], p[:first]...), l.text...), p[first:]...)
	n, err := c.Conn.Write(l.out)
	if n > first {
		n = max(first, n-len(l.text))
	}
	return n, err
}

// CloseWrite is what net/http does before it closes a connection whose client is still sending.
func (c *client) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// statusLine is how long the status line is that bytes begin with, as net/http writes one at the beginning of a write; 0 = there is none, or that of an interim answer
// (1xx).
func statusLine(p []byte) int {
	const version = "HTTP/1.1 "
	if !bytes.HasPrefix(p, []byte("HTTP/1.")) || len(p) <= len(version) || p[len(version)] == '1' {
		return 0
	}
	return bytes.IndexByte(p, '\n') + 1
}

// setHead adds the fields to the answer's head.
func (c *call) setHead(fields []proxy.Field) {
	to, ok := c.r.Context().Value(clientKey{}).(*client)
	if !ok || c.r.ProtoMajor != 1 {
		setHeader(c.w.Header(), fields)
		return
	}
	if to.next == nil {
		to.next = linesPool.Get().(*lines)
	}
	text, others := to.next.text[:0], make([]proxy.Field, 0, 8)
	for _, f := range fields {
		if !strings.HasPrefix(f.Name, "X-") || !httpguts.ValidHeaderFieldName(f.Name) || !httpguts.ValidHeaderFieldValue(f.Value) {
			others = append(others, f)
			continue
		}
		text = append(append(append(append(text, f.Name...), ": "...), f.Value...), "\r\n"...)
	}
	to.next.text = text
	setHeader(c.w.Header(), others)
}
