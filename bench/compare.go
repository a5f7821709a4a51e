package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"time"
)

// A workload is one kind of load.
type workload struct {
	name    string
	model   string
	request int // bytes
	clients int
	open    bool   // constant rate instead of constant concurrency
	path    string // empty = chatPath
}

// chatPath is where clients ask.
const chatPath = "/v1/chat/completions"

func (w workload) url(base string) string { return base + cmp.Or(w.path, chatPath) }

// The workloads that the bounds are stated for.
const (
	unarySerial    = "unary 1 KB, c=1"
	unaryBusy      = "unary 1 KB, c=32"
	streamBusy     = "SSE 50 events, c=16"
	streamPlain    = "SSE 50 events unread, c=16"
	openName       = "unary 1 KB, open loop"
	requestTimeout = 30 * time.Second // after its window a load gets this long to end
)

var workloads = []workload{
	{name: unarySerial, model: "bench-450", request: 1 << 10, clients: 1},
	{name: unaryBusy, model: "bench-450", request: 1 << 10, clients: 32},
	{name: openName, model: "bench-450", request: 1 << 10, clients: 256, open: true},
	{name: "unary 1 KB, answer 100 KB, c=8", model: "bench-100k", request: 1 << 10, clients: 8},
	{name: "unary 100 KB, c=8", model: "bench-450", request: 100 << 10, clients: 8},
	{name: "SSE 50 events, c=1", model: "bench-sse50", request: 1 << 10, clients: 1},
	{name: streamBusy, model: "bench-sse50", request: 1 << 10, clients: 16},
	{name: streamPlain, model: "bench-sse50", request: 1 << 10, clients: 16, path: plainPath + "/chat/completions"},
	{name: "SSE 500 events, c=16", model: "bench-sse500", request: 1 << 10, clients: 16},
	{name: "routed by prompt, unary 1 KB, c=1", model: "auto-450", request: 1 << 10, clients: 1},
	{name: "routed by prompt, unary 1 KB, c=32", model: "auto-450", request: 1 << 10, clients: 32},
}

// sample is one window of one workload on one target.
type sample struct {
	p50, p99, p999 time.Duration
	first          time.Duration // median time to the first byte of the body
	rate           float64       // answers a second
	cpu            time.Duration // the target's processes, for each answer; 0 = unknown
	envoy          time.Duration // of that, Envoy's
	loader         float64       // the loader's share of all processors
	failed         int
	err            error
}

// soak is the long first load on the fresh process.
type soak struct {
	requests  int
	rate      float64
	cpu       time.Duration
	rss, peak int64
}

// results is what a run measured.
type results struct {
	o        options
	args     []string
	load     [2]string // machine load before and after
	rate     float64   // of the open loop
	bed      *bed
	log      io.Writer // progress
	kinds    []workload
	samples  map[string]map[string][]sample // workload, target, round
	endRSS   map[string]int64               // highest resident set over the whole run, of Go processes
	endEnvoy map[string]int64               // the same of Envoys
}

// compare is one whole run.
func compare(ctx context.Context, o options, args []string, out, log io.Writer) error {
	dir, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := &results{o: o, log: log, args: args, kinds: chosen(o.workloads(), o.only), samples: map[string]map[string][]sample{}, endRSS: map[string]int64{}, endEnvoy: map[string]int64{}}
	if len(r.kinds) == 0 {
		return fmt.Errorf("no workload is named like %q", o.only)
	}
	r.load[0] = loadAverage()
	fmt.Fprintln(log, "starting", o.targets)
	if o.plane == planeEnvoy {
		r.bed, err = openEnvoy(ctx, o, dir)
	} else {
		r.bed, err = open(ctx, o, dir)
	}
	if err != nil {
		return err
	}
	defer r.bed.close()
	if err := r.prove(ctx); err != nil {
		return err
	}
	if err := r.soak(ctx, log); err != nil {
		return err
	}
	if err := r.measure(ctx, log); err != nil {
		return err
	}
	r.endMemory()
	r.load[1] = loadAverage()
	if err := r.profile(ctx, log); err != nil {
		return err
	}
	report := r.report
	if o.plane == planeEnvoy {
		report = r.envoyReport
	}
	met := report(out)
	if o.strict && !met {
		return fmt.Errorf("a bound is not met")
	}
	return nil
}

func chosen(all []workload, only string) []workload {
	var kinds []workload
	for _, w := range all {
		if strings.Contains(w.name, only) {
			kinds = append(kinds, w)
		}
	}
	return kinds
}

// prove sends one request of each kind to each target, so that a wrong set-up ends the run with its reason.
func (r *results) prove(ctx context.Context) error {
	for _, t := range r.bed.targets {
		t.proc.trim()
		for _, w := range r.kinds {
			pool := newTransport(1)
			c, err := newClient(pool, w.url(t.base), t.model(w.model), w.request)
			if err == nil {
				_, err = c.call(ctx, 0)
			}
			pool.CloseIdleConnections()
			if err != nil {
				return fmt.Errorf("%s, %s: %w\n%s", t.name, w.name, err, t.proc.tail())
			}
		}
		if err := t.proveCarrier(ctx, len(r.kinds)); err != nil {
			return err
		}
	}
	return nil
}

func (r *results) soak(ctx context.Context, log io.Writer) error {
	slowest := math.Inf(1)
	for _, t := range r.bed.targets {
		fmt.Fprintf(log, "soak: %d requests, %s\n", r.o.soak, t.name)
		pool := newTransport(32)
		c, err := newClient(pool, t.base+chatPath, t.model("bench-450"), 1<<10)
		if err != nil {
			return err
		}
		_, before, _ := t.used()
		got := closedLoop(ctx, c.call, 32, 0, r.o.soak)
		_, after, _ := t.used()
		t.soak = soak{requests: got.done(), rate: got.rate(), cpu: (after - before) / time.Duration(max(1, got.done()))}
		t.soak.rss, t.soak.peak = memory(t.proc.cmd.Process.Pid)
		pool.CloseIdleConnections()
		t.proc.trim()
		if err := ctx.Err(); err != nil {
			return err
		}
		if got.failed > 0 {
			return fmt.Errorf("soak, %s: %d of %d failed: %w", t.name, got.failed, r.o.soak, got.err)
		}
		slowest = min(slowest, got.rate())
	}
	if r.rate = r.o.rate; r.rate == 0 {
		r.rate = max(100, math.Floor(slowest/200)*100)
	}
	return nil
}

// measure runs the rounds. The targets take turns in going first, so that none always follows the same other.
func (r *results) measure(ctx context.Context, log io.Writer) error {
	for round := range r.o.rounds {
		fmt.Fprintf(log, "round %d of %d\n", round+1, r.o.rounds)
		for _, w := range r.kinds {
			for i := range r.bed.targets {
				t := r.bed.targets[(i+round)%len(r.bed.targets)]
				s, err := r.window(ctx, t, w)
				if err != nil {
					return err
				}
				if s.failed > 0 {
					fmt.Fprintf(log, "%s, %s: %d failed: %v\n", t.name, w.name, s.failed, s.err)
				}
				if r.samples[w.name] == nil {
					r.samples[w.name] = map[string][]sample{}
				}
				r.samples[w.name][t.name] = append(r.samples[w.name][t.name], s)
			}
		}
	}
	return nil
}

// window warms up, then measures. The pool of connections is new each time and the same for both.
func (r *results) window(ctx context.Context, t *target, w workload) (sample, error) {
	pool := newTransport(w.clients)
	defer pool.CloseIdleConnections()
	c, err := newClient(pool, w.url(t.base), t.model(w.model), w.request)
	if err != nil {
		return sample{}, err
	}
	bounded, cancel := context.WithTimeout(ctx, r.o.warmup+r.o.duration+requestTimeout)
	defer cancel()
	run := func(d time.Duration) *tally {
		if w.open {
			return openLoop(bounded, c.call, w.clients, r.rate, d, wait)
		}
		return closedLoop(bounded, c.call, w.clients, d, 0)
	}
	if r.o.warmup > 0 {
		run(r.o.warmup)
	}
	envoys, theirs, known := t.used()
	ours, _ := cpu(os.Getpid())
	got := run(r.o.duration)
	envoysAfter, theirsAfter, still := t.used()
	oursAfter, _ := cpu(os.Getpid())
	t.proc.trim()
	if err := ctx.Err(); err != nil {
		return sample{}, err
	}
	if slowest := got.latency.quantile(1); w.clients == 1 && slowest > stalled {
		fmt.Fprintf(r.log, "%s, %s: one answer took %v\n", t.name, w.name, slowest.Round(time.Millisecond))
	}
	s := sample{p50: got.latency.quantile(.5), p99: got.latency.quantile(.99), p999: got.latency.quantile(.999), first: got.first.quantile(.5),
		rate: got.rate(), failed: got.failed, err: got.err}
	if known && still && got.done() > 0 {
		s.cpu = (theirsAfter - theirs) / time.Duration(got.done())
		s.envoy = (envoysAfter - envoys) / time.Duration(got.done())
	}
	s.loader = (oursAfter - ours).Seconds() / got.elapsed.Seconds() / float64(runtime.NumCPU())
	return s, nil
}
