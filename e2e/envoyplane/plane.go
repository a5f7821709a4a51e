// Package envoyplane puts a gateway behind a real Envoy inside the test's process: the same parts as `sluice serve --plane envoy`, but with what a
// test must hold in its hands: the records, the table of exchanges, the upstream connections.
//
// Its invariant: what it assembles differs from the binary in who looks, never in what Envoy is told or asked.
package envoyplane

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/wire"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/proxy/extproc"
	"github.com/sluice-gateway/sluice/proxy/httpproxy"
	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/telemetry"
	"github.com/sluice-gateway/sluice/xds"
)

// Options are what a plane is made of. Policy must be set.
type Options struct {
	Policy *policies.Policy
	Emit   func(*telemetry.Record)                                           // beside Records; nil = nobody
	Dial   func(ctx context.Context, network, addr string) (net.Conn, error) // of the executor; nil = the network's
	Jitter func() float64                                                    // of the executor's pauses; nil = random
	Claim  func(http.Handler) http.Handler                                   // around the executor that claims; nil = none
	Params func(*xds.Params)                                                 // last word on what Envoy is told; nil = none
	Built  func(*xds.Resources)                                              // last word on the resources; nil = none
	Stage  func(*extproc.Options)                                            // last word on the stage; nil = none
	Envoy  string                                                            // binary; "" = Binary's
	Logger *slog.Logger                                                      // nil = the test's log
	Level  string                                                            // Envoy's log level; "" = warning
}

// Plane is a running gateway with one Envoy in front.
type Plane struct {
	URL      string // http://host:port of Envoy's listener
	Addr     string // its host:port
	Gateway  *proxy.Gateway
	Table    *proxy.Table
	Stage    *extproc.Server
	Control  *xds.Server
	Executor *httpproxy.Handler
	Params   xds.Params

	t        testing.TB
	log      *slog.Logger
	process  *envoy.Process
	mu       sync.Mutex
	built    func(*xds.Resources)
	tried    int       // releases, refused ones among them
	releases []release // ascending
	records  []*telemetry.Record
	stop     []func() // in order
}

// release is a published policy.
type release struct {
	generation int
	snapshot   *proxy.Snapshot
	resources  *xds.Resources
}

const patience = time.Minute

// Binary finds the Envoy of $ENVOY_PATH, or the one that scripts/fetch put there.
func Binary(t testing.TB) string {
	t.Helper()
	given := os.Getenv("ENVOY_PATH")
	if given == "" {
		cache := os.Getenv("SLUICE_CACHE")
		if cache == "" {
			_, here, _, _ := runtime.Caller(0)
			cache = filepath.Join(filepath.Dir(here), "..", "..", ".cache")
		}
		given = filepath.Join(cache, "envoy", "envoy", "_bin", "envoy")
	}
	path, _, err := envoy.Find(t.Context(), given)
	if err != nil {
		t.Fatalf("%v (scripts/fetch envoy)", err)
	}
	return path
}

// Compile loads a policy whose secrets are made of their variables' names.
func Compile(t testing.TB, src []byte) *policies.Policy {
	t.Helper()
	p, problems := policies.LoadBytes("policy.yaml", src, policies.Options{
		Presets: providers.Presets(),
		Env:     func(name string) (string, bool) { return "secret-of-" + name, true },
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return p
}

// Start starts a plane and returns when Envoy has the policy; the test's end stops it.
func Start(t testing.TB, o Options) *Plane {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	dir, err := os.MkdirTemp("", "sluice-") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &Plane{t: t, log: o.Logger, built: o.Built, Table: proxy.NewTable(), Params: params(dir)}
	var release func()
	if p.Addr, release, err = envoy.Reserve("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	p.Params.Listen, p.URL = p.Addr, "http://"+p.Addr
	if o.Params != nil {
		o.Params(&p.Params)
	}
	p.assemble(o)
	t.Cleanup(p.Stop)
	p.serve(o)
	if err := p.publish(o.Policy, p.Gateway.Snapshot()); err != nil {
		t.Fatal(err)
	}
	if o.Envoy == "" {
		o.Envoy = Binary(t)
	}
	p.launch(o.Envoy, o.Level)
	return p
}

// params are what `sluice serve` tells Envoy.
func params(dir string) xds.Params {
	in := func(name string) string { return filepath.Join(dir, name) }
	return xds.Params{
		Control: in("control.sock"), Claim: in("claim.sock"), Edge: in("edge.sock"), Admin: in("admin.sock"),
		SystemCA: envoy.SystemCA(), LogHeaders: providers.LimitHeaders(),
		Health: func(p *policies.Provider) string {
			if !p.Own {
				return ""
			}
			return providers.EngineOf(p).Health
		},
		Usage: []xds.UsageField{
			{Key: wire.KeyInput, Path: []string{"usage", "prompt_tokens"}},
			{Key: wire.KeyOutput, Path: []string{"usage", "completion_tokens"}},
			{Key: wire.KeyCached, Path: []string{"usage", "prompt_tokens_details", "cached_tokens"}},
		},
	}
}

func (p *Plane) assemble(o Options) {
	panicked := func(v any, stack []byte) { p.t.Errorf("panic: %v\n%s", v, stack) }
	emit := func(r *telemetry.Record) {
		if o.Emit != nil {
			o.Emit(r)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.records = append(p.records, r)
	}
	p.Gateway = proxy.NewGateway(o.Policy, proxy.Options{Router: router.New(router.Options{}), Emit: emit, Jitter: o.Jitter})
	p.Executor = httpproxy.New(p.Gateway, panicked)
	p.Executor.Dial = o.Dial
	so := extproc.Options{Gateway: p.Gateway, Table: p.Table, Clusters: p.cluster, Snapshot: p.snapshot, Logger: p.log, Panicked: panicked}
	if o.Stage != nil {
		o.Stage(&so)
	}
	p.Stage = extproc.New(so)
	p.Control = xds.NewServer(xds.Options{Logger: p.log, Register: p.Stage.Register, Codec: extproc.Codec(), MaxMessage: int(max(64<<20, o.Policy.Server.BodyLimit+16<<20)), Grace: 100 * time.Millisecond})
}

// serve opens the sockets.
func (p *Plane) serve(o Options) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	open := func(at string) net.Listener {
		l, err := envoy.ListenSocket(at)
		if err != nil {
			p.t.Fatal(err)
		}
		return l
	}
	control := open(p.Params.Control)
	running.Go(func() {
		if err := p.Control.Serve(ctx, control); err != nil && ctx.Err() == nil {
			p.t.Errorf("control plane: %v", err)
		}
	})
	running.Go(func() { p.Stage.Run(ctx) })
	claim := p.Executor.Executor(p.Table)
	if o.Claim != nil {
		claim = o.Claim(claim)
	}
	var servers []*http.Server
	for at, h := range map[string]http.Handler{p.Params.Claim: claim, p.Params.Edge: p.Executor.Edge()} {
		s := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.NewTextHandler(io.Discard, nil), slog.LevelDebug)}
		servers = append(servers, s)
		l := httpproxy.Listen(s, open(at))
		running.Go(func() { _ = s.Serve(l) })
	}
	p.stop = append(p.stop, func() {
		for _, s := range servers {
			_ = s.Close()
		}
		cancel()
		running.Wait()
		p.Executor.Close()
	})
}

// launch starts Envoy and waits for its word.
func (p *Plane) launch(binary, level string) {
	p.t.Helper()
	boot, err := xds.Bootstrap(p.Params)
	if err != nil {
		p.t.Fatal(err)
	}
	exited := make(chan error, 1)
	p.process = &envoy.Process{Path: binary, Bootstrap: boot, Admin: p.Params.Admin, Concurrency: 1, LogLevel: level, Logger: p.log,
		Exited: func(err error) {
			select {
			case exited <- err:
			default:
			}
		}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.process.Run(ctx) }()
	p.stop = append([]func(){func() {
		cancel()
		if err := <-done; err != nil {
			p.t.Errorf("envoy: %v", err)
		}
	}}, p.stop...)
	deadline := time.After(patience)
	for p.Control.Generation(p.node()) == 0 || p.process.Live(ctx) != nil {
		select {
		case <-time.After(5 * time.Millisecond):
		case err := <-exited:
			p.t.Fatalf("Envoy did not start: %v", err)
		case <-deadline:
			p.t.Fatalf("Envoy did not take the policy: %+v", p.Control.Status())
		}
	}
}

func (p *Plane) node() string {
	if p.Params.NodeID != "" {
		return p.Params.NodeID
	}
	return "sluice"
}

// publish brings a policy to Envoy; it waits only where an Envoy is there.
func (p *Plane) publish(policy *policies.Policy, s *proxy.Snapshot) error {
	r, err := xds.Build(policy, p.Params)
	if err != nil {
		return err
	}
	if p.built != nil {
		p.built(r)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p.mu.Lock()
	p.tried++
	generation := p.tried
	p.mu.Unlock()
	if err := p.Control.Publish(ctx, r, generation); err != nil {
		return fmt.Errorf("generation %d: %w", generation, err)
	}
	if s == nil {
		s = p.Gateway.Swap(policy)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.releases = append(p.releases, release{generation, s, r})
	return nil
}

// Replace is a reload: Envoy gets the policy, acknowledges it, and then it is in force.
func (p *Plane) Replace(policy *policies.Policy) error { return p.publish(policy, nil) }

// following calls f with the releases that Envoy has, the newest first, until it returns true.
func (p *Plane) following(node string, f func(release) bool) {
	at := p.Control.Generation(node)
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.releases) - 1; i >= 0; i-- {
		if r := p.releases[i]; r.generation <= at && f(r) {
			return
		}
	}
}

func (p *Plane) snapshot(node string) (s *proxy.Snapshot) {
	p.following(node, func(r release) bool { s = r.snapshot; return true })
	return s
}

func (p *Plane) cluster(node string, to *policies.Provider, limit time.Duration) (name string, ok bool) {
	p.following(node, func(r release) bool {
		if r.snapshot.Policy.Providers[to.Name] != to {
			return false
		}
		name, ok = r.resources.Cluster(to.Name, limit)
		return true
	})
	return name, ok
}

// Records returns the records so far.
func (p *Plane) Records() []*telemetry.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*telemetry.Record(nil), p.records...)
}

// Settled waits until the n-th exchange has ended and returns the records.
func (p *Plane) Settled(n int) []*telemetry.Record {
	p.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if r := p.Records(); len(r) >= n {
			return r
		}
	}
	p.t.Fatalf("exchange %d never ended; the stage: %+v", n, p.Stage.Counts())
	return nil
}

// Ask asks Envoy's admin interface.
func (p *Plane) Ask(method, path string) string {
	p.t.Helper()
	c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", p.Params.Admin)
	}}}
	r, err := http.NewRequest(method, "http://admin"+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	a, err := c.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

// Stop ends Envoy and then what it spoke to.
func (p *Plane) Stop() {
	stop := p.stop
	p.stop = nil
	for _, f := range stop {
		f()
	}
}
