package httpproxy

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/sluice-gateway/sluice/internal/http1"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/proxy"
)

type connectKey struct{}

// transports holds one connection pool for each way of reaching upstreams, keyed by what makes the way, not by policy: a reload keeps the connections.
type transports struct {
	dial dialer
	mu   sync.RWMutex
	all  map[wayKey]*way
	per  sync.Map // *policies.Provider -> *way
}

type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

type wayKey struct {
	own       bool
	ca, proxy string
}

func newTransports(dial dialer) *transports {
	return &transports{dial: dial, all: map[wayKey]*way{}}
}

func (t *transports) of(p *policies.Provider) http.RoundTripper {
	if rt, ok := t.per.Load(p); ok {
		return rt.(*way)
	}
	k := wayKey{own: p.Own, ca: p.CA}
	if p.Proxy != nil {
		k.proxy = p.Proxy.String()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	rt, ok := t.all[k]
	if !ok {
		rt = newWay(p, t.dial)
		t.all[k] = rt
	}
	t.per.Store(p, rt)
	return rt
}

// forget drops the memory of providers that no policy holds any more; their connections idle out.
func (t *transports) forget() { t.per.Clear() }

func (t *transports) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, rt := range t.all {
		rt.CloseIdleConnections()
	}
}

// ownIdle is below the 5 s after which llama.cpp and the usual Python servers close an idle connection: a request must not meet that close.
const ownIdle = 4 * time.Second

// A connection of HTTP/2 outlives the requests that are given up on it, so nothing else finds out that it is dead, and all requests of a provider would
// go on meeting it: one that has said nothing for pingAfter is asked, and closed when it does not answer within pingTime.
const (
	pingAfter = 10 * time.Second
	pingTime  = 5 * time.Second
)

// way reaches upstreams.
type way struct {
	plain *http1.Transport // of http, where no proxy is between; nil = there is one
	*http.Transport
}

// RoundTrip asks an upstream.
func (w *way) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.plain != nil && r.URL.Scheme == "http" {
		return w.plain.RoundTrip(r)
	}
	return w.Transport.RoundTrip(r)
}

// CloseIdleConnections closes what no request uses.
func (w *way) CloseIdleConnections() {
	if w.plain != nil {
		w.plain.CloseIdleConnections()
	}
	w.Transport.CloseIdleConnections()
}

func newWay(p *policies.Provider, dial dialer) *way {
	rt := &http.Transport{
		DialContext:           dial,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true,
		ReadBufferSize:        smallBuffer, // what is larger passes by it, and streams are many
		WriteBufferSize:       smallBuffer,
		MaxIdleConns:          1024,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: time.Second,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTime},
	}
	if p.Own {
		rt.IdleConnTimeout = ownIdle
	}
	w := &way{Transport: rt}
	if p.Proxy != nil {
		rt.Proxy = http.ProxyURL(p.Proxy)
	} else {
		w.plain = &http1.Transport{Dial: dial, Idle: rt.IdleConnTimeout, MaxIdle: rt.MaxIdleConnsPerHost, Buffer: smallBuffer}
	}
	if p.CA != "" {
		rt.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
		if pem, err := os.ReadFile(p.CA); err == nil { // the policy proved it readable; an empty pool fails closed
			rt.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem)
		}
	}
	return w
}

// dial connects within the route's limit. TCP_NODELAY is Go's default on both sides and is left so: a stream's small writes must not wait.
func (h *Handler) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if limit, ok := ctx.Value(connectKey{}).(time.Duration); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	if h.Dial != nil {
		return h.Dial(ctx, network, addr)
	}
	d := net.Dialer{KeepAlive: 30 * time.Second}
	return d.DialContext(ctx, network, addr)
}

// request makes the upstream request.
func (c *call) request(ctx context.Context, up *proxy.Upstream) *http.Request {
	h := make(http.Header, len(up.Header))
	setHeader(h, up.Header)
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = nil // none, instead of Go's own
	}
	r := new(http.Request).WithContext(ctx) // before it is filled: what it copies is then no memory
	r.Method, r.URL, r.Host, r.Header = up.Method, up.URL, up.URL.Host, h
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	body := up.Body
	if body == nil {
		body = c.body
	}
	switch {
	case c.up != nil:
		r.Body, r.ContentLength = c.up.reader(up.Splice), c.up.length(up.Splice)
	case len(body) > 0:
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body)) // of a kind that the transport knows: head and body leave in one write
		// With GetBody the transport sends again what met an idle connection's close before a byte of it was written, and nothing else: an
		// idempotency key, which lets it repeat more, is spelt so that it does not see it. The plan alone says what is asked twice.
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		if v, ok := h["Idempotency-Key"]; ok {
			delete(h, "Idempotency-Key")
			h["idempotency-key"] = v
		}
	}
	return r
}

// causeOf names an error of the upstream's connection.
func (c *call) causeOf(w *watch, err error, dialing bool) proxy.Cause {
	switch {
	case c.r.Context().Err() != nil:
		return proxy.CauseClientGone
	case w.wasInterrupted():
		return proxy.CauseStop
	case w.hasExpired():
		return proxy.CauseLimit
	case c.up != nil && c.up.failure() != nil:
		return proxy.CauseBody
	case !dialing:
		return proxy.CauseCut
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		if op.Timeout() {
			return proxy.CauseConnect
		}
		return proxy.CauseRefused
	}
	var cert *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var record tls.RecordHeaderError
	if errors.As(err, &cert) || errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &record) || op != nil && strings.HasPrefix(op.Op, "proxyconnect") {
		return proxy.CauseRefused
	}
	return proxy.CauseReset
}

// Caps of an upstream's compressed answer: one that was not asked for.
const (
	maxInflated = 256 << 20
	maxRatio    = 100
)

var errBomb = errors.New("compressed answer grows beyond its caps")

// decoded undoes a compression that was not asked for, with caps; answers that pass unread keep theirs.
func decoded(resp *http.Response, reads bool) (io.Reader, error) {
	enc := resp.Header.Get("Content-Encoding")
	if !reads || enc == "" || strings.EqualFold(enc, "identity") {
		return resp.Body, nil
	}
	resp.Header.Del("Content-Encoding")
	resp.Header.Del("Content-Length")
	in := &counted{r: resp.Body}
	var r io.Reader
	var err error
	switch strings.ToLower(enc) {
	case "gzip":
		r, err = gzip.NewReader(in)
	case "deflate":
		r = flate.NewReader(in)
	case "zstd":
		r, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
	default:
		err = fmt.Errorf("content encoding %q was not asked for", enc)
	}
	if err != nil {
		return nil, err
	}
	return &inflated{r: r, in: in}, nil
}

type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

type inflated struct {
	r  io.Reader
	in *counted
	n  int64
}

func (d *inflated) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	d.n += int64(n)
	if d.n > maxInflated || d.n > 1<<20 && d.n > maxRatio*d.in.n {
		return 0, errBomb
	}
	return n, err
}
