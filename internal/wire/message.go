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

// Size is about how many bytes Append appends.
func (a *Answer) Size() int {
	return 128 + len(a.Body) + len(a.Metadata) + len(a.Chain) + a.mutationSize()
}

// Append appends the message as it goes to Envoy.
func (a *Answer) Append(b []byte) []byte {
	mutation := a.mutationSize()
	if a.Status != 0 {
		status := appendNumber(make([]byte, 0, 8), 1, uint64(a.Status))
		b = appendHead(b, 7, sizeOf(1, len(status))+sizeOf(2, mutation)+sizeOf(3, len(a.Body))+sizeOf(5, len(a.Details)))
		b = a.mutation(appendHead(appendBytes(b, 1, status), 2, mutation))
		return appendText(appendBytes(b, 3, a.Body), 5, a.Details)
	}
	common := 0
	if mutation > 0 {
		common += sizeOf(2, mutation)
	}
	if a.Replaced {
		common += sizeOf(3, sizeOf(1, len(a.Body)))
	}
	if a.Reroute {
		common += protowire.SizeTag(5) + protowire.SizeVarint(1)
	}
	b = appendHead(b, a.To-1, sizeOf(1, common)) // the answer to each kind has the number before it
	b = appendHead(b, 1, common)
	if mutation > 0 {
		b = a.mutation(appendHead(b, 2, mutation))
	}
	if a.Replaced {
		b = appendBytes(appendHead(b, 3, sizeOf(1, len(a.Body))), 1, a.Body)
	}
	if a.Reroute {
		b = appendNumber(b, 5, 1)
	}
	if a.Metadata != nil {
		b = appendBytes(b, 8, a.Metadata)
	}
	if a.Mode != nil {
		b = appendBytes(b, 9, a.Mode)
	}
	return append(b, a.Chain...)
}

// The fields of a HeaderValueOption and its HeaderValue, and the action that replaces any other value.
const header, action, name, raw, overwrite = 1, 3, 1, 3, 2

// mutationSize is how many bytes mutation appends; 0 = there is none.
func (a *Answer) mutationSize() (n int) {
	for _, h := range a.Set {
		n += sizeOf(1, h.option())
	}
	for _, gone := range a.Remove {
		n += sizeOf(2, len(gone))
	}
	return n
}

// value and option are the sizes of the header as a HeaderValue and as a HeaderValueOption.
func (h Header) value() int  { return sizeOf(name, len(h.Name)) + sizeOf(raw, len(h.Value)) }
func (h Header) option() int { return sizeOf(header, h.value()) + protowire.SizeTag(action) + 1 }

// mutation appends a HeaderMutation. A name that is set twice has two values; any other value of it is replaced.
func (a *Answer) mutation(b []byte) []byte {
	for i, h := range a.Set {
		do := uint64(overwrite)
		if slices.ContainsFunc(a.Set[:i], func(f Header) bool { return f.Name == h.Name }) {
			do = 0 // append
		}
		b = appendHead(appendHead(b, 1, h.option()), header, h.value())
		b = appendNumber(appendText(appendText(b, name, h.Name), raw, h.Value), action, do)
	}
	for _, gone := range a.Remove {
		b = appendText(b, 2, gone)
	}
	return b
}

// sizeOf is how long a field of n bytes is as a whole.
func sizeOf(f field, n int) int { return protowire.SizeTag(f) + protowire.SizeBytes(n) }

// appendHead begins a field of n bytes, which are to follow.
func appendHead(b []byte, f field, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, f, protowire.BytesType), uint64(n))
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
