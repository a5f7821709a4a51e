package http1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// peer is a connection whose other side is functions.
type peer struct {
	net.Conn // nil
	read     func(p []byte) (int, error)
	write    func(p []byte) (int, error)
	deadline func()
	patience chan struct{} // closed when reads get a deadline
	closed   chan struct{}
}

func newPeer() *peer { return &peer{patience: make(chan struct{}), closed: make(chan struct{})} }

func (p *peer) Read(b []byte) (int, error) {
	select {
	case <-p.closed:
		return 0, net.ErrClosed
	default:
		return p.read(b)
	}
}

func (p *peer) Write(b []byte) (int, error) {
	select {
	case <-p.closed:
		return 0, net.ErrClosed
	default:
		return p.write(b)
	}
}

func (p *peer) Close() error {
	select {
	case <-p.closed:
		return net.ErrClosed
	default:
		close(p.closed)
		return nil
	}
}

func (p *peer) SetDeadline(time.Time) error {
	if p.deadline != nil {
		p.deadline()
	}
	return nil
}

func (p *peer) SetReadDeadline(time.Time) error {
	close(p.patience)
	return nil
}

// says returns reads of an answer that is there in these pieces; after it comes err.
func says(err error, pieces ...string) reader {
	return func(p []byte) (int, error) {
		if len(pieces) == 0 {
			return 0, err
		}
		n := copy(p, pieces[0])
		if pieces[0] = pieces[0][n:]; pieces[0] == "" {
			pieces = pieces[1:]
		}
		return n, nil
	}
}

// over returns a transport that dials these connections, one after the other.
func over(conns ...net.Conn) *Transport {
	return &Transport{Idle: time.Hour, MaxIdle: 8, Dial: func(context.Context, string, string) (net.Conn, error) {
		if len(conns) == 0 {
			return nil, errors.New("no more connections")
		}
		nc := conns[0]
		conns = conns[1:]
		return nc, nil
	}}
}

// A request is sent again only if not one byte of it was written, and then the same bytes.
func TestSentOnce(t *testing.T) {
	const url = "http://a.test/"
	long := strings.Repeat("x", 2*piece)
	plain := func() *http.Request { return post(url, "two") }
	cases := []struct {
		name    string
		r       func() *http.Request
		written int // by the connection that fails
		again   bool
	}{
		{"nothing", plain, 0, true},
		{"a byte", plain, 1, false},
		{"nothing of a get", func() *http.Request { r, _ := http.NewRequest("GET", url, nil); return r }, 0, true},
		{"a byte of a get", func() *http.Request { r, _ := http.NewRequest("GET", url, nil); return r }, 1, false},
		{"nothing of a long one", func() *http.Request { return post(url, long) }, 0, true},
		{"a byte of a long one", func() *http.Request { return post(url, long) }, 1, false},
		{"nothing of a stream", func() *http.Request { return stream(url, io.NopCloser(strings.NewReader(long)), -1) }, 0, true},
		{"a byte of a stream", func() *http.Request { return stream(url, io.NopCloser(strings.NewReader(long)), -1) }, 1, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			writes := 0
			dying, next := newPeer(), newPeer()
			dying.read = says(io.EOF, plainOK)
			dying.write = func(p []byte) (int, error) {
				if writes++; writes == 1 {
					return len(p), nil
				}
				return c.written, syscall.EPIPE
			}
			var got strings.Builder
			next.write = got.Write
			next.read = says(io.EOF, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain")
			tr := over(dying, next)
			defer tr.CloseIdleConnections()
			mustAsk(t, tr, post(url, "one"), "ok")
			_, answer, err := ask(tr, c.r())
			if c.again != (err == nil && answer == "again") {
				t.Errorf("answer %q, error %v; sent again = %v", answer, err, c.again)
			}
			if wrote := got.Len() > 0; wrote != c.again || wrote && strings.Count(got.String(), "HTTP/1.1\r\n") != 1 {
				t.Errorf("the other connection got %q", got.String())
			}
			if !c.again && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A connection that fails before anything was written is replaced only if it was one of the kept: a new one fails for a reason.
func TestNewConnectionFails(t *testing.T) {
	bad := newPeer()
	bad.write = func([]byte) (int, error) { return 0, syscall.ECONNRESET }
	tr := over(bad, newPeer())
	if _, _, err := ask(tr, post("http://a.test/", "x")); !errors.Is(err, syscall.ECONNRESET) || !errors.Is(err, errUnsent) {
		t.Errorf("error %v", err)
	}
}

// A body that breaks off ends with the same error whenever it is read, and never with io.EOF.
func TestBrokenBody(t *testing.T) {
	length, chunks, end := "Content-Length: 9\r\n", "Transfer-Encoding: chunked\r\n", "Connection: close\r\n"
	for _, c := range []struct{ name, fields, sent string }{{"length", length, "half"}, {"chunks", chunks, "4\r\nhalf"}, {"after a chunk", chunks, "4\r\nhalf\r\n"}, {"trailer", chunks, "4\r\nhalf\r\n0\r\nA:"}, {"by its end", end, "half"}} {
		for _, cause := range []error{io.EOF, syscall.ECONNRESET} {
			if c.name == "by its end" && cause == io.EOF {
				continue // which is how it ends
			}
			t.Run(fmt.Sprint(c.name, " ", cause), func(t *testing.T) {
				p := newPeer()
				p.write = func(p []byte) (int, error) { return len(p), nil }
				p.read = says(cause, "HTTP/1.1 200 OK\r\n"+c.fields+"\r\n", c.sent)
				resp, err := over(p).RoundTrip(post("http://a.test/", "x"))
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(resp.Body)
				if string(b) != "half" || err == nil || errors.Is(err, io.EOF) {
					t.Errorf("read %q, %v", b, err)
				}
				for range 3 {
					if n, again := resp.Body.Read(make([]byte, 9)); n != 0 || again != err {
						t.Errorf("then %d, %v", n, again)
					}
				}
				resp.Body.Close()
				if _, again := resp.Body.Read(make([]byte, 9)); again != err {
					t.Errorf("after Close %v", again)
				}
				<-p.closed
			})
		}
	}
}

// Errors of the request's body that look like the end of one do not make an answer whole.
func TestBodyThatEndsWithEOF(t *testing.T) {
	p := newPeer()
	p.write = func(p []byte) (int, error) { return len(p), nil }
	headRead := make(chan struct{})
	answer := says(nil, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
	p.read = func(b []byte) (int, error) {
		if n, _ := answer(b); n > 0 {
			return n, nil
		}
		close(headRead)
		<-p.closed
		return 0, net.ErrClosed
	}
	up := newBody(reader(func([]byte) (int, error) {
		<-headRead
		return 0, fmt.Errorf("the client left: %w", io.EOF)
	}))
	_, got, err := ask(over(p), stream("http://a.test/", up, 100))
	if got != "half" || errors.Is(err, io.EOF) || !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "the client left") {
		t.Errorf("read %q, %v", got, err)
	}
	<-up.closed
}

// A context that is done ends an exchange wherever it is, and its connection with it.
func TestCancel(t *testing.T) {
	got := make(chan struct{}, 1)
	s := serve(t, func(nc net.Conn, in *bufio.Reader) {
		r := receive(in)
		if r == nil {
			return
		}
		b, _ := io.ReadAll(r.Body)
		_, _ = nc.Write(b)
		got <- struct{}{}
		_, _ = in.ReadByte() // until the client leaves
	})
	head := "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
	for _, said := range []string{"", "HTTP/1.1 100 Continue\r\n\r\n", head[:20], head, head + "ok"} {
		t.Run(said, func(t *testing.T) {
			tr := transport(t)
			ctx, cancel := context.WithCancelCause(context.Background())
			r := post(s.url, said).WithContext(ctx)
			if said == "" {
				r = stream(s.url, http.NoBody, 0).WithContext(ctx)
			}
			go func() {
				<-got
				cancel(io.EOF)
			}()
			_, b, err := ask(tr, r)
			if !errors.Is(err, context.Canceled) || b != strings.TrimPrefix(said, head) && b != "" {
				t.Errorf("answer %q, error %v", b, err)
			}
			if len(tr.idle) > 0 && len(tr.idle[strings.TrimPrefix(s.url, "http://")]) > 0 {
				t.Error("the connection was kept")
			}
		})
	}
}

// A request whose context is done already is not sent.
func TestCancelledBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, size := range []int64{1, -1} {
		b := newBody(strings.NewReader("x"))
		tr := &Transport{Dial: func(context.Context, string, string) (net.Conn, error) {
			t.Error("dialed")
			return nil, errors.New("no")
		}}
		if _, _, err := ask(tr, stream("http://a.test/", b, size).WithContext(ctx)); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		<-b.closed
	}
}

func TestDialFails(t *testing.T) {
	b := newBody(strings.NewReader("x"))
	if _, _, err := ask(over(), stream("http://a.test/", b, 1)); err == nil || errors.Is(err, errUnsent) {
		t.Errorf("error %v", err)
	}
	<-b.closed
	if n := b.times.Load(); n != 1 {
		t.Errorf("the body was closed %d times", n)
	}
}

// A context that ends between an answer's last byte and its end leaves no deadline on a connection that is used again.
func TestCancelledAtTheEnd(t *testing.T) {
	p, next := newPeer(), newPeer()
	set := make(chan struct{})
	p.deadline = func() { close(set) }
	for _, c := range []*peer{p, next} {
		c.write = func(p []byte) (int, error) { return len(p), nil }
		c.read = says(io.EOF, plainOK)
	}
	tr := over(p, next)
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithCancel(context.Background())
	resp, err := tr.RoundTrip(post("http://a.test/", "x").WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-set
	if b, err := io.ReadAll(resp.Body); string(b) != "ok" || err != nil { // it was here already
		t.Errorf("read %q, %v", b, err)
	}
	<-p.closed
	mustAsk(t, tr, post("http://a.test/", "x"), "ok")
}

// Close ends a Read that waits.
func TestCloseWhileReading(t *testing.T) {
	s := serve(t, func(nc net.Conn, in *bufio.Reader) {
		if receive(in) != nil {
			_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
			_, _ = in.ReadByte()
		}
	})
	resp, err := transport(t).RoundTrip(post(s.url, "x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	go resp.Body.Close()
	if n, err := resp.Body.Read(make([]byte, 2)); n != 0 || err != http.ErrBodyReadAfterClose {
		t.Errorf("read %d, %v", n, err)
	}
}

// 101 is an answer without a body, whose connection is the other protocol's, and so nobody's.
func TestSwitching(t *testing.T) {
	s := serve(t, answers("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nok"))
	tr := transport(t)
	for range 2 {
		resp, b, err := ask(tr, post(s.url, "x"))
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || b != "" {
			t.Errorf("answer %v, %q, %v", resp, b, err)
		}
	}
	if n := s.conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// What a request asks for ends with its connection if it says so, whatever the answer says.
func TestClosingRequest(t *testing.T) {
	s := serve(t, answers(plainOK))
	tr := transport(t)
	for range 2 {
		r := post(s.url, "x")
		r.Close = true
		mustAsk(t, tr, r, "ok")
	}
	if n := s.conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// An answer's body that is given up takes the connection along; one that was read, and then closed, does not.
func TestGivenUp(t *testing.T) {
	s := serve(t, answers(plainOK))
	tr := transport(t)
	for i, n := range []int{0, 1, 2, 3} {
		resp, err := tr.RoundTrip(post(s.url, "x"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadFull(resp.Body, make([]byte, n))
		resp.Body.Close()
		resp.Body.Close()
		if _, err := resp.Body.Read(make([]byte, 1)); n < 2 && err != http.ErrBodyReadAfterClose || n >= 2 && err != io.EOF {
			t.Errorf("reading on after %d: %v", n, err)
		}
		if got, want := s.conns.Load(), int64(min(i+1, 3)); got != want {
			t.Errorf("%d connections after %d requests, want %d", got, i+1, want)
		}
	}
}
