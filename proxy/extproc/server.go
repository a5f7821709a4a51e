package extproc

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sluice-gateway/sluice/internal/wire"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/proxy"
)

// Options are what a server is made of. Gateway, Table and Clusters must be set.
type Options struct {
	Gateway *proxy.Gateway
	Table   *proxy.Table // the executor's too
	// Clusters names the cluster by which the Envoy node reaches the provider when an answer may take limit in all. False: that Envoy has none
	// that fits, and the executor carries.
	Clusters func(node string, p *policies.Provider, limit time.Duration) (cluster string, ok bool)
	// Snapshot is the policy that serves the Envoy node's requests; nil = the one in force for all.
	Snapshot func(node string) *proxy.Snapshot
	Logger   *slog.Logger              // nil = slog.Default
	Panicked func(v any, stack []byte) // told of every recovered panic; nil = nobody
	Grace    time.Duration             // how long a log may be late before the sweep ends its exchange; 5 s
}

// Counts are what a server has seen since its start, but for Streams and Waiting, which are of now.
type Counts struct {
	Streams, Waiting   int64 // open streams of ext_proc; exchanges in the table
	Direct, Handed     int64 // exchanges that Envoy carried, or was told to give to the executor
	Defaulted          int64 // executor answers to requests whose metadata or id got lost in Envoy
	Violations, Panics int64
	UnknownLogs        int64 // entries of exchanges that the table does not hold: they were the executor's, or came late
	Late, Swept        int64
}

// Server is the external processor and the receiver of access logs.
type Server struct {
	o Options

	mu      sync.Mutex
	streams map[*stream]struct{}
	closing bool

	direct, handed, defaulted, violations, panics, unknown atomic.Int64
}

// New makes a server; Register puts it on a gRPC server, Run keeps its table clean.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Grace == 0 {
		o.Grace = 5 * time.Second
	}
	return &Server{o: o, streams: map[*stream]struct{}{}}
}

// Register offers both services to a gRPC server whose codec is Codec. A message of ext_proc holds a whole body, so it must take messages somewhat
// larger than body_limit.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	serve := func(service, method string, f func(grpc.ServerStream) error) {
		r.RegisterService(&grpc.ServiceDesc{ServiceName: service, Streams: []grpc.StreamDesc{{
			StreamName: method, ClientStreams: true, ServerStreams: true, Handler: func(_ any, g grpc.ServerStream) error { return f(g) },
		}}}, nil)
	}
	serve("envoy.service.ext_proc.v3.ExternalProcessor", "Process", s.process)
	serve("envoy.service.accesslog.v3.AccessLogService", "StreamAccessLogs", s.logs)
}

// Counts returns what the server has seen.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	c := Counts{Streams: int64(len(s.streams))}
	s.mu.Unlock()
	c.Waiting, c.Late, c.Swept = s.o.Table.Counts()
	c.Direct, c.Handed, c.Defaulted = s.direct.Load(), s.handed.Load(), s.defaulted.Load()
	c.Violations, c.Panics, c.UnknownLogs = s.violations.Load(), s.panics.Load(), s.unknown.Load()
	return c
}

// Run ends, once a second, exchanges whose log was lost; it returns when ctx ends.
func (s *Server) Run(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			if n := s.o.Table.Sweep(now, s.o.Grace, settleUnseen); n > 0 {
				s.o.Logger.Warn("exchanges ended without their access log", "exchanges", n)
			}
		case <-ctx.Done():
			return
		}
	}
}

// settleUnseen ends an exchange whose log never came: it was answered, with what length nobody knows.
func settleUnseen(x *proxy.Exchange) {
	if x.Owner() == proxy.OwnerDirect {
		x.Settle(proxy.DirectEnd{})
	}
}

// Shutdown answers or cuts what Envoy still has in flight and takes no stream any more; it waits for the last logs until ctx ends, and then
// does without them. Exchanges that the executor claimed are the executor's to end. Envoy must have drained before.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	open := make([]*stream, 0, len(s.streams))
	for st := range s.streams {
		open = append(open, st)
	}
	s.mu.Unlock()
	for _, st := range open {
		go st.interrupt() // an Envoy that does not read holds up its own streams only
	}
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for {
		if waiting, _, _ := s.o.Table.Counts(); waiting == 0 {
			return
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			s.o.Table.Sweep(time.Now().Add(1000*time.Hour), 0, settleUnseen)
			return
		}
	}
}

// process serves one request's stream.
func (s *Server) process(g grpc.ServerStream) error {
	st := &stream{s: s, g: g, node: wire.Node}
	if node := metadata.ValueFromIncomingContext(g.Context(), wire.HeaderNode); len(node) == 1 {
		st.node = node[0]
	}
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return status.Error(codes.Unavailable, "the gateway is stopping")
	}
	s.streams[st] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.streams, st)
		s.mu.Unlock()
		st.close()
	}()
	for {
		var m wire.Message
		if g.RecvMsg(&m) != nil {
			return nil // the request's end and its abort look the same: the access log tells them apart
		}
		if err := st.take(m); err != nil {
			return err
		}
	}
}

// guard runs f and turns a panic into what broken makes of it.
func (s *Server) guard(f func(), broken func(err error)) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		s.panics.Add(1)
		if s.o.Panicked != nil {
			s.o.Panicked(v, debug.Stack())
		}
		broken(fmt.Errorf("panic: %v", v))
	}()
	f()
}
