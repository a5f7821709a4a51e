package extproc

import (
	"encoding/hex"
	"net/http"
	"strings"

	logdata "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslog "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-gateway/sluice/internal/wire"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/proxy"
)

// StreamAccessLogs takes the entries of one Envoy's worker: of requests as a whole, and of attempts. The two come on streams of their own and in any
// order; neither waits for the other, as each settles what it alone knows.
func (s *Server) StreamAccessLogs(g accesslog.AccessLogService_StreamAccessLogsServer) error {
	for {
		m, err := g.Recv()
		if err != nil {
			return nil // an Envoy that went; it connects again
		}
		for _, e := range m.GetHttpLogs().GetLogEntry() {
			s.guard(func() { s.entry(e) }, func(error) {})
		}
	}
}

func (s *Server) entry(e *logdata.HTTPAccessLogEntry) {
	c := e.GetCommonProperties()
	switch c.GetAccessLogType() {
	case logdata.AccessLogType_DownstreamEnd:
		id := c.GetMetadata().GetFilterMetadata()[wire.MetadataLog].GetFields()[wire.KeyID].GetStringValue()
		x := s.find(id)
		if x == nil {
			return
		}
		end := directEnd(e)
		if s.o.Table.Step(x, proxy.OwnerOpen, func() proxy.Owner { x.Foretell(end); return proxy.OwnerOpen }) {
			return
		}
		if x.Owner() == proxy.OwnerDirect {
			s.o.Table.End(x, proxy.OwnerDirect, func(x *proxy.Exchange) { x.Settle(end) })
		}
	case logdata.AccessLogType_UpstreamEnd:
		if c.GetUpstreamCluster() == wire.ClusterExecutor || c.GetUpstreamCluster() == wire.ClusterEdge {
			return
		}
		x := s.find(e.GetRequest().GetRequestHeaders()[wire.HeaderID])
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
func directEnd(e *logdata.HTTPAccessLogEntry) proxy.DirectEnd {
	c := e.GetCommonProperties()
	f, details := c.GetResponseFlags(), e.GetResponse().GetResponseCodeDetails()
	d := proxy.DirectEnd{
		Status: int(e.GetResponse().GetResponseCode().GetValue()), BytesOut: int64(e.GetResponse().GetResponseBodyBytes()),
		Took: c.GetTimeToLastDownstreamTxByte().AsDuration(),
	}
	fields := c.GetMetadata().GetFilterMetadata()[wire.MetadataUsage].GetFields()
	in, hasIn := count(fields, wire.KeyInput)
	out, hasOut := count(fields, wire.KeyOutput)
	cached, _ := count(fields, wire.KeyCached)
	d.Usage, d.HasUsage = llm.Usage{Input: in, Output: out, Cached: min(cached, in)}, hasIn || hasOut
	switch {
	case f.GetDownstreamConnectionTermination(), f.GetDownstreamRemoteReset(), f.GetDownstreamProtocolError(), strings.HasPrefix(details, "downstream_remote_"), strings.HasPrefix(details, "http2.remote_"):
		d.Broken, d.Cause = true, proxy.CauseClientGone
	case f.GetUpstreamMaxStreamDurationReached(), f.GetStreamIdleTimeout(), f.GetUpstreamRequestTimeout(), f.GetDurationTimeout():
		d.Broken, d.Cause = true, proxy.CauseLimit
	case f.GetUpstreamConnectionTermination(), f.GetUpstreamRemoteReset(), f.GetUpstreamProtocolError(), f.GetUpstreamConnectionFailure(), f.GetLocalReset(),
		f.GetOverloadManager(), strings.HasPrefix(details, "upstream_reset_"), strings.HasPrefix(details, "downstream_local_"), strings.HasPrefix(details, wire.DetailsPrefix):
		d.Broken, d.Cause = true, proxy.CauseCut
	}
	return d
}

// count reads a number of tokens. What is no sane number was not counted.
func count(fields map[string]*structpb.Value, name string) (n int, ok bool) {
	v, ok := fields[name].GetKind().(*structpb.Value_NumberValue)
	if !ok || !(v.NumberValue >= 0 && v.NumberValue < 1<<40) {
		return 0, false
	}
	return int(v.NumberValue), true
}

// failure is what the entry of an attempt says of how it failed. One that was cut off by its cluster's limit has no code and no flag at all.
func failure(e *logdata.HTTPAccessLogEntry) proxy.Failure {
	c := e.GetCommonProperties()
	if code := e.GetResponse().GetResponseCode().GetValue(); code != 0 {
		h := http.Header{}
		for name, v := range e.GetResponse().GetResponseHeaders() {
			h.Set(name, v)
		}
		return proxy.Failure{Status: int(code), Header: h}
	}
	switch f := c.GetResponseFlags(); {
	case f.GetUpstreamConnectionFailure() && c.GetUpstreamTransportFailureReason() == "": // all but the time to connect come with a reason
		return proxy.Failure{Cause: proxy.CauseConnect}
	case f.GetUpstreamConnectionFailure(), f.GetNoHealthyUpstream(), f.GetNoClusterFound(), f.GetUpstreamOverflow(), f.GetDnsResolutionFailure():
		return proxy.Failure{Cause: proxy.CauseRefused}
	case f.GetUpstreamConnectionTermination(), f.GetUpstreamRemoteReset(), f.GetUpstreamProtocolError(), f.GetLocalReset():
		return proxy.Failure{Cause: proxy.CauseReset}
	}
	return proxy.Failure{Cause: proxy.CauseLimit}
}
