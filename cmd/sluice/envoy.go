package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/proxy/extproc"
	"github.com/sluice-gateway/sluice/proxy/httpproxy"
	"github.com/sluice-gateway/sluice/xds"
)

// Limits of what the Envoy plane waits for.
const (
	firstAck    = 60 * time.Second // of the Envoy at the start
	reloadAck   = 15 * time.Second // of every Envoy at a reload
	lastLogs    = 2 * time.Second  // of requests that have ended, at a stop
	retireEvery = time.Second
	roomForHead = 16 << 20 // of a message of the stage, beside the body
	socketBytes = 100      // longest path of a Unix socket that every system takes, with some to spare
)

// release is a policy that some Envoy may still follow.
type release struct {
	generation int // first publication of it
	republish  []int
	snapshot   *proxy.Snapshot
	resources  *xds.Resources
	idle       bool // nothing was open when last looked at
}

// envoyPlane is the data plane of `--plane envoy`: the control plane, the stage and the executors on sockets of a folder of their own, and one
// Envoy unless others start theirs.
type envoyPlane struct {
	log     *slog.Logger
	gateway *proxy.Gateway
	dir     string
	private bool // dir is ours to remove
	params  xds.Params
	control *xds.Server
	stage   *extproc.Server
	plane   *httpproxy.Handler // the executor
	claim   *http.Server
	edge    *http.Server
	process *envoy.Process // nil: Envoys are started by somebody else
	listen  []net.Listener

	releases   atomic.Pointer[[]*release] // ascending; the last one is in force
	replacing  sync.Mutex
	generation int      // of the last publication
	refused    *refusal // of the policy that was tried last

	running     sync.WaitGroup
	endControl  context.CancelFunc
	endProcess  context.CancelFunc
	processDone chan struct{}
	exited      chan error
}

// shareProcessors leaves half of the processors to an Envoy of our own, which in filter mode takes most of what a request costs. A message for the stage
// wakes an idle thread if there is one, which finds the work done by the one that is awake: with a thread for each processor that was a sixth of what
// the stage costs. Whoever sets GOMAXPROCS gets what he asks for.
func shareProcessors(w *world, mode string) {
	if _, tuned := w.env("GOMAXPROCS"); tuned || w.threads == nil || mode == "edge" {
		return
	}
	w.threads((w.threads(0) + 1) / 2)
}

// refusal is a policy that an Envoy did not take.
type refusal struct {
	version string
	err     error
}

// newEnvoyPlane puts the plane together and opens its sockets. An Envoy that is needed and not there is an error here.
func newEnvoyPlane(s *server, o envoyFlags, executor *httpproxy.Handler) (*envoyPlane, error) {
	p := s.gateway.Snapshot().Policy
	e := &envoyPlane{log: s.log, gateway: s.gateway, exited: make(chan error, 1), processDone: make(chan struct{})}
	e.releases.Store(&[]*release{})
	if err := e.prepare(s.ctx, p, o); err != nil {
		return nil, errors.Join(err, e.clean())
	}
	table := proxy.NewTable()
	e.stage = extproc.New(extproc.Options{Gateway: s.gateway, Table: table, Clusters: e.cluster, Snapshot: e.serving, Logger: s.log, Panicked: s.panicked})
	e.control = xds.NewServer(xds.Options{Logger: s.log, Register: e.stage.Register, Codec: extproc.Codec(), MaxMessage: int(max(64<<20, p.Server.BodyLimit+roomForHead)), Grace: time.Second})
	quiet := slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)
	e.plane = executor
	e.claim = &http.Server{Handler: executor.Executor(table), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: 2 * headerBytes, ErrorLog: quiet}
	e.edge = &http.Server{Handler: executor.Edge(), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: 2 * headerBytes, ErrorLog: quiet}
	return e, nil
}

// prepare finds the Envoy, the folder and the addresses, and listens.
func (e *envoyPlane) prepare(ctx context.Context, p *policies.Policy, o envoyFlags) (err error) {
	if e.dir, e.private, err = stateFolder(o.State); err != nil {
		return err
	}
	if e.params, err = planeParams(p, o, e.dir); err != nil {
		return err
	}
	if p.Server.EnvoyBinary != "external" {
		if err := e.supervise(ctx, p); err != nil {
			return err
		}
	}
	for _, at := range []string{e.params.Control, e.params.Claim, e.params.Edge} {
		l, err := o.open(at)
		if err != nil {
			return err
		}
		e.listen = append(e.listen, l)
	}
	return nil
}

// supervise prepares our own Envoy.
func (e *envoyPlane) supervise(ctx context.Context, p *policies.Policy) error {
	given := p.Server.EnvoyBinary
	if given == "auto" {
		given = ""
	}
	path, v, err := envoy.Find(ctx, given)
	if err != nil {
		return err
	}
	boot, err := xds.Bootstrap(e.params)
	if err != nil {
		return err
	}
	e.log.Info("envoy found", "path", path, "version", v.String())
	e.process = &envoy.Process{Path: path, Bootstrap: boot, Admin: e.params.Admin, DrainTime: xds.Longest(p) + time.Minute, Logger: e.log, Exited: func(err error) {
		select {
		case e.exited <- err:
		default:
		}
	}}
	return nil
}

// stateFolder returns the folder of the sockets, which nobody else may enter: the one given, or a new one to be removed at the end.
func stateFolder(given string) (dir string, private bool, err error) {
	if given == "" {
		dir, err = os.MkdirTemp("", "sluice-")
		return dir, true, err
	}
	if dir, err = filepath.Abs(given); err != nil {
		return "", false, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", false, err
	}
	if len(filepath.Join(dir, "control.sock")) > socketBytes {
		return "", false, fmt.Errorf("%s: the path is too long for Unix sockets in it", dir)
	}
	return dir, false, nil
}

// start serves, publishes the policy in force and, unless Envoys are started elsewhere, returns when ours answers clients.
func (e *envoyPlane) start(ctx context.Context, failed func(error)) error {
	snapshot := e.gateway.Snapshot()
	r, err := xds.Build(snapshot.Policy, e.params)
	if err != nil {
		return errors.Join(err, e.clean())
	}
	controlled, endControl := context.WithCancel(context.WithoutCancel(ctx))
	e.endControl = endControl
	e.running.Go(func() {
		if err := e.control.Serve(controlled, e.listen[0]); err != nil && controlled.Err() == nil {
			failed(fmt.Errorf("control plane: %w", err))
		}
	})
	for i, h := range []*http.Server{e.claim, e.edge} {
		e.running.Go(func() {
			if err := h.Serve(httpproxy.Listen(h, e.listen[1+i])); !errors.Is(err, http.ErrServerClosed) {
				failed(fmt.Errorf("executor: %w", err))
			}
		})
	}
	e.running.Go(func() { e.stage.Run(controlled) })
	e.running.Go(func() { e.retire(controlled) })
	e.generation = 1
	e.releases.Store(&[]*release{{generation: 1, snapshot: snapshot, resources: r}})
	if err := e.control.Publish(ctx, r, 1); err != nil {
		return err
	}
	e.uncarried(r)
	if e.process == nil {
		close(e.processDone)
		e.log.Info("envoys are started elsewhere", "control", e.params.Control)
		return nil
	}
	supervised, endProcess := context.WithCancel(controlled)
	e.endProcess = endProcess
	go func() {
		defer close(e.processDone)
		if err := e.process.Run(supervised); err != nil {
			failed(err)
		}
	}()
	return e.awaitFirst(ctx, snapshot.Policy)
}

// awaitFirst waits for our Envoy to take the first policy.
func (e *envoyPlane) awaitFirst(ctx context.Context, p *policies.Policy) error {
	ctx, cancel := context.WithTimeout(ctx, firstAck)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if e.unready() == "" && e.process.Live(ctx) == nil {
			return nil
		}
		if ps := e.rejections(p, 1); len(ps) > 0 {
			return ps
		}
		select {
		case <-tick.C:
		case err := <-e.exited:
			return fmt.Errorf("envoy did not start (%w); its reasons are in the log", err)
		case <-ctx.Done():
			return fmt.Errorf("envoy did not take the policy within %s", firstAck)
		}
	}
}

// unready says why no request should come here: our Envoy is down or has no policy yet. Others' Envoys are others' to watch.
func (e *envoyPlane) unready() string {
	if e.process == nil {
		return ""
	}
	for _, n := range e.control.Status() {
		if n.Connected && n.Ready > 0 {
			return ""
		}
	}
	return "no Envoy has acknowledged a policy"
}

// uncarried tells which providers the executor carries for, although routes say carrier: envoy.
func (e *envoyPlane) uncarried(r *xds.Resources) {
	for name, why := range r.Uncarried {
		e.log.Warn("the executor carries for a provider that a route gives to Envoy", "provider", name, "why", why)
	}
}

// stop lets Envoy and what it carries finish until ctx ends, and then ends both. The caller has made the gateway unready.
func (e *envoyPlane) stop(ctx context.Context) error {
	var err error
	if e.process != nil {
		err = e.process.Drain(ctx)
	} else {
		err = e.quiet(ctx)
	}
	if err != nil { // Envoy is still there to carry the last words
		e.plane.Interrupt()
		words, done := context.WithTimeout(context.WithoutCancel(ctx), lastWord)
		_ = e.quiet(words) // what Envoy itself carries does not end by this
		done()
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLogs)
	defer cancel()
	e.stage.Shutdown(last)
	e.end()
	for _, h := range []*http.Server{e.claim, e.edge} {
		if h.Shutdown(ctx) != nil {
			_ = h.Close() // closing again what Shutdown has closed is no news
		}
	}
	e.endControl()
	e.running.Wait()
	return errors.Join(err, e.clean())
}

// quiet waits until nothing is open.
func (e *envoyPlane) quiet(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for e.gateway.Inflight() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// end ends our Envoy and waits for it.
func (e *envoyPlane) end() {
	if e.endProcess != nil {
		e.endProcess()
		<-e.processDone
	}
}

// abandon gives up a plane that did not start.
func (e *envoyPlane) abandon() {
	e.end()
	_ = e.claim.Close()
	_ = e.edge.Close()
	if e.endControl != nil {
		e.endControl()
	}
	e.running.Wait()
	_ = e.clean()
}

// clean closes what listens and removes the folder if it is ours.
func (e *envoyPlane) clean() error {
	for _, l := range e.listen {
		_ = l.Close() // most are closed by their servers
	}
	if e.private {
		return os.RemoveAll(e.dir)
	}
	return nil
}
