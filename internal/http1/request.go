package http1

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/idna"
)

// message is a request on its way to a connection. What is written first is made before there is one, so that it can be written to another if the first turns out dead.
type message struct {
	r     *http.Request
	addr  string
	buf   *[]byte // of buffers; nil = given back
	first []byte  // the head, and what fits behind it of a body in memory

	rest io.ReadCloser // what follows of the body; nil = nothing
	left int64         // how much that is, in bytes; -1 = unknown
}

// piece is how much is written at once, in bytes.
const piece = 32 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, piece); return &b }}

// compose makes a request's message. It is the only check of what callers put into one: nothing may end its line, and no two may disagree about where the body ends.
// The body is closed then, or the message's to close.
func (m *message) compose(r *http.Request) error {
	m.r = r
	err := m.begin()
	if err != nil && r.Body != nil {
		m.rest = nil
		r.Body.Close()
	}
	return err
}

func (m *message) begin() (err error) {
	r := m.r
	if r.URL == nil || r.URL.Scheme != "http" {
		return errors.New("http1: a URL that is not of plain http")
	}
	if !hasBody(r) && r.ContentLength > 0 {
		return fmt.Errorf("http1: %d bytes of a body that is not there", r.ContentLength)
	}
	if m.addr, err = address(r.URL); err != nil {
		return err
	}
	m.buf = buffers.Get().(*[]byte)
	if m.first, err = appendHead((*m.buf)[:0], r); err != nil || !hasBody(r) {
		return err
	}
	m.rest, m.left = r.Body, length(r)
	if r.GetBody == nil || m.left < 0 {
		return nil
	}
	return m.load()
}

// load takes from a body in memory what fits behind the head, which is mostly all of it.
func (m *message) load() error {
	b := m.first[:cap(m.first)]
	room := b[len(m.first):]
	n, err := io.ReadFull(m.rest, room[:1+min(int64(len(room))-1, m.left)]) // one more tells that there are too many
	m.first, m.left = b[:len(m.first)+n], m.left-int64(n)
	switch {
	case m.left < 0:
		return errLong
	case err == nil:
		return nil
	case err != io.EOF && err != io.ErrUnexpectedEOF:
		return err
	case m.left > 0:
		return errShort
	}
	m.close()
	return nil
}

// A body that is not as long as was said: what is sent of it must not be taken for a whole one.
var (
	errLong  = errors.New("http1: the request's body is longer than its Content-Length")
	errShort = fmt.Errorf("http1: the request's body is shorter than its Content-Length: %w", io.ErrUnexpectedEOF)
)

// free gives the buffer back.
func (m *message) free() {
	if m.buf != nil {
		buffers.Put(m.buf)
		m.buf, m.first = nil, nil
	}
}

// close closes the body, if that is still to be done here.
func (m *message) close() {
	if m.rest != nil {
		m.rest.Close()
		m.rest = nil
	}
}

func hasBody(r *http.Request) bool { return r.Body != nil && r.Body != http.NoBody }

// length is how long a request's body is said to be, in bytes; -1 = unknown.
func length(r *http.Request) int64 {
	if hasBody(r) && r.ContentLength <= 0 {
		return -1
	}
	return max(r.ContentLength, 0)
}

// address is where a URL's host is reached.
func address(u *url.URL) (string, error) {
	name, port := u.Hostname(), u.Port()
	switch {
	case name == "":
		return "", errors.New("http1: a URL without a host")
	case port == "":
		port = "80"
	case isASCII(name):
		return u.Host, nil
	}
	if isASCII(name) {
		return net.JoinHostPort(name, port), nil
	}
	name, err := idna.Lookup.ToASCII(name)
	return net.JoinHostPort(name, port), err
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

func appendHead(b []byte, r *http.Request) ([]byte, error) {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	host, err := httpguts.PunycodeHostPort(host)
	if err != nil {
		return nil, err
	}
	if host = withoutZone(host); host == "" || !httpguts.ValidHostHeader(host) {
		return nil, fmt.Errorf("http1: host %q", host)
	}
	method, uri := r.Method, r.URL.RequestURI()
	if method == "" {
		method = http.MethodGet
	}
	if !httpguts.ValidHeaderFieldName(method) || r.URL.Opaque != "" || uri[0] != '/' || strings.ContainsFunc(uri, breaks) {
		return nil, errors.New("http1: a method or a URL that does not fit into its line")
	}
	b = append(append(append(append(b, method...), ' '), uri...), " HTTP/1.1\r\n"...)
	b = appendField(b, "Host", host)
	if b, err = appendFields(b, r.Header); err != nil {
		return nil, err
	}
	switch n := length(r); {
	case n < 0:
		b = appendField(b, "Transfer-Encoding", "chunked")
	case n > 0, method == http.MethodPost, method == http.MethodPut, method == http.MethodPatch:
		b = append(b, "Content-Length: "...)
		b = append(strconv.AppendInt(b, n, 10), "\r\n"...)
	}
	if r.Close {
		b = appendField(b, "Connection", "close")
	}
	return append(b, "\r\n"...), nil
}

// framing names what appendHead writes itself, from the request's other fields; in other spellings, too: who reads them does not tell those apart.
var framing = [...]string{"Host", "Trailer", "Connection", "Content-Length", "Transfer-Encoding"}

func isFraming(name string) bool {
	for _, f := range framing {
		if len(f) == len(name) && strings.EqualFold(f, name) {
			return true
		}
	}
	return false
}

// appendFields writes a header, sorted, so that equal requests are equal on the wire.
func appendFields(b []byte, h http.Header) ([]byte, error) {
	var few [24]string
	names := few[:0]
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if isFraming(name) {
			continue
		}
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("http1: header name %q", name)
		}
		for _, v := range h[name] {
			if !httpguts.ValidHeaderFieldValue(v) {
				return nil, fmt.Errorf("http1: header %s has a value that does not fit into its line", name) // which may be a secret
			}
			b = appendField(b, name, textproto.TrimString(v))
		}
	}
	return b, nil
}

func appendField(b []byte, name, value string) []byte {
	return append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
}

func breaks(r rune) bool { return r <= ' ' || r == 0x7f }

// withoutZone takes the zone off an address of IPv6: it means something on this machine only.
func withoutZone(host string) string {
	end := strings.LastIndexByte(host, ']')
	if !strings.HasPrefix(host, "[") || end < 0 {
		return host
	}
	if zone := strings.LastIndexByte(host[:end], '%'); zone >= 0 {
		return host[:zone] + host[end:]
	}
	return host
}
