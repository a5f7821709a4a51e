package http1

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// server is an upstream on the loopback device that does to each of its connections what it is told.
type server struct {
	url   string
	conns atomic.Int64 // accepted so far

	mu   sync.Mutex
	open []net.Conn
	all  sync.WaitGroup
}

// serve starts a server that ends with the test.
func serve(t testing.TB, each func(nc net.Conn, in *bufio.Reader)) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{url: "http://" + l.Addr().String()}
	s.all.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			s.mu.Lock()
			s.open = append(s.open, nc)
			s.mu.Unlock()
			s.all.Go(func() {
				defer nc.Close()
				each(nc, bufio.NewReader(nc))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.hangUp()
		s.all.Wait()
	})
	return s
}

// hangUp closes all connections.
func (s *server) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, nc := range s.open {
		nc.Close()
	}
	s.open = nil
}

// answers reads requests and writes the same to each, until the connection ends.
func answers(answer string) func(net.Conn, *bufio.Reader) {
	return func(nc net.Conn, in *bufio.Reader) {
		for receive(in) != nil {
			if _, err := io.WriteString(nc, answer); err != nil {
				return
			}
		}
	}
}

// receive reads a request with its body; nil = there is none.
func receive(in *bufio.Reader) *http.Request {
	r, err := http.ReadRequest(in)
	if err != nil {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return r
}

// transport returns one that closes its connections with the test.
func transport(t testing.TB) *Transport {
	tr := &Transport{Dial: new(net.Dialer).DialContext, Idle: time.Hour, MaxIdle: 8, Buffer: 2 << 10}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// body is a request's body that says whether it was closed.
type body struct {
	io.Reader
	closed chan struct{}
	times  atomic.Int64
}

func newBody(r io.Reader) *body { return &body{Reader: r, closed: make(chan struct{})} }

func (b *body) Close() error {
	if b.times.Add(1) == 1 {
		close(b.closed)
	}
	return nil
}

// reader is a function that reads.
type reader func(p []byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

// post is a request as the proxy makes them: with a body in memory.
func post(url, body string) *http.Request {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	return r
}

// stream is a request with a body that comes as it is read.
func stream(url string, b io.ReadCloser, size int64) *http.Request {
	r := post(url, "")
	r.Body, r.GetBody, r.ContentLength = b, nil, size
	return r
}

// ask sends a request and reads its answer.
func ask(rt http.RoundTripper, r *http.Request) (*http.Response, string, error) {
	resp, err := rt.RoundTrip(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

func mustAsk(t testing.TB, rt http.RoundTripper, r *http.Request, want string) {
	t.Helper()
	if _, got, err := ask(rt, r); err != nil || got != want {
		t.Fatalf("answer %q, error %v; want %q", got, err, want)
	}
}

const plainOK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
