package xds

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/sluice-gateway/sluice/internal/envoy"
)

// Options of a control plane; zero values take the defaults named.
type Options struct {
	Logger     *slog.Logger                         // default slog.Default()
	Register   func(grpc.ServiceRegistrar)          // further services on the same sockets: ext_proc, access logs
	Codec      encoding.CodecV2                     // by which their messages are read and written; default gRPC's own
	Rejected   func(node, kind string, r Rejection) // called once for each refusal, for metrics
	MaxMessage int                                  // bytes of one gRPC message; default 64 MiB, must exceed body_limit
	MaxStreams uint32                               // concurrent streams of one connection; default 16,384
	Grace      time.Duration                        // how long Serve lets running streams end; default 5 s
	Forget     time.Duration                        // after which a disconnected node's state is dropped; default 10 min
}

// Server is the control plane of any number of Envoys: delta ADS on whatever listeners Serve is given.
//
// Its invariant: an exchange of a node is served by a generation whose clusters that node acknowledged and nobody has taken away since.
type Server struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	o      Options
	panics atomic.Int64

	mu        sync.Mutex
	published []*publication // ascending; the last one is the newest
	nodes     map[string]*node
	changed   chan struct{} // closed and replaced at every change of a node or a publication
}

// NewServer makes a control plane that has nothing to say until the first Publish: no Envoy ever gets an empty configuration.
func NewServer(o Options) *Server {
	o.Logger = cmp.Or(o.Logger, slog.Default())
	o.MaxMessage, o.MaxStreams = cmp.Or(o.MaxMessage, 64<<20), cmp.Or(o.MaxStreams, 16384)
	o.Grace, o.Forget = cmp.Or(o.Grace, 5*time.Second), cmp.Or(o.Forget, 10*time.Minute)
	return &Server{o: o, nodes: map[string]*node{}, changed: make(chan struct{})}
}

// Panics counts streams that ended by a panic of their handler.
func (s *Server) Panics() int64 { return s.panics.Load() }

// streamWorkers are goroutines that serve one stream after another: one for each request would grow its stack anew each time. Streams beyond them
// get goroutines of their own.
const streamWorkers = 256

// Serve answers on every listener until ctx ends or one of them fails; then streams have Grace to end. It closes the listeners.
func (s *Server) Serve(ctx context.Context, on ...net.Listener) error {
	g := grpc.NewServer(
		grpc.ForceServerCodecV2(cmp.Or(s.o.Codec, encoding.GetCodecV2(proto.Name))),
		grpc.MaxRecvMsgSize(s.o.MaxMessage), grpc.MaxSendMsgSize(s.o.MaxMessage),
		grpc.MaxConcurrentStreams(s.o.MaxStreams),
		grpc.InitialWindowSize(1<<20), grpc.InitialConnWindowSize(16<<20),
		grpc.ConnectionTimeout(20*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.StreamInterceptor(s.recovered),
		grpc.NumStreamWorkers(streamWorkers),
	)
	discovery.RegisterAggregatedDiscoveryServiceServer(g, s)
	if s.o.Register != nil {
		s.o.Register(g)
	}
	failed := make(chan error, len(on))
	for _, l := range on {
		go func() { failed <- g.Serve(l) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.hangUp()
	timer := time.AfterFunc(s.o.Grace, g.Stop)
	g.GracefulStop()
	timer.Stop()
	return err
}

// recovered turns a panic of one stream into that stream's end.
func (s *Server) recovered(srv any, str grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.panics.Add(1)
			s.o.Logger.Error("panic in a stream", "method", info.FullMethod, "panic", r, "stack", string(debug.Stack()))
			err = status.Error(codes.Internal, "internal error")
		}
	}()
	return handle(srv, str)
}

// stream is one ADS stream of a node: how to wake it and how to end it.
type stream struct {
	wake chan struct{}
	end  context.CancelCauseFunc
}

func (st *stream) poke() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

var (
	errReplaced = status.Error(codes.Aborted, "another stream of the same node id took over")
	errClosing  = status.Error(codes.Unavailable, "the control plane is stopping")
)

// DeltaAggregatedResources serves one Envoy.
func (s *Server) DeltaAggregatedResources(str discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	ctx, end := context.WithCancelCause(str.Context())
	defer end(nil)
	first, err := str.Recv()
	if err != nil {
		return err
	}
	st := &stream{wake: make(chan struct{}, 1), end: end}
	n, err := s.join(first.Node, st)
	if err != nil {
		return err
	}
	defer s.leave(n, st)
	requests := make(chan *discovery.DeltaDiscoveryRequest)
	go func() {
		for {
			r, err := str.Recv()
			if err != nil {
				end(err)
				return
			}
			select {
			case requests <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	for r := first; ; {
		for answer := s.step(n, st, r); answer != nil; answer = s.step(n, st, nil) {
			if err := str.Send(answer); err != nil {
				return err
			}
		}
		select {
		case r = <-requests:
		case <-st.wake:
			r = nil
		case <-ctx.Done():
			if err := context.Cause(ctx); err == errReplaced || err == errClosing {
				return err
			}
			return nil
		}
	}
}

// join admits a node and makes its newest stream the one that counts.
func (s *Server) join(who *core.Node, st *stream) (*node, error) {
	if who.GetId() == "" || len(who.Id) > 256 {
		return nil, status.Error(codes.InvalidArgument, "the first request names no node of 1 to 256 bytes")
	}
	v := who.GetUserAgentBuildVersion().GetVersion()
	version := envoy.Version{int(v.GetMajorNumber()), int(v.GetMinorNumber()), int(v.GetPatch())}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[who.Id]
	known := n != nil && n.build == version.String()
	if n == nil {
		n = &node{id: who.Id, rejected: map[int]bool{}}
		s.nodes[who.Id] = n
	}
	if version.Less(envoy.Oldest) {
		n.build, n.since = version.String(), time.Now()
		n.refused = fmt.Sprintf("Envoy %s is older than %s, the oldest that this policy's configuration works with", version, envoy.Oldest)
		if !known {
			s.o.Logger.Error("envoy refused", "node", n.id, "version", n.build, "oldest", envoy.Oldest.String())
		}
		return nil, status.Error(codes.FailedPrecondition, n.refused)
	}
	if n.stream != nil {
		s.o.Logger.Warn("node id connects again: its older stream ends", "node", n.id)
		n.stream.end(errReplaced)
	}
	n.refused, n.outdated = "", version.Less(envoy.Newest)
	if n.outdated && !known {
		s.o.Logger.Warn("envoy is behind its newest known patch", "node", n.id, "version", version.String(), "newest", envoy.Newest.String())
	}
	n.attach(st, version.String(), time.Now())
	s.prune()
	s.notify()
	s.o.Logger.Info("envoy connected", "node", n.id, "version", n.build)
	return n, nil
}

func (s *Server) leave(n *node, st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.stream != st {
		return // replaced
	}
	n.stream, n.connected, n.since = nil, false, time.Now()
	s.notify()
	s.o.Logger.Info("envoy disconnected", "node", n.id)
}

// step gives a node its request, if any, and takes the next answer.
func (s *Server) step(n *node, st *stream, r *discovery.DeltaDiscoveryRequest) *discovery.DeltaDiscoveryResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.stream != st {
		return nil
	}
	if r != nil {
		if refusal, k := n.receive(r); refusal != nil {
			s.o.Logger.Error("envoy refused an update: its last accepted configuration stays", "node", n.id, "type", kindNames[k],
				"resource", refusal.Resource, "line", refusal.Origin.Line, "column", refusal.Origin.Column,
				"generation", refusal.Generation, "detail", refusal.Message)
			if s.o.Rejected != nil {
				s.o.Rejected(n.id, kindNames[k], *refusal)
			}
		}
		if n.advance(s.published, time.Now()) {
			s.o.Logger.Info("envoy follows the policy", "node", n.id, "generation", n.accepted)
			s.prune()
		}
		s.notify()
	}
	return n.next(s.published)
}

func (s *Server) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.nodes {
		if n.stream != nil {
			n.stream.end(errClosing)
		}
	}
}

// notify wakes whoever waits for a change; the caller holds the lock.
func (s *Server) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}
