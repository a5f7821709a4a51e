package extproc

import (
	"encoding/hex"
	"strings"

	"google.golang.org/grpc"

	"github.com/sluice-gateway/sluice/internal/wire"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/proxy"
)

// logs takes the entries of one Envoy's worker: of requests as a whole, and of attempts. The two come on streams of their own and in any
// order; neither waits for the other, as each settles what it alone knows.
func (s *Server) logs(g grpc.ServerStream) error {
	for {
		var m wire.Log
		if g.RecvMsg(&m) != nil {
			return nil // an Envoy that went; it connects again
		}
		for e := range m.Entries() {
			s.guard(func() { s.entry(e) }, func(error) {})
		}
	}
}

func (s *Server) entry(e *wire.Entry) {
	switch e.Kind {
	case wire.EntryRequest:
		x := s.find(e.ID())
		if x == nil || e.Cluster == "" && x.Told() {
			return // Envoy refused it before it removed what a client says in our name: the id may be that of an answer which the client is getting
		}
		end := directEnd(e)
		if s.o.Table.Step(x, proxy.OwnerOpen, func() proxy.Owner { x.Foretell(end); return proxy.OwnerOpen }) {
			return
		}
		if x.Owner() == proxy.OwnerDirect {
			s.o.Table.End(x, proxy.OwnerDirect, func(x *proxy.Exchange) { x.Settle(end) })
		}
	case wire.EntryAttempt:
		if e.Cluster == wire.ClusterExecutor || e.Cluster == wire.ClusterEdge {
			return
		}
		x := s.find(e.ID())
		if f := failure(e); x != nil && (f.Status < 200 || f.Status > 299) {
			x.Learn(f)
		}
	}
}

// find returns the exchange of an entry; one without an id never was an exchange of this stage.
func (s *Server) find(id string) *proxy.Exchange {
	var key [16]byte
	if len(id) != 2*len(key) {
		return nil
	}
	if _, err := hex.Decode(key[:], []byte(id)); err != nil {
		return nil
	}
	x := s.o.Table.Find(key)
	if x == nil {
		s.unknown.Add(1)
	}
	return x
}

// directEnd is what the entry of a whole request says of an answer that Envoy carried.
func directEnd(e *wire.Entry) proxy.DirectEnd {
	d := proxy.DirectEnd{Status: e.Code, BytesOut: e.Bytes, Took: e.Took}
	in, hasIn := e.Count(wire.KeyInput)
	out, hasOut := e.Count(wire.KeyOutput)
	cached, _ := e.Count(wire.KeyCached)
	d.Usage, d.HasUsage = llm.Usage{Input: in, Output: out, Cached: min(cached, in)}, hasIn || hasOut
	switch begins := func(prefix string) bool { return strings.HasPrefix(e.Details, prefix) }; {
	case e.Flags.Has(wire.DownstreamConnectionTermination | wire.DownstreamRemoteReset | wire.DownstreamProtocolError), begins("downstream_remote_"), begins("http2.remote_"):
		d.Broken, d.Cause = true, proxy.CauseClientGone
	case e.Flags.Has(wire.UpstreamMaxStreamDurationReached | wire.StreamIdleTimeout | wire.UpstreamRequestTimeout | wire.DurationTimeout):
		d.Broken, d.Cause = true, proxy.CauseLimit
	case e.Flags.Has(wire.UpstreamConnectionTermination | wire.UpstreamRemoteReset | wire.UpstreamProtocolError | wire.UpstreamConnectionFailure | wire.LocalReset | wire.OverloadManager),
		begins("upstream_reset_"), begins("downstream_local_"), begins(wire.DetailsPrefix):
		d.Broken, d.Cause = true, proxy.CauseCut
	}
	return d
}

// failure is what the entry of an attempt says of how it failed. One that was cut off by its cluster's limit has no code and no flag at all.
func failure(e *wire.Entry) proxy.Failure {
	if e.Code != 0 {
		return proxy.Failure{Status: e.Code, Header: e.Headers()}
	}
	switch {
	case e.Flags.Has(wire.UpstreamConnectionFailure) && e.Transport == "": // all but the time to connect come with a reason
		return proxy.Failure{Cause: proxy.CauseConnect}
	case e.Flags.Has(wire.UpstreamConnectionFailure | wire.NoHealthyUpstream | wire.NoClusterFound | wire.UpstreamOverflow | wire.DnsResolutionFailure):
		return proxy.Failure{Cause: proxy.CauseRefused}
	case e.Flags.Has(wire.UpstreamConnectionTermination | wire.UpstreamRemoteReset | wire.UpstreamProtocolError | wire.LocalReset):
		return proxy.Failure{Cause: proxy.CauseReset}
	}
	return proxy.Failure{Cause: proxy.CauseLimit}
}
