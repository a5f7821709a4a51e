package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// The upstream of the overload: it does toilPlaces requests at once in toilTime each; with more of them it does less in all.
const (
	toilPlaces = 10
	toilTime   = 50 * time.Millisecond
	toilRate   = float64(toilPlaces) / (float64(toilTime) / float64(time.Second)) // requests a second that it can do
)

// What an overload is made of.
const (
	overloadPhase   = 4 * time.Second
	overloadRest    = 2 * time.Second // at half of the capacity, after each
	overloadClients = 256             // at most so many requests are open: what is refused is refused at once
	overloadWanted  = 2 * time.Second // an answer that comes later is no good to its client
	overloadModel   = "bench-toil"
	overloadMemory  = 64 << 20 // server.memory
	goodBound       = 0.8      // of the peak
)

func overloadPolicy(upstream, listen, admin string) string {
	return fmt.Sprintf(`version: 1
providers:
  upstream: {dialect: openai, base_url: %s/v1, concurrent: %d, queue: {max: 100, wait: 1s}}
models:
  m: {provider: upstream, name: up-toil, context: 128k}
routes:
  %s: {rules: [{use: [m]}]}
server: {listen: "%s", admin: "%s", memory: %dM}
`, upstream, toilPlaces, overloadModel, listen, admin, overloadMemory>>20)
}

// toil answers like a server that thrashes: beyond its places everybody's time grows with the square of the crowd.
func (n *null) toil(ctx context.Context) bool {
	crowd := float64(n.toiling.Add(1)) / toilPlaces
	defer n.toiling.Add(-1)
	return rest(ctx, time.Duration(float64(toilTime)*max(1, crowd*crowd)))
}

// flood is what became of the requests of one phase.
type flood struct {
	times   float64 // the capacity
	offered int
	good    int
	refused int // with a 503 and its Retry-After
	other   int
	late    time.Duration // p99 of good answers, from when they were due
	rss     int64
}

func (f *flood) rate(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }

var errRefused = errors.New("refused")

// overload offers what the upstream can do, then two, five and ten times as much, and after each half of it.
func overload(ctx context.Context, o options, args []string, out, log io.Writer) error {
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bed{dir: dir}
	defer b.close()
	t, err := b.openOverload(ctx, o)
	if err != nil {
		return err
	}
	r := &results{o: o, args: args, bed: b, load: [2]string{loadAverage()}}
	idle, _ := memory(t.proc.cmd.Process.Pid)
	var floods []flood
	for _, times := range []float64{1, 2, .5, 5, .5, 10, .5} {
		d := overloadPhase
		if times < 1 {
			d = overloadRest
		}
		fmt.Fprintf(log, "%.1f times the capacity for %v\n", times, d)
		f, err := pour(ctx, t, times, d)
		if err != nil {
			return err
		}
		floods = append(floods, f)
	}
	r.load[1] = loadAverage()
	if met := r.overloadReport(out, floods, idle); o.strict && !met {
		return errors.New("a bound is not met")
	}
	return nil
}

func (b *bed) openOverload(ctx context.Context, o options) (*target, error) {
	o.starts = 1
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	binary, err := sluiceBinary(ctx, o, b.dir)
	if err != nil {
		return nil, err
	}
	upstream, err := b.launchNull(ctx, o, self)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(b.dir, "policy.yaml")
	return b.launch(ctx, o, sluice, func(addr string) ([]string, string, error) {
		admin, err := freeAddress()
		if err != nil {
			return nil, "", err
		}
		return []string{binary, "serve", "--config", file}, admin, os.WriteFile(file, []byte(overloadPolicy(upstream.base, addr, admin)), 0o600)
	})
}

// pour offers a constant rate for a while.
func pour(ctx context.Context, t *target, times float64, d time.Duration) (flood, error) {
	pool := newTransport(overloadClients)
	defer pool.CloseIdleConnections()
	c, err := newClient(&refusals{pool}, t.base+chatPath, overloadModel, 1<<10)
	if err != nil {
		return flood{}, err
	}
	var refused atomic.Int64
	got := openLoop(ctx, func(ctx context.Context, n int) (time.Duration, error) {
		ctx, cancel := context.WithTimeout(ctx, overloadWanted)
		defer cancel()
		first, err := c.call(ctx, n)
		if errors.Is(err, errRefused) {
			refused.Add(1)
		}
		return first, err
	}, overloadClients, times*toilRate, d, wait)
	t.proc.trim()
	f := flood{times: times, offered: got.done() + got.failed, good: got.done(), refused: int(refused.Load()), late: got.latency.quantile(.99)}
	f.other = got.failed - f.refused
	f.rss, _ = memory(t.proc.cmd.Process.Pid)
	return f, ctx.Err()
}

// refusals makes errRefused of an answer that says when to come again.
type refusals struct{ pool http.RoundTripper }

func (r *refusals) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.pool.RoundTrip(req)
	if err == nil && resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "" {
		_, _ = io.Copy(io.Discard, resp.Body) // so that the connection can be used again
		resp.Body.Close()
		return nil, errRefused
	}
	return resp, err
}

// overloadReport prints the phases and says whether the bounds are met.
func (r *results) overloadReport(out io.Writer, floods []flood, idle int64) bool {
	r.title(out)
	fmt.Fprintf(out, "The upstream can do %.0f requests a second; load average %s before, %s after. Commit %s.\n\n", toilRate, r.load[0], r.load[1], commit())
	fmt.Fprintln(out, "| load, × capacity | offered/s | good answers/s | of the peak | of those offered | refused/s | neither | p99 of good answers, ms | RSS MB |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|")
	peak, worst, fat := floods[0].rate(floods[0].good, overloadPhase), 1.0, int64(0)
	for i := range floods {
		f, d, share := &floods[i], overloadRest, "–"
		if f.times >= 1 {
			d = overloadPhase
			of := f.rate(f.good, d) / peak
			share, worst = fmt.Sprintf("%.2f", of), min(worst, of)
		}
		fat = max(fat, f.rss)
		fmt.Fprintf(out, "| %.1f | %.0f | %.0f | %s | %.2f | %.0f | %d | %.0f | %.1f |\n", f.times, f.rate(f.offered, d), f.rate(f.good, d), share,
			float64(f.good)/float64(max(1, f.offered)), f.rate(f.refused, d), f.other, millis(f.late), mega(f.rss))
	}
	fmt.Fprintln(out, "\n| what | bound | measured | met |\n|---|---|---|---|")
	fmt.Fprintf(out, "| good answers/s, whatever is offered | at least %.1f of the peak | %.2f | %s |\n", goodBound, worst, yes(worst >= goodBound))
	fmt.Fprintf(out, "| RSS above the idle process | at most `server.memory`, %.0f MB | %.1f MB | %s |\n", mega(overloadMemory), mega(fat-idle), yes(fat-idle <= overloadMemory))
	return worst >= goodBound && fat-idle <= overloadMemory
}
