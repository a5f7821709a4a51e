package telemetry

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"

	"go.opentelemetry.io/otel/trace"
)

// maxState bounds a tracestate: W3C asks to keep 512 characters and allows to drop more.
const maxState = 512

// NewTrace joins the trace of an inbound traceparent and tracestate, or begins a sampled one of its own when traceparent is absent or breaks
// the W3C grammar in any way. The tracestate counts only beside a valid traceparent, and only if it is valid itself.
func NewTrace(traceparent, tracestate string) Trace {
	t := Trace{Server: NewSpanID(), Client: NewSpanID()}
	if !t.join(traceparent) {
		t.TraceID, t.ParentSpan, t.Sampled = NewID(), [8]byte{}, true
		return t
	}
	if tracestate != "" && len(tracestate) <= maxState {
		if _, err := trace.ParseTraceState(tracestate); err == nil {
			t.State = tracestate
		}
	}
	return t
}

// join reads a traceparent: version 00 exactly, a later version by its first four fields.
func (t *Trace) join(s string) bool {
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	var version, flags [1]byte
	if !lowerHex(version[:], s[:2]) || version[0] == 0xff ||
		!lowerHex(t.TraceID[:], s[3:35]) || !lowerHex(t.ParentSpan[:], s[36:52]) || !lowerHex(flags[:], s[53:55]) {
		return false
	}
	if len(s) > 55 && (version[0] == 0 || s[55] != '-') {
		return false
	}
	t.Sampled = flags[0]&1 == 1
	return t.TraceID != [16]byte{} && t.ParentSpan != [8]byte{}
}

// lowerHex decodes lower-case hexadecimal digits: W3C forbids upper case.
func lowerHex(dst []byte, s string) bool {
	for i := range dst {
		h, l := nibble(s[2*i]), nibble(s[2*i+1])
		if h|l > 15 {
			return false
		}
		dst[i] = h<<4 | l
	}
	return true
}

func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// Parent renders the traceparent that an upstream gets when span is its parent.
func (t Trace) Parent(span [8]byte) string {
	var b [55]byte
	copy(b[:], "00-")
	hex.Encode(b[3:35], t.TraceID[:])
	b[35] = '-'
	hex.Encode(b[36:52], span[:])
	copy(b[52:], "-00")
	if t.Sampled {
		b[54] = '1'
	}
	return string(b[:])
}

// NewID makes a 128-bit id, never zero. The generator is the runtime's ChaCha8, seeded by the system and without a lock.
func NewID() (id [16]byte) {
	binary.LittleEndian.PutUint64(id[:8], random())
	binary.LittleEndian.PutUint64(id[8:], random())
	return id
}

// NewSpanID makes the id of a span, never zero: an attempt gets its own before it begins, so that an upstream can be told its parent.
func NewSpanID() (id [8]byte) {
	binary.LittleEndian.PutUint64(id[:], random())
	return id
}

func random() uint64 {
	for {
		if n := rand.Uint64(); n != 0 {
			return n
		}
	}
}
