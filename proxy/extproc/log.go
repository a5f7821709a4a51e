package extproc

import (
	"encoding/hex"
	"math"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/sluice-gateway/sluice/internal/wire"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/proxy"
)

// logs takes the entries of one Envoy's worker: of requests as a whole, and of attempts. The two come on streams of their own and in any
// order; neither waits for the other, as each settles what it alone knows.
func (s *Server) logs(g grpc.ServerStream) error {
	for {
		m, err := receive(g)
		if err != nil {
			return nil // an Envoy that went; it connects again
		}
		for f, v := range fields(m) {
			if f != 2 { // http_logs
				continue
			}
			for f, v := range fields(v.bytes) {
				if f == 1 {
					s.guard(func() { s.entry(parseEntry(v.bytes)) }, func(error) {})
				}
			}
		}
	}
}

// entry is an HTTPAccessLogEntry: what the stage reads of it.
type entry struct {
	kind      uint64 // an AccessLogType
	took      time.Duration
	cluster   string
	flags     flags
	metadata  []byte
	transport string // why there is no connection
	asked     []byte // headers of the request and the answer
	answered  []byte
	code      int // 0 = none
	bytes     int64
	details   string
}

const (
	wholeRequest = 6 // DownstreamEnd
	attempt      = 9 // UpstreamEnd
)

// flags are the response flags that are set, by their number in ResponseFlags.
type flags uint64

const (
	noHealthyUpstream flags = 1 << (2 + iota)
	upstreamRequestTimeout
	localReset
	upstreamRemoteReset
	upstreamConnectionFailure
	upstreamConnectionTermination
	upstreamOverflow
	downstreamConnectionTermination  flags = 1 << 15
	streamIdleTimeout                flags = 1 << 17
	downstreamProtocolError          flags = 1 << 19
	upstreamMaxStreamDurationReached flags = 1 << 20
	durationTimeout                  flags = 1 << 23
	upstreamProtocolError            flags = 1 << 24
	noClusterFound                   flags = 1 << 25
	overloadManager                  flags = 1 << 26
	dnsResolutionFailure             flags = 1 << 27
	downstreamRemoteReset            flags = 1 << 28
)

// of reports whether any of these is set.
func (f flags) of(any flags) bool { return f&any != 0 }

func parseEntry(b []byte) (e entry) {
	for f, v := range fields(b) {
		switch f {
		case 1:
			e.common(v.bytes)
		case 3:
			e.asked = v.bytes
		case 4:
			e.response(v.bytes)
		}
	}
	return e
}

func (e *entry) common(b []byte) {
	for f, v := range fields(b) {
		switch f {
		case 12:
			e.took = time.Duration(in(v.bytes, 1).number)*time.Second + time.Duration(in(v.bytes, 2).number)
		case 15:
			e.cluster = string(v.bytes)
		case 16:
			for f, v := range fields(v.bytes) {
				if f < 64 && v.number != 0 {
					e.flags |= 1 << f
				}
			}
		case 17:
			e.metadata = v.bytes
		case 18:
			e.transport = string(v.bytes)
		case 33:
			e.kind = v.number
		}
	}
}

func (e *entry) response(b []byte) {
	e.answered = b
	for f, v := range fields(b) {
		switch f {
		case 1:
			e.code = int(in(v.bytes, 1).number)
		case 3:
			e.bytes = int64(v.number)
		case 6:
			e.details = string(v.bytes)
		}
	}
}

// lookup returns what a map has for a key: a map is a field of entries.
func lookup(b []byte, of field, key string) (found value) {
	for f, v := range fields(b) {
		if f == of && string(in(v.bytes, 1).bytes) == key {
			found = in(v.bytes, 2)
		}
	}
	return found
}

// of returns one value of the dynamic metadata.
func (e *entry) of(namespace, key string) []byte {
	return lookup(lookup(e.metadata, 1, namespace).bytes, 1, key).bytes
}

func (s *Server) entry(e entry) {
	switch e.kind {
	case wholeRequest:
		x := s.find(string(in(e.of(wire.MetadataLog, wire.KeyID), 3).bytes))
		if x == nil {
			return
		}
		end := e.end()
		if s.o.Table.Step(x, proxy.OwnerOpen, func() proxy.Owner { x.Foretell(end); return proxy.OwnerOpen }) {
			return
		}
		if x.Owner() == proxy.OwnerDirect {
			s.o.Table.End(x, proxy.OwnerDirect, func(x *proxy.Exchange) { x.Settle(end) })
		}
	case attempt:
		if e.cluster == wire.ClusterExecutor || e.cluster == wire.ClusterEdge {
			return
		}
		x := s.find(string(lookup(e.asked, 13, wire.HeaderID).bytes))
		if f := e.failure(); x != nil && (f.Status < 200 || f.Status > 299) {
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

// end is what the entry of a whole request says of an answer that Envoy carried.
func (e *entry) end() proxy.DirectEnd {
	d := proxy.DirectEnd{Status: e.code, BytesOut: e.bytes, Took: e.took}
	in, hasIn := e.count(wire.KeyInput)
	out, hasOut := e.count(wire.KeyOutput)
	cached, _ := e.count(wire.KeyCached)
	d.Usage, d.HasUsage = llm.Usage{Input: in, Output: out, Cached: min(cached, in)}, hasIn || hasOut
	switch begins := func(prefix string) bool { return strings.HasPrefix(e.details, prefix) }; {
	case e.flags.of(downstreamConnectionTermination | downstreamRemoteReset | downstreamProtocolError), begins("downstream_remote_"), begins("http2.remote_"):
		d.Broken, d.Cause = true, proxy.CauseClientGone
	case e.flags.of(upstreamMaxStreamDurationReached | streamIdleTimeout | upstreamRequestTimeout | durationTimeout):
		d.Broken, d.Cause = true, proxy.CauseLimit
	case e.flags.of(upstreamConnectionTermination | upstreamRemoteReset | upstreamProtocolError | upstreamConnectionFailure | localReset | overloadManager),
		begins("upstream_reset_"), begins("downstream_local_"), begins(wire.DetailsPrefix):
		d.Broken, d.Cause = true, proxy.CauseCut
	}
	return d
}

// count reads a number of tokens. What is no sane number was not counted.
func (e *entry) count(name string) (n int, ok bool) {
	for f, v := range fields(e.of(wire.MetadataUsage, name)) {
		if n := math.Float64frombits(v.number); f == 2 && n >= 0 && n < 1<<40 { // number_value
			return int(n), true
		}
	}
	return 0, false
}

// failure is what the entry of an attempt says of how it failed. One that was cut off by its cluster's limit has no code and no flag at all.
func (e *entry) failure() proxy.Failure {
	if e.code != 0 {
		h := http.Header{}
		for f, v := range fields(e.answered) {
			if f == 4 { // response_headers
				h.Set(string(in(v.bytes, 1).bytes), string(in(v.bytes, 2).bytes))
			}
		}
		return proxy.Failure{Status: e.code, Header: h}
	}
	switch {
	case e.flags.of(upstreamConnectionFailure) && e.transport == "": // all but the time to connect come with a reason
		return proxy.Failure{Cause: proxy.CauseConnect}
	case e.flags.of(upstreamConnectionFailure | noHealthyUpstream | noClusterFound | upstreamOverflow | dnsResolutionFailure):
		return proxy.Failure{Cause: proxy.CauseRefused}
	case e.flags.of(upstreamConnectionTermination | upstreamRemoteReset | upstreamProtocolError | localReset):
		return proxy.Failure{Cause: proxy.CauseReset}
	}
	return proxy.Failure{Cause: proxy.CauseLimit}
}
