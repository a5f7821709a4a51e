package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/admin"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/proxy/httpproxy"
	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/telemetry"
	"github.com/sluice-gateway/sluice/xds"
)

// Limits of the listeners, and of what happens in the background.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 120 * time.Second
	headerBytes   = 64 << 10
	probeEvery    = 2 * time.Second
	refreshEvery  = 10 * time.Second
	flushLimit    = 3 * time.Second // for telemetry at the end
)

// addresses are where a server listens.
type addresses struct{ data, admin net.Addr }

// server is a running gateway: the listeners and what goes on behind them.
type server struct {
	log      *slog.Logger
	sink     *telemetry.Sink
	store    store
	gateway  *proxy.Gateway
	plane    *httpproxy.Handler
	envoy    *envoyPlane // nil with the embedded plane
	ballast  []byte
	cert     *certificate // nil without TLS, and where Envoy has it
	reload   *reloader    // nil without a file
	outcomes *outcomeLog
	tenancy  tenancy
	audit    *admin.Audit

	data, admin *http.Server
	addr        addresses
	failed      chan error // a listener that ended by itself
	background  sync.WaitGroup
	ctx         context.Context
	cancel      context.CancelFunc
}

// newServer puts a gateway together. Nothing listens yet. Access lines go to lines as JSON, to the log where lines is nil.
func newServer(w *world, p *policies.Policy, log *slog.Logger, lines io.Writer) (*server, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.ctx))
	s := &server{log: log, ctx: ctx, cancel: cancel, failed: make(chan error, 2), ballast: ballast(w.env, planeBallast)}
	var err error
	if p.Server.TLSCert != "" {
		if s.cert, err = newCertificate(p.Server.TLSCert, p.Server.TLSKey); err != nil {
			cancel()
			return nil, err
		}
	}
	s.sink, err = telemetry.New(ctx, telemetry.Options{ServiceVersion: version(), OTLPEndpoint: p.Telemetry.OTLPEndpoint,
		AccessLog: p.Telemetry.AccessLog, Logger: log, Lines: lines})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	if err := s.openStore(w, p); err != nil {
		cancel()
		return nil, err
	}
	if err := s.openTenants(p); err != nil {
		cancel()
		return nil, err
	}
	s.outcomes = &outcomeLog{log: log, folder: s.store.folder}
	s.gateway = proxy.NewGateway(p, proxy.Options{Router: router.New(router.Options{Shared: s.tenancy.shared != nil}), Emit: s.sink.Emit, Ledger: s.store.ledger, Outcome: s.outcomes.take, Store: s.tenancy.store, Shared: s.tenancy.recorded()})
	_ = s.gateway.Ring().Refresh(ctx) // a store that is away is told of, and asked again in the background
	s.plane = httpproxy.New(s.gateway, s.panicked)
	if err := s.sink.Observe(sources(s.gateway)); err != nil {
		cancel()
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	s.sink.Reload(true)
	quiet := slog.NewLogLogger(log.Handler(), slog.LevelDebug) // what net/http says of clients' connections
	s.data = &http.Server{Handler: s.plane, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerBytes, ErrorLog: quiet, Protocols: protocols(s.cert != nil)}
	if s.cert != nil {
		s.data.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.cert.current}
	}
	s.admin = &http.Server{
		Handler: admin.Handler(admin.Options{
			Gateway: s.gateway, Metrics: s.sink.Handler(), Version: version(), Audit: s.audit, Ledger: s.store.ledger, Reload: s.loadError, Envoys: s.envoys, Unready: s.unready,
		}),
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerBytes, ErrorLog: quiet,
	}
	return s, nil
}

// protocols are HTTP/1.1 and HTTP/2, the latter also in the clear (prior knowledge) where there is no TLS.
func protocols(encrypted bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(encrypted)
	p.SetUnencryptedHTTP2(!encrypted)
	return p
}

// panicked records a recovered panic. Its value may hold a client's text, so only its type is shown unless the runtime made it.
func (s *server) panicked(v any, stack []byte) {
	s.sink.Panic()
	text := fmt.Sprintf("a %T", v)
	if err, ok := v.(runtime.Error); ok {
		text = err.Error()
	}
	s.log.Error("recovered from a panic", "panic", text, "stack", string(stack))
}

// watchFile makes start follow the policy's file, of which src is what was read.
func (s *server) watchFile(path string, src []byte, o policies.Options) {
	s.reload = newReloader(path, src, o, s)
}

// start listens, and begins what goes on in the background.
func (s *server) start() error {
	p := s.gateway.Snapshot().Policy
	control, err := net.Listen("tcp", p.Server.Admin)
	if err != nil {
		return s.abandon(fmt.Errorf("server.admin: %w", err))
	}
	s.addr.admin = control.Addr()
	s.serve(func() error { return s.admin.Serve(control) })
	if err := s.startPlane(p); err != nil {
		_ = s.admin.Close()
		return s.abandon(err)
	}
	probe := prober{s.plane}
	s.background.Go(func() { s.gateway.Pools().Watch(s.ctx, probe.probe, probeEvery) })
	if s.reload != nil {
		s.background.Go(func() { s.reload.run(s.ctx) })
	}
	s.background.Go(s.refresh)
	if s.store.ledger != nil {
		s.background.Go(func() {
			s.store.ledger.Retain(s.ctx, func() time.Duration { return s.gateway.Snapshot().Policy.State.Keep })
		})
	}
	s.background.Go(func() { s.gateway.Ring().Watch(s.ctx) })
	return nil
}

// serve runs a listener's server until it is closed.
func (s *server) serve(run func() error) {
	s.background.Go(func() {
		if err := run(); !errors.Is(err, http.ErrServerClosed) {
			s.fail(err)
		}
	})
}

// fail ends the process for something that ended by itself; the first reason is enough.
func (s *server) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// startPlane opens the data listener: ours, or Envoy's.
func (s *server) startPlane(p *policies.Policy) error {
	if s.envoy != nil {
		s.addr.data, _ = net.ResolveTCPAddr("tcp", s.envoy.params.Listen) // for the log; Envoy says what is wrong with it
		return s.envoy.start(s.ctx, s.fail)
	}
	data, err := net.Listen("tcp", p.Server.Listen)
	if err != nil {
		return fmt.Errorf("server.listen: %w", err)
	}
	s.addr.data = data.Addr()
	s.serve(func() error {
		if s.cert != nil {
			return s.data.ServeTLS(data, "", "")
		}
		return s.data.Serve(httpproxy.Listen(s.data, data))
	})
	return nil
}

// behindEnvoy has Envoys carry the data plane. Nothing is started yet.
func (s *server) behindEnvoy(w *world, o envoyFlags) (err error) {
	s.cert = nil // Envoy reads the files
	s.ballast = ballast(w.env, stageBallast)
	if s.envoy, err = newEnvoyPlane(s, o, s.plane); err == nil && s.envoy.process != nil {
		shareProcessors(w, s.gateway.Snapshot().Policy.Server.EnvoyMode)
	}
	return err
}

func (s *server) envoys() []xds.NodeStatus {
	if s.envoy == nil {
		return []xds.NodeStatus{}
	}
	return s.envoy.control.Status()
}

func (s *server) unready() string {
	if s.envoy == nil {
		return ""
	}
	return s.envoy.unready()
}

// abandon gives up a server that did not start.
func (s *server) abandon(err error) error {
	if s.envoy != nil {
		s.envoy.abandon()
	}
	s.cancel()
	s.closeTenants()
	s.store.close(s.log)
	return errors.Join(err, s.flush())
}

func (s *server) url() string {
	scheme := "http"
	if s.gateway.Snapshot().Policy.Server.TLSCert != "" {
		scheme = "https"
	}
	return scheme + "://" + s.addr.data.String() + "/v1"
}

// refresh reads secrets and certificates again from time to time.
func (s *server) refresh() {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		s.refreshNow()
	}
}

func (s *server) refreshNow() {
	if n, err := s.gateway.Snapshot().Policy.RefreshSecrets(); err != nil {
		s.log.Error("secrets not read again; the old ones stay", "error", err)
	} else if n > 0 {
		s.log.Info("secrets read again", "changed", n)
	}
	if s.cert == nil {
		return
	}
	if changed, err := s.cert.refresh(); err != nil {
		s.log.Error("certificate not read again; the old one stays", "error", err)
	} else if changed {
		s.log.Info("certificate read again")
	}
}

// reloadNow is SIGHUP.
func (s *server) reloadNow() {
	s.refreshNow()
	if s.reload != nil {
		s.reload.ask()
	}
}

func (s *server) loadError() *admin.LoadError {
	if s.reload == nil {
		return nil
	}
	return s.reload.failure.Load()
}

// stop makes the gateway unready, goes on accepting for the time of notice, stops accepting and lets what is open finish within the limit, or until one
// more signal to stop. What is open then gets a last word.
func (s *server) stop(notice, limit time.Duration, signals <-chan os.Signal) error {
	s.gateway.Drain()
	s.log.Info("stopping", "in_flight", s.gateway.Inflight(), "notice", notice.String(), "limit", limit.String())
	ctx, cancel := context.WithTimeout(context.Background(), notice+limit)
	defer cancel()
	hurry := make(chan struct{})
	defer close(hurry)
	go func() {
		for {
			select {
			case <-hurry:
				return
			case sig, ok := <-signals:
				if !ok || stops(sig) {
					cancel()
					return
				}
			}
		}
	}()
	if notice > 0 {
		select {
		case <-time.After(notice):
		case <-ctx.Done():
		}
	}
	if err := s.stopPlane(ctx); err != nil {
		s.log.Warn("requests cut off", "in_flight", s.gateway.Inflight(), "error", err)
	}
	s.cancel()
	_ = s.admin.Close()
	s.settle()
	s.background.Wait()
	s.plane.Close()
	s.gateway.Close()
	s.outcomes.close()
	s.closeTenants()
	s.store.close(s.log)
	err := s.flush()
	if err != nil {
		s.log.Warn("telemetry not sent", "error", err)
	}
	return nil
}

// stopPlane lets the data plane finish until ctx ends.
func (s *server) stopPlane(ctx context.Context) error {
	if s.envoy != nil {
		return s.envoy.stop(ctx)
	}
	err := s.data.Shutdown(ctx)
	if err != nil {
		lastWords(s.plane, s.data)
	}
	return err
}

// lastWord is how long clients may take to read why their answer ends.
const lastWord = time.Second

// lastWords ends what is open with a word of it, and then whatever did not take it.
func lastWords(plane *httpproxy.Handler, servers ...*http.Server) {
	plane.Interrupt()
	ctx, cancel := context.WithTimeout(context.Background(), lastWord)
	defer cancel()
	for _, s := range servers {
		if s.Shutdown(ctx) != nil {
			_ = s.Close() // closing again what Shutdown has closed is no news
		}
	}
}

// settle waits a moment for exchanges whose connections were cut: their records come from their own goroutines.
func (s *server) settle() {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 200 {
		if s.gateway.Inflight() == 0 {
			return
		}
		<-tick.C
	}
}

func (s *server) flush() error {
	ctx, cancel := context.WithTimeout(context.Background(), flushLimit)
	defer cancel()
	return s.sink.Shutdown(ctx)
}

// sources are what the gauges show.
func sources(g *proxy.Gateway) telemetry.Sources {
	states := map[string]int64{"half-open": 1, "open": 2}
	return telemetry.Sources{
		InFlight: g.Inflight,
		Breakers: func(yield func(telemetry.BreakerState) bool) {
			for _, b := range g.Breakers() {
				target := b.Endpoint
				if target == "" {
					target = b.Credential
				}
				if !yield(telemetry.BreakerState{Provider: b.Provider, Model: b.Model, Target: target, State: states[b.State]}) {
					return
				}
			}
		},
		Retries: func(yield func(telemetry.RetryState) bool) {
			for _, r := range g.Retries() {
				if !yield(telemetry.RetryState{Provider: r.Provider, Model: r.Model, Tokens: int64(r.Tokens)}) {
					return
				}
			}
		},
		Endpoints: func(yield func(telemetry.EndpointState) bool) {
			for _, p := range g.Pools().Pools() {
				for _, e := range p.Status() {
					up := e.State.String() == "ready" || e.State.String() == "unknown"
					if !yield(telemetry.EndpointState{Provider: p.Name(), Endpoint: e.Host, Healthy: up, InFlight: int64(e.Inflight), Tokens: int64(e.Tokens)}) {
						return
					}
				}
			}
		},
	}
}
