package extproc

import (
	"iter"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/sluice-gateway/sluice/internal/wire"
	"github.com/sluice-gateway/sluice/proxy"
)

// The stage reads and writes its few messages itself: as generated types they were a hundred objects and a third of its time for each request, of
// which it needs a dozen fields. The numbers are those of Envoy's protocol; the tests speak it by its generated types.

// receive returns the next message of a stream as bytes. An Empty knows no field, and what a message does not know it keeps as it came.
func receive(g grpc.ServerStream) ([]byte, error) {
	m := new(emptypb.Empty)
	err := g.RecvMsg(m)
	return m.ProtoReflect().GetUnknown(), err
}

// send is the same the other way.
func send(g grpc.ServerStream, b []byte) error {
	m := new(emptypb.Empty)
	m.ProtoReflect().SetUnknown(b)
	return g.SendMsg(m)
}

// field is a field's number.
type field = protowire.Number

// value is what a field holds.
type value struct {
	bytes  []byte // text, bytes or a message
	number uint64 // any other: an integer, or the bits of a float
}

// fields walks over a message as far as it is one.
func fields(b []byte) iter.Seq2[field, value] {
	return func(yield func(field, value) bool) {
		for len(b) > 0 {
			f, kind, n := protowire.ConsumeTag(b)
			if n < 0 {
				return
			}
			b = b[n:]
			var v value
			switch kind {
			case protowire.BytesType:
				v.bytes, n = protowire.ConsumeBytes(b)
			case protowire.VarintType:
				v.number, n = protowire.ConsumeVarint(b)
			case protowire.Fixed64Type:
				v.number, n = protowire.ConsumeFixed64(b)
			default:
				n = protowire.ConsumeFieldValue(f, kind, b)
			}
			if n < 0 || !yield(f, v) {
				return
			}
			b = b[n:]
		}
	}
}

// in returns the last value of a field, as protobuf has it.
func in(b []byte, of field) (v value) {
	for f, at := range fields(b) {
		if f == of {
			v = at
		}
	}
	return v
}

// kind is which message the filter sends: its field in ProcessingRequest.
type kind = field

const (
	requestHeaders  kind = 2
	responseHeaders kind = 3
	requestBody     kind = 4
	responseBody    kind = 5
	lastKind        kind = 7 // trailers, which the filter was not told to send
)

// message is a ProcessingRequest.
type message struct {
	kind    kind          // 0 = none that there is
	headers []proxy.Field // names as Envoy writes them: lower case
	body    []byte
	end     bool // nothing comes behind the headers
}

func parse(b []byte) (m message) {
	for f, v := range fields(b) {
		if f < requestHeaders || f > lastKind {
			continue
		}
		m = message{kind: f}
		for f, v := range fields(v.bytes) {
			switch {
			case f == 1 && (m.kind == requestBody || m.kind == responseBody):
				m.body = v.bytes
			case f == 1:
				m.headers = headerMap(v.bytes)
			case f == 3:
				m.end = v.number != 0
			}
		}
	}
	return m
}

func headerMap(b []byte) []proxy.Field {
	out := make([]proxy.Field, 0, 24)
	for f, v := range fields(b) {
		if f != 1 {
			continue
		}
		var h proxy.Field
		for f, v := range fields(v.bytes) {
			switch {
			case f == 1:
				h.Name = string(v.bytes)
			case f == 2 && h.Value == "", f == 3 && len(v.bytes) > 0: // raw_value, which Envoy fills in, or value
				h.Value = string(v.bytes)
			}
		}
		out = append(out, h)
	}
	return out
}

// answer is a ProcessingResponse: to the message of kind to, or instead of all if it has a status.
type answer struct {
	to       kind
	status   int    // of a reply of our own
	details  string // with status
	set      []proxy.Field
	remove   []string
	body     []byte
	replaced bool   // by body
	reroute  bool   // have Envoy choose the route again
	metadata []byte // fields of a Struct
	mode     []byte // a ProcessingMode that takes the place of the configured one
}

func (a *answer) encode() []byte {
	b := make([]byte, 0, 512+len(a.body))
	if a.status != 0 {
		reply := appendBytes(make([]byte, 0, 256+len(a.body)), 1, appendNumber(nil, 1, uint64(a.status)))
		reply = appendBytes(appendBytes(reply, 2, a.mutation()), 3, a.body)
		return appendBytes(b, 7, appendText(reply, 5, a.details))
	}
	common := make([]byte, 0, 256+len(a.body))
	if len(a.set)+len(a.remove) > 0 {
		common = appendBytes(common, 2, a.mutation())
	}
	if a.replaced {
		common = protowire.AppendTag(common, 3, protowire.BytesType)
		common = protowire.AppendVarint(common, uint64(protowire.SizeTag(1)+protowire.SizeBytes(len(a.body))))
		common = appendBytes(common, 1, a.body)
	}
	if a.reroute {
		common = appendNumber(common, 5, 1)
	}
	b = protowire.AppendTag(b, a.to-1, protowire.BytesType) // the answer to each kind has the number before it
	b = protowire.AppendVarint(b, uint64(protowire.SizeTag(1)+protowire.SizeBytes(len(common))))
	b = appendBytes(b, 1, common)
	if a.metadata != nil {
		b = appendBytes(b, 8, a.metadata)
	}
	if a.mode != nil {
		b = appendBytes(b, 9, a.mode)
	}
	return b
}

// mutation is a HeaderMutation. A name that is set twice has two values; any other value of it is replaced.
func (a *answer) mutation() []byte {
	const overwrite, header, raw = 2, 1, 3
	b := make([]byte, 0, 64*(len(a.set)+len(a.remove)))
	for i, h := range a.set {
		size := protowire.SizeTag(header) + protowire.SizeBytes(len(h.Name)) + protowire.SizeTag(raw) + protowire.SizeBytes(len(h.Value))
		whole, action := protowire.SizeTag(header)+protowire.SizeBytes(size), uint64(overwrite)
		if has(a.set[:i], h.Name) {
			action = 0 // append
		}
		b = protowire.AppendTag(b, 1, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(whole+protowire.SizeTag(3)+protowire.SizeVarint(action)))
		b = protowire.AppendTag(b, header, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(size))
		b = appendText(appendText(b, 1, h.Name), raw, h.Value)
		b = appendNumber(b, 3, action)
	}
	for _, name := range a.remove {
		b = appendText(b, 2, name)
	}
	return b
}

func appendBytes(b []byte, f field, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, f, protowire.BytesType), v)
}

func appendText(b []byte, f field, v string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, f, protowire.BytesType), v)
}

func appendNumber(b []byte, f field, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, f, protowire.VarintType), v)
}

// member is one field of a Struct; v is a Value.
func member(name string, v []byte) []byte {
	return appendBytes(nil, 1, appendBytes(appendText(nil, 1, name), 2, v))
}

// text, one, object and list are Values.
func text(s string) []byte { return appendText(nil, 3, s) }

func one() []byte {
	return protowire.AppendFixed64(protowire.AppendTag(nil, 2, protowire.Fixed64Type), 0x3ff0000000000000)
}

func object(members ...[]byte) []byte {
	var b []byte
	for _, m := range members {
		b = append(b, m...)
	}
	return appendBytes(nil, 5, b)
}

func list(values ...[]byte) []byte {
	var b []byte
	for _, v := range values {
		b = appendBytes(b, 1, v)
	}
	return appendBytes(nil, 6, b)
}

// group is one step of a chain: a cluster by its name. Without a weight Envoy ignores the whole chain, silently.
func group(cluster string) []byte {
	return object(member("name", text(cluster)), member("clusters", list(object(member("cluster_name", text(cluster)), member("weight", one())))))
}

// chain is the metadata that has Envoy try the target, if there is one, and the executor.
func chain(cluster string) []byte {
	groups := list(group(wire.ClusterExecutor))
	if cluster != "" {
		groups = list(group(cluster), group(wire.ClusterExecutor))
	}
	return member(wire.MetadataChain, object(member(wire.KeyGroups, groups)))
}
