//go:build real

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/simulator"
)

// atPool reads a metric of a llama.cpp endpoint.
func atPool(t *testing.T, addr, metric string) float64 {
	t.Helper()
	return harness.Metric(t, harness.Get(t, "http://"+addr+"/metrics"), "llamacpp:"+metric)
}

// used waits until the endpoint has generated something.
func used(t *testing.T, addr string) {
	t.Helper()
	harness.Poll(t, "tokens from "+addr, func() error {
		if n := atPool(t, addr, "tokens_predicted_total"); n == 0 {
			return errors.New("none")
		}
		return nil
	})
}

// healthy waits until the gateway counts n healthy endpoints.
func healthy(t *testing.T, g *harness.Gateway, n int) {
	t.Helper()
	harness.Poll(t, fmt.Sprintf("%d healthy endpoints", n), func() error {
		if got := g.Status(t).Providers["pool"].Healthy; got != n {
			return fmt.Errorf("%d", got)
		}
		return nil
	})
}

// TestPoolEndpointKilled kills one of two llama.cpp servers under load and starts it again. JSON answers are all complete; a stream that had begun may
// be interrupted, and says so.
func TestPoolEndpointKilled(t *testing.T) {
	_, external := provider(t, simulator.Options{})
	a, addrA := harness.Pool(t, "..", 0)
	_, addrB := harness.Pool(t, "..", 0)
	policy := poolPolicy(addrA, addrB)
	for _, r := range [][2]string{
		{"models:\n", fmt.Sprintf("  external: {dialect: openai, base_url: \"http://%s/v1\"}\nmodels:\n  big: {provider: external, name: big}\n", external)},
		{"use: [small]", "use: [small, big]"},
	} {
		policy = strings.Replace(policy, r[0], r[1], 1)
	}
	g := serve(t, policy)
	c := newClient(t)
	var interrupted, fromPool atomic.Int64
	l := startLoad(t, 8, func(k int64) error {
		stream := k%4 == 0
		ans := chat(t.Context(), c, g, chatBody("pool", fmt.Sprintf("Say %d.", k%7), stream, `,"max_tokens":4,"ignore_eos":true`))
		err := ans.complete()
		if _, _, mistake := ans.content(); err != nil && stream && ans.err == nil && mistake == "error stream_interrupted" {
			interrupted.Add(1)
			return nil
		}
		if ans.header.Get("X-Sluice-Model") == "small" {
			fromPool.Add(1)
		}
		return err
	})
	used(t, addrA)
	used(t, addrB)
	a.Kill(t)
	before := fromPool.Load()
	l.more(t, 16)
	healthy(t, g, 1)
	if n := g.Metric(t, "sluice_attempts_total", `provider="pool"`) - g.Metric(t, "sluice_attempts_total", `provider="pool"`, `class="ok"`); n < 1 {
		t.Errorf("no failed attempt at the pool in /metrics, though an endpoint was killed under load")
	}
	if fromPool.Load() == before {
		t.Error("no answer from the endpoint that was left")
	}

	_, port, _ := strings.Cut(addrA, ":")
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	harness.Pool(t, "..", n)
	healthy(t, g, 2)
	used(t, addrA) // it is a new process: its counters began at 0
	l.check(t)
	if n := interrupted.Load(); n > 2 { // of 8 clients every fourth request is a stream
		t.Errorf("%d streams were interrupted by one crash", n)
	}
	t.Logf("%d from the pool, %d streams interrupted", fromPool.Load(), interrupted.Load())
	sumsAgree(t, g, l.answered.Load())
}

// sumsAgree waits until the access log and /metrics tell of the same exchanges and attempts.
func sumsAgree(t *testing.T, g *harness.Gateway, exchanges int64) {
	t.Helper()
	harness.Poll(t, "log and metrics that agree", func() error {
		lines, attempts := g.Err.Records("exchange"), 0.0
		for _, r := range lines {
			attempts += r.Number("attempts")
		}
		counted, tried := g.Metric(t, "sluice_exchanges_total"), g.Metric(t, "sluice_attempts_total")
		if int64(len(lines)) != exchanges || int64(counted) != exchanges || tried != attempts {
			return fmt.Errorf("%d answers; log: %d exchanges, %v attempts; metrics: %v, %v", exchanges, len(lines), attempts, counted, tried)
		}
		return nil
	})
}

// TestCancelFreesTheSlot: a client that hangs up frees the slot at the real server, although the answer would have been long.
func TestCancelFreesTheSlot(t *testing.T) {
	_, addr := harness.Pool(t, "..", 0)
	g := serve(t, poolPolicy(addr))
	c := newClient(t)
	long := `,"max_tokens":1500,"ignore_eos":true`
	for _, tc := range []struct {
		name   string
		stream bool
		// leave asks, waits until the model writes, and hangs up.
		leave func(t *testing.T)
	}{
		{"json", false, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			gone := make(chan error, 1)
			go func() {
				resp, err := post(ctx, c, g, chatBody("pool", "Tell me a long story.", false, long))
				if err == nil {
					_ = resp.Body.Close()
				}
				gone <- err
			}()
			begun := atPool(t, addr, "n_decode_total")
			harness.Poll(t, "a model that writes", func() error {
				if atPool(t, addr, "requests_processing") != 1 || atPool(t, addr, "n_decode_total") < begun+3 {
					return errors.New("not yet")
				}
				return nil
			})
			cancel()
			if err := <-gone; !errors.Is(err, context.Canceled) {
				t.Errorf("the request ended with %v before it was cancelled", err)
			}
		}},
		{"stream", true, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			resp, err := post(ctx, c, g, chatBody("pool", "Tell me a long story.", true, long))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			events := bufio.NewScanner(resp.Body)
			for n := 0; n < 3 && events.Scan(); {
				if strings.HasPrefix(events.Text(), "data: ") {
					n++
				}
			}
			if n := atPool(t, addr, "requests_processing"); n != 1 {
				t.Errorf("%v requests at the endpoint in the middle of a stream", n)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			lines := len(g.Err.Records("exchange"))
			tc.leave(t)
			harness.Poll(t, "a free slot", func() error {
				if n := atPool(t, addr, "requests_processing"); n != 0 {
					return fmt.Errorf("%v requests are being processed", n)
				}
				return nil
			})
			var r harness.Record
			harness.Poll(t, "the record", func() error {
				all := g.Err.Records("exchange")
				if len(all) == lines {
					return errors.New("none")
				}
				r = all[lines]
				return nil
			})
			if r.Text("outcome") != "client_gone" || r.Text("usage") != "estimated" || r.Number("tokens_in") == 0 || r.Number("tokens_out") == 0 || r["stream"] != tc.stream {
				t.Errorf("record %v, want outcome client_gone, estimated usage", r)
			}
			harness.Poll(t, "counters at 0", func() error {
				if p := g.Status(t).Providers["pool"]; p.InFlight != 0 || p.Tokens != 0 {
					return fmt.Errorf("%+v", p)
				}
				return nil
			})
		})
	}
	if a := chat(t.Context(), c, g, chatBody("pool", "hi", false, `,"max_tokens":2`)); a.status != http.StatusOK {
		t.Errorf("after the cancellations: %v", a)
	}
}
