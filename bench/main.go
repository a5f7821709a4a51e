// Command bench measures what Sluice adds to a request and what it costs, beside the same request sent straight to the upstream and
// through the leanest proxy that could do a gateway's minimum. It starts every process itself, on loopback only, loads them in
// interleaved rounds and prints Markdown tables.
//
// What holds: all targets of a run answer to the same loader, the same upstream process and the same bytes, and a number is only ever
// compared with numbers of the same run and round.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the knobs of one run.
type options struct {
	quick    bool
	overload bool
	strict   bool
	rounds   int
	duration time.Duration // one measured window
	warmup   time.Duration // discarded load before each window
	soak     int           // requests before the memory is read
	starts   int           // cold starts timed for each process
	rate     float64       // open loop, requests a second; 0 = half of what the slowest target reached in the soak
	targets  string
	sluice   string // a ready binary; empty = build ./cmd/sluice
	only     string // substring of the workloads to run
	plane    string // which of Sluice's planes is measured, and beside what
	envoy    string // Envoy's binary; empty = $ENVOY_PATH, the cache of scripts/fetch, PATH
	workers  int    // Envoy's
	profiles string // folder for profiles; empty = none are taken
}

// The planes.
const (
	planeEmbedded = "embedded"
	planeEnvoy    = "envoy"
)

func (o options) workloads() []workload {
	if o.plane == planeEnvoy {
		return envoyWorkloads
	}
	return workloads
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run dispatches: the two servers are the same binary started again, so that each has its own process, heap and CPU clock.
func run(ctx context.Context, args []string, out, log io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "null":
			return serveNull(args[1:], os.Stdin)
		case "lean":
			return serveLean(args[1:], os.Stdin)
		}
	}
	o, err := parseOptions(args, log)
	if err != nil {
		return err
	}
	// The loader allocates a little for each request; fewer collections here mean less noise in everybody's numbers.
	debug.SetGCPercent(800)
	if o.overload {
		return overload(ctx, o, args, out, log)
	}
	return compare(ctx, o, args, out, log)
}

func parseOptions(args []string, log io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(log)
	fs.BoolVar(&o.quick, "quick", false, "a smoke run of about half a minute: every path, no usable figures")
	fs.BoolVar(&o.overload, "overload", false, "instead of all else: goodput and memory at two, five and ten times what the upstream can do")
	fs.BoolVar(&o.strict, "strict", false, "exit 1 if a bound is not met")
	fs.IntVar(&o.rounds, "rounds", 5, "interleaved rounds; medians are taken over them")
	fs.DurationVar(&o.duration, "duration", 2*time.Second, "measured window for each workload, target and round")
	fs.DurationVar(&o.warmup, "warmup", 300*time.Millisecond, "discarded load before each window")
	fs.IntVar(&o.soak, "soak", 100_000, "requests at c=32 on the fresh process before its memory is read")
	fs.IntVar(&o.starts, "starts", 5, "cold starts timed for each process")
	fs.Float64Var(&o.rate, "rate", 0, "open loop requests a second (0: half of what the slowest target reaches)")
	fs.StringVar(&o.plane, "plane", planeEmbedded, "embedded, or envoy: the Envoy plane beside other ways to use an Envoy")
	fs.StringVar(&o.targets, "targets", "", "what to compare, comma-separated; direct is always there (default all of the plane)")
	fs.StringVar(&o.sluice, "sluice", "", "use this binary instead of building ./cmd/sluice")
	fs.StringVar(&o.only, "only", "", "run only workloads whose name contains this")
	fs.StringVar(&o.profiles, "profile", "", "after the rounds, load each Sluice once more and write its CPU profile to this folder")
	fs.StringVar(&o.envoy, "envoy", "", "with -plane envoy: the binary (default $ENVOY_PATH, what scripts/fetch envoy brought, PATH)")
	fs.IntVar(&o.workers, "workers", runtime.NumCPU(), "with -plane envoy: Envoy's worker threads, but for the targets that try one")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	set := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { set[f.Name] = true })
	known := []string{direct, lean, sluice}
	switch o.plane {
	case planeEmbedded:
	case planeEnvoy:
		known = envoyTargets()
		if !set["soak"] {
			o.soak = envoySoak
		}
		o.starts = 1
	default:
		return o, fmt.Errorf("unknown plane %q", o.plane)
	}
	if o.quick {
		quicken(&o, set)
	}
	if o.targets == "" {
		o.targets = strings.Join(known, ",")
	}
	for name := range strings.SplitSeq(o.targets, ",") {
		if !slices.Contains(known, name) {
			return o, fmt.Errorf("unknown target %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	if o.rounds < 1 || o.soak < 1 || o.starts < 1 || o.workers < 1 || o.duration <= 0 {
		return o, errors.New("rounds, soak, starts, workers and duration must be above zero")
	}
	return o, nil
}

// quicken shortens what the command line left alone.
func quicken(o *options, set map[string]bool) {
	short := options{rounds: 2, duration: 200 * time.Millisecond, warmup: 50 * time.Millisecond, soak: 2000, starts: min(2, o.starts)}
	if !set["rounds"] {
		o.rounds = short.rounds
	}
	if !set["duration"] {
		o.duration = short.duration
	}
	if !set["warmup"] {
		o.warmup = short.warmup
	}
	if !set["soak"] {
		o.soak = short.soak
	}
	if !set["starts"] {
		o.starts = short.starts
	}
}
