package wire

import (
	"iter"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// The stage reads and writes its few messages itself: as generated types they were a hundred objects and a third of its time for each request, of
// which it needs a dozen fields. The numbers are those of Envoy's protocol; the tests of extproc speak it by its generated types.

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

// Kind is which message the filter sends: its field in ProcessingRequest.
type Kind = field

// The kinds that the stage takes.
const (
	RequestHeaders  Kind = 2
	ResponseHeaders Kind = 3
	RequestBody     Kind = 4
	ResponseBody    Kind = 5
	lastKind        Kind = 7 // trailers, which the filter was not told to send
)

// Header is one line of a head; its name is in lower case.
type Header struct{ Name, Value string }

// Message is a ProcessingRequest.
type Message struct {
	Kind    Kind // 0 = none that there is
	Headers []Header
	Body    []byte // a part of what was parsed
	End     bool   // nothing comes behind the headers
}

// ParseMessage reads a ProcessingRequest as far as it is one.
func ParseMessage(b []byte) (m Message) {
	for f, v := range fields(b) {
		if f < RequestHeaders || f > lastKind {
			continue
		}
		m = Message{Kind: f}
		for f, v := range fields(v.bytes) {
			switch {
			case f == 1 && (m.Kind == RequestBody || m.Kind == ResponseBody):
				m.Body = v.bytes
			case f == 1:
				m.Headers = headerMap(v.bytes)
			case f == 3:
				m.End = v.number != 0
			}
		}
	}
	return m
}

func headerMap(b []byte) []Header {
	out := make([]Header, 0, 24)
	for f, v := range fields(b) {
		if f != 1 {
			continue
		}
		var h Header
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

// Answer is a ProcessingResponse: to the message of kind To, or instead of all if it has a status.
type Answer struct {
	To       Kind
	Status   int    // of a reply of our own
	Details  string // with Status
	Set      []Header
	Remove   []string
	Body     []byte
	Replaced bool     // by Body
	Reroute  bool     // have Envoy choose the route again
	Metadata Metadata // nil = none
	Chain    []byte   // nil = none
	Mode     Mode     // in place of the configured one; nil = that
}

// Encode returns the message as it goes to Envoy.
func (a *Answer) Encode() []byte {
	b := make([]byte, 0, 512+len(a.Body))
	if a.Status != 0 {
		reply := appendBytes(make([]byte, 0, 256+len(a.Body)), 1, appendNumber(nil, 1, uint64(a.Status)))
		reply = appendBytes(appendBytes(reply, 2, a.mutation()), 3, a.Body)
		return appendBytes(b, 7, appendText(reply, 5, a.Details))
	}
	common := make([]byte, 0, 256+len(a.Body))
	if len(a.Set)+len(a.Remove) > 0 {
		common = appendBytes(common, 2, a.mutation())
	}
	if a.Replaced {
		common = protowire.AppendTag(common, 3, protowire.BytesType)
		common = protowire.AppendVarint(common, uint64(protowire.SizeTag(1)+protowire.SizeBytes(len(a.Body))))
		common = appendBytes(common, 1, a.Body)
	}
	if a.Reroute {
		common = appendNumber(common, 5, 1)
	}
	b = protowire.AppendTag(b, a.To-1, protowire.BytesType) // the answer to each kind has the number before it
	b = protowire.AppendVarint(b, uint64(protowire.SizeTag(1)+protowire.SizeBytes(len(common))))
	b = appendBytes(b, 1, common)
	if a.Metadata != nil {
		b = appendBytes(b, 8, a.Metadata)
	}
	if a.Mode != nil {
		b = appendBytes(b, 9, a.Mode)
	}
	return append(b, a.Chain...)
}

// mutation is a HeaderMutation. A name that is set twice has two values; any other value of it is replaced.
func (a *Answer) mutation() []byte {
	const overwrite, header, raw = 2, 1, 3
	b := make([]byte, 0, 64*(len(a.Set)+len(a.Remove)))
	for i, h := range a.Set {
		size := protowire.SizeTag(header) + protowire.SizeBytes(len(h.Name)) + protowire.SizeTag(raw) + protowire.SizeBytes(len(h.Value))
		whole, action := protowire.SizeTag(header)+protowire.SizeBytes(size), uint64(overwrite)
		if slices.ContainsFunc(a.Set[:i], func(f Header) bool { return f.Name == h.Name }) {
			action = 0 // append
		}
		b = protowire.AppendTag(b, 1, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(whole+protowire.SizeTag(3)+protowire.SizeVarint(action)))
		b = protowire.AppendTag(b, header, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(size))
		b = appendText(appendText(b, 1, h.Name), raw, h.Value)
		b = appendNumber(b, 3, action)
	}
	for _, name := range a.Remove {
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

// Mode is a ProcessingMode.
type Mode []byte

// Modes that take the place of the configured one: no answer is looked at, or its body too, whole.
var (
	AnswerUnseen = Mode(appendNumber(nil, 2, 2))
	AnswerWhole  = Mode(appendNumber(appendNumber(nil, 2, 1), 4, 2))
)
