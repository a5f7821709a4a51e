package main

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// The names of what the Envoy plane is compared with, and of itself.
const (
	plain     = "plain"            // Envoy before the upstream, nothing else
	noop      = "noop"             // and a stage that agrees with everything, with both logs
	leanEnvoy = "envoy-lean"       // Envoy before the lean proxy on a Unix socket
	carried   = "carrier-envoy"    // Sluice: the stage decides, Envoy carries
	handed    = "carrier-executor" // Sluice: the stage decides, the executor carries
	edge      = "edge"             // Sluice: no stage, the executor does everything

	noopUsage  = "noop-usage"  // noop with the two filters that read an answer's usage, which Sluice has as well
	noopBody   = "noop-body"   // noop asked about the body only, with headers as attributes
	noopEarly  = "noop-early"  // noop that ends its stream with its last answer
	noopSpeaks = "noop-speaks" // noop that says what any router must, and decides nothing
	noopOne    = "noop-1"      // noop with one worker
	carriedOne = "carrier-envoy-1"
)

// envoySoak warms processes up; memory is no bound of this plane.
const envoySoak = 5000

// envoyTargets are all names, in the order of the tables.
func envoyTargets() []string {
	return []string{direct, plain, noop, leanEnvoy, carried, handed, edge, noopSpeaks, noopUsage, noopBody, noopEarly, noopOne, carriedOne}
}

// The workloads of the Envoy plane's bounds.
const (
	streamShort = "SSE 50 events, c=32"
	streamLong  = "SSE 500 events, c=32"
	pacedShort  = "SSE 20 events 20 ms apart, c=128"
	streamPaced = "SSE 50 events 20 ms apart, c=128"
)

var envoyWorkloads = []workload{
	{name: unarySerial, model: "bench-450", request: 1 << 10, clients: 1},
	{name: unaryBusy, model: "bench-450", request: 1 << 10, clients: 32},
	{name: streamShort, model: "bench-sse50", request: 1 << 10, clients: 32},
	{name: streamLong, model: "bench-sse500", request: 1 << 10, clients: 32},
	{name: pacedShort, model: "bench-paced20", request: 1 << 10, clients: 128},
	{name: streamPaced, model: "bench-paced50", request: 1 << 10, clients: 128},
}

// envoyBed is a bed while it is being made.
type envoyBed struct {
	*bed
	o        options
	self     string
	envoy    string
	sluice   string
	wanted   []string
	upstream string // host:port
	stage    *process
	socket   string // of stage
}

// openEnvoy starts what o names of the Envoy plane.
func openEnvoy(ctx context.Context, o options, dir string) (*bed, error) {
	e := &envoyBed{bed: &bed{dir: dir}, o: o, wanted: strings.Split(o.targets, ",")}
	if err := e.open(ctx); err != nil {
		e.close()
		return nil, err
	}
	// The order of the tables, whatever the order of starting was.
	slices.SortStableFunc(e.targets, func(a, b *target) int {
		return cmp.Compare(slices.Index(envoyTargets(), a.name), slices.Index(envoyTargets(), b.name))
	})
	return e.bed, nil
}

func (e *envoyBed) wants(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(e.wanted, n) })
}

func (e *envoyBed) open(ctx context.Context) (err error) {
	if e.self, err = os.Executable(); err != nil {
		return err
	}
	if e.envoy, err = envoyBinary(e.o); err != nil {
		return err
	}
	version, err := exec.CommandContext(ctx, e.envoy, "--version").Output()
	if err != nil {
		return fmt.Errorf("%s --version: %w", e.envoy, err)
	}
	_, e.envoyVersion, _ = strings.Cut(strings.TrimSpace(string(version)), "version: ")
	null, err := e.launchNull(ctx, e.o, e.self)
	if err != nil {
		return err
	}
	e.upstream = strings.TrimPrefix(null.base, "http://")
	if e.wants(noop, noopSpeaks, noopUsage, noopBody, noopEarly, noopOne) {
		if err := e.openStage(ctx); err != nil {
			return err
		}
	}
	for _, v := range []struct {
		name string
		s    staticEnvoy
	}{
		{plain, staticEnvoy{}},
		{noop, staticEnvoy{Stage: e.socket}},
		{noopSpeaks, staticEnvoy{Stage: e.socket, Speaks: true}},
		{noopUsage, staticEnvoy{Stage: e.socket, Usage: true}},
		{noopBody, staticEnvoy{Stage: e.socket, BodyOnly: true}},
		{noopEarly, staticEnvoy{Stage: e.socket, CloseEarly: true}},
		{noopOne, staticEnvoy{Stage: e.socket, workers: 1}},
	} {
		if e.wants(v.name) {
			if err := e.openStatic(ctx, v.name, v.s, e.stage); err != nil {
				return err
			}
		}
	}
	if e.wants(leanEnvoy) {
		if err := e.openLean(ctx); err != nil {
			return err
		}
	}
	return e.openOurs(ctx)
}

// openStage starts the no-op stage that all its Envoys share; one target is measured at a time.
func (e *envoyBed) openStage(ctx context.Context) error {
	binary, err := build(ctx, e.dir, "bench/noop")
	if err != nil {
		return err
	}
	e.socket = filepath.Join(e.dir, "noop.sock")
	e.stage, err = e.start(ctx, "noop-stage", "", binary, "-socket", e.socket)
	return err
}

func (e *envoyBed) openLean(ctx context.Context) error {
	socket := filepath.Join(e.dir, "lean.sock")
	p, err := e.start(ctx, "lean-socket", "", e.self, "lean", "-listen", socketPrefix+socket, "-upstream", "http://"+e.upstream)
	if err != nil {
		return err
	}
	return e.openStatic(ctx, leanEnvoy, staticEnvoy{pipe: socket}, p)
}

// staticEnvoy is what the configurations of the other Envoys differ in.
type staticEnvoy struct {
	Host, Port, Upstream         string
	Stage                        string // socket; empty = no stage and no logs
	Usage                        bool
	BodyOnly, CloseEarly, Speaks bool

	pipe    string // instead of the null upstream
	workers int    // 0 = as all
}

//go:embed envoy.yaml.tmpl
var staticText string

// config renders the configuration of an Envoy that listens on addr.
func (s staticEnvoy) config(addr, upstream string) ([]byte, error) {
	t, err := template.New("envoy").Parse(staticText)
	if err != nil {
		return nil, err
	}
	if s.Host, s.Port, err = net.SplitHostPort(addr); err != nil {
		return nil, err
	}
	if s.Upstream = "{pipe: {path: " + s.pipe + "}}"; s.pipe == "" {
		host, port, err := net.SplitHostPort(upstream)
		if err != nil {
			return nil, err
		}
		s.Upstream = "{socket_address: {address: " + host + ", port_value: " + port + "}}"
	}
	var b bytes.Buffer
	err = t.Execute(&b, s)
	return b.Bytes(), err
}

// openStatic starts one of them; behind is the Go process that is charged with it, if any.
func (e *envoyBed) openStatic(ctx context.Context, name string, s staticEnvoy, behind *process) error {
	addr, err := freeAddress()
	if err != nil {
		return err
	}
	text, err := s.config(addr, e.upstream)
	if err != nil {
		return err
	}
	file := filepath.Join(e.dir, name+".yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	p, err := e.start(ctx, name, "http://"+addr+"/readyz", e.envoy, "-c", file, "--disable-hot-restart", "-l", "error",
		"--concurrency", strconv.Itoa(cmp.Or(s.workers, e.o.workers)))
	if err != nil {
		return err
	}
	t := &target{name: name, base: "http://" + addr, proc: p, envoy: p.cmd.Process.Pid}
	if behind != nil && (s.Stage != "" || s.pipe != "") {
		t.pids = []int{behind.cmd.Process.Pid}
	}
	e.targets = append(e.targets, t)
	return nil
}

// openOurs starts Sluice with its own, supervised Envoy: once for both carriers, once as edge, and once with one worker.
func (e *envoyBed) openOurs(ctx context.Context) error {
	if !e.wants(carried, handed, edge, carriedOne) {
		return nil
	}
	var err error
	if e.sluice, err = sluiceBinary(ctx, e.o, e.dir); err != nil {
		return err
	}
	if e.wants(carried, handed) {
		t, err := e.openSluice(ctx, carried, "filter", e.o.workers)
		if err != nil {
			return err
		}
		t.carried = "envoy"
		second := *t
		second.name, second.route, second.carried = handed, routeExecutor, "executor"
		for _, t := range []*target{t, &second} {
			if e.wants(t.name) {
				e.targets = append(e.targets, t)
			}
		}
	}
	for _, v := range []struct {
		name, mode, carried string
		workers             int
	}{{edge, "edge", "executor", e.o.workers}, {carriedOne, "filter", "envoy", 1}} {
		if !e.wants(v.name) {
			continue
		}
		t, err := e.openSluice(ctx, v.name, v.mode, v.workers)
		if err != nil {
			return err
		}
		t.carried = v.carried
		e.targets = append(e.targets, t)
	}
	return nil
}

func (e *envoyBed) openSluice(ctx context.Context, name, mode string, workers int) (*target, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddress()
	if err != nil {
		return nil, err
	}
	// Sluice starts Envoy with a worker a core, which is right but for a bench that asks for another number.
	wrapper := filepath.Join(e.dir, name+"-envoy")
	script := fmt.Sprintf("#!/bin/sh\nexec '%s' \"$@\" --concurrency %d\n", e.envoy, workers)
	if err := os.WriteFile(wrapper, []byte(script), 0o700); err != nil {
		return nil, err
	}
	file := filepath.Join(e.dir, name+"-policy.yaml")
	if err := os.WriteFile(file, []byte(envoyPolicy("http://"+e.upstream, addr, admin, mode, wrapper)), 0o600); err != nil {
		return nil, err
	}
	p, err := e.start(ctx, name, "http://"+admin+"/readyz", e.sluice, "serve", "--plane", "envoy", "--config", file)
	if err != nil {
		return nil, err
	}
	t := &target{name: name, base: "http://" + addr, proc: p, admin: admin, pids: []int{p.cmd.Process.Pid}}
	if below := children(p.cmd.Process.Pid); len(below) == 1 {
		t.envoy = below[0]
		return t, nil
	}
	return nil, fmt.Errorf("%s has not exactly one Envoy\n%s", name, p.tail())
}

// envoyBinary finds Envoy: it is never downloaded here.
func envoyBinary(o options) (string, error) {
	if given := cmp.Or(o.envoy, os.Getenv("ENVOY_PATH")); given != "" {
		return filepath.Abs(given)
	}
	cached := filepath.Join(cmp.Or(os.Getenv("SLUICE_CACHE"), ".cache"), "envoy", "envoy", "_bin", "envoy")
	if _, err := os.Stat(cached); err == nil {
		return filepath.Abs(cached)
	}
	path, err := exec.LookPath("envoy")
	if err != nil {
		return "", errors.New("no Envoy: run `make envoy`, or name one by -envoy or $ENVOY_PATH")
	}
	return path, nil
}

// proveCarrier waits for Sluice's log lines of n answers and looks who carried them: a bench of the executor under the name of Envoy would
// look fine and mean nothing.
func (t *target) proveCarrier(ctx context.Context, n int) error {
	if t.carried == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		log := t.proc.tail()
		seen := strings.Count(log, `"carried":"`)
		if good := strings.Count(log, `"carried":"`+t.carried+`"`); good == n && seen == n {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %d answers, and not all of them carried by %s:\n%s", t.name, n, t.carried, log)
		}
	}
}
