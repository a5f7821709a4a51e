package main

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// near allows for the bucket width.
func near(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if math.Abs(float64(got-want)) > float64(want)/100 {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

func TestClosedLoopOverServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		null := newNull()
		c := dial(t, "bench-450", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(10 * time.Millisecond)
			null.ServeHTTP(w, r)
		}))
		got := closedLoop(t.Context(), c.call, 4, time.Second, 0)
		if got.failed != 0 || got.done() != 400 {
			t.Fatalf("%d done, %d failed (%v), want 400 and 0", got.done(), got.failed, got.err)
		}
		near(t, "p50", got.latency.quantile(.5), 10*time.Millisecond)
		near(t, "p99.9", got.latency.quantile(.999), 10*time.Millisecond)
		near(t, "first byte", got.first.quantile(.5), 10*time.Millisecond)
		if math.Abs(got.rate()-400) > 1 {
			t.Errorf("rate = %v, want 400", got.rate())
		}
	})
}

func TestClosedLoopStopsAtCount(t *testing.T) {
	var mu sync.Mutex
	seen := map[int]int{}
	got := closedLoop(t.Context(), func(_ context.Context, n int) (time.Duration, error) {
		mu.Lock()
		defer mu.Unlock()
		seen[n]++
		if n%10 == 3 {
			return 0, errors.New("refused")
		}
		return 0, nil
	}, 7, 0, 100)
	if len(seen) != 100 || got.done() != 90 || got.failed != 10 || got.err == nil {
		t.Errorf("%d numbers, %d done, %d failed, error %v; want 100, 90, 10 and one", len(seen), got.done(), got.failed, got.err)
	}
}

// A server that stalls once for a second delays every request that was due in that second, and each of them must show it. A loader that
// counts from the moment of sending would report one slow request in two hundred.
func TestOpenLoopChargesStallToAllItDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stall := func(ctx context.Context, n int) (time.Duration, error) {
			if n == 0 {
				time.Sleep(time.Second)
			}
			return 0, nil
		}
		got := openLoop(t.Context(), stall, 1, 100, 2*time.Second, time.Sleep)
		if got.done() != 200 || got.failed != 0 {
			t.Fatalf("%d done, %d failed, want 200 and 0", got.done(), got.failed)
		}
		// Requests 0 to 99 were due while the only client was stuck: they waited 1.00, 0.99, … 0.01 s, the rest nothing.
		near(t, "highest", got.latency.quantile(1), time.Second)
		near(t, "p75", got.latency.quantile(.75), 500*time.Millisecond)
		near(t, "p50", got.latency.quantile(.5), 0)
		near(t, "elapsed", got.elapsed, 1990*time.Millisecond)
	})
}

func TestOpenLoopKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, "bench-sse50", newNull())
		got := openLoop(t.Context(), c.call, 8, 50, 2*time.Second, time.Sleep)
		if got.failed != 0 || got.done() != 100 {
			t.Fatalf("%d done, %d failed (%v), want 100 and 0", got.done(), got.failed, got.err)
		}
		near(t, "elapsed", got.elapsed, 1980*time.Millisecond)
	})
}

func TestLoadsEndWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		hang := func(ctx context.Context, _ int) (time.Duration, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		if got := closedLoop(ctx, hang, 3, time.Hour, 0); got.failed != 3 || got.elapsed != time.Second {
			t.Errorf("closed loop: %d failed after %v", got.failed, got.elapsed)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := openLoop(ctx, hang, 3, 10, time.Hour, time.Sleep); got.failed == 0 || got.elapsed > 2*time.Second {
			t.Errorf("open loop: %d failed after %v", got.failed, got.elapsed)
		}
	})
}

// Both servers answer every shape whole, and what is broken on the way is a failure.
func TestClientChecksAnswers(t *testing.T) {
	null := newNull()
	breaking := func(f func(http.ResponseWriter)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { f(w) })
	}
	for _, c := range []struct {
		name, model string
		h           http.Handler
		want        string // part of the error; empty = none
	}{
		{"small", "bench-450", null, ""},
		{"large", "auto-100k", null, ""},
		{"stream", "bench-sse50", null, ""},
		{"long stream", "up-sse500", null, ""},
		{"refused", "bench-450", breaking(func(w http.ResponseWriter) { http.Error(w, "full", http.StatusTooManyRequests) }), "status 429: full"},
		{"short", "bench-450", breaking(func(w http.ResponseWriter) { _, _ = w.Write([]byte("{}")) }), "answer of 2 bytes, want 450"},
		{"no stream", "bench-sse50", breaking(func(w http.ResponseWriter) { _, _ = w.Write(unaryAnswer(shapes[0])) }), "no stream"},
		{"cut stream", "bench-sse50", breaking(func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/event-stream")
			for _, f := range streamAnswer(shapes[2])[:20] {
				_, _ = w.Write(f)
			}
		}), "stream of 20 frames, want 54"},
		{"error in place of DONE", "bench-sse50", breaking(func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/event-stream")
			for _, f := range streamAnswer(shapes[2])[:53] {
				_, _ = w.Write(f)
			}
			_, _ = w.Write([]byte("data: {\"error\":{}}\n\n"))
		}), "does not end in [DONE]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, err := dial(t, c.model, c.h).call(t.Context(), 0)
				if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want %q", err, c.want)
				}
			})
		})
	}
}

// dial serves h in memory and returns a client of it that asks for a model.
func dial(t *testing.T, model string, h http.Handler) *client {
	t.Helper()
	c, err := newClient(inMemory(t, h), "http://bench"+chatPath, model, 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// inMemory serves h over in-memory connections, whose waits virtual time can see through.
func inMemory(t *testing.T, h http.Handler) http.RoundTripper {
	l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	srv := &http.Server{Handler: h}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) })
	pool := newTransport(64)
	pool.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		select {
		case l.conns <- theirs:
			return ours, nil
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
	t.Cleanup(func() {
		pool.CloseIdleConnections()
		_ = srv.Close()
		wg.Wait()
	})
	return pool
}

// pipes is a listener whose connections never leave the process.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }
