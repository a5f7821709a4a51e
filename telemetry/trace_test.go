package telemetry

import (
	"strings"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestNewTraceJoins(t *testing.T) {
	for _, tc := range []struct {
		name, header, state string
		sampled             bool
		wantState           string
	}{
		{"sampled", parent, "a=b,c@d=e", true, "a=b,c@d=e"},
		{"not sampled", parent[:53] + "00", "", false, ""},
		{"other flags", parent[:53] + "02", "", false, ""},
		{"all flags", parent[:53] + "ff", "", true, ""},
		{"later version", "01" + parent[2:], "", true, ""},
		{"later version with more", "cc" + parent[2:] + "-what ever", "", true, ""},
		{"bad state", parent, "not a state", true, ""},
		{"long state", parent, "a=" + strings.Repeat("x", 250) + ",b=" + strings.Repeat("y", 250) + ",c=123456789", true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := NewTrace(tc.header, tc.state)
			want := Trace{
				TraceID:    [16]byte{0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36},
				ParentSpan: [8]byte{0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7}, Server: got.Server, Client: got.Client, Sampled: tc.sampled, State: tc.wantState,
			}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestNewTraceBeginsItsOwn(t *testing.T) {
	for _, header := range []string{
		"", "00", parent[:54], parent + "0", parent + "-00", "ff" + parent[2:], "0g" + parent[2:], " " + parent, strings.ToUpper(parent),
		"00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
		"00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e473é-0f067aa0ba902b7-01", parent + "," + parent,
		"01" + parent[2:] + "x",
	} {
		got := NewTrace(header, "a=b")
		if got.ParentSpan != ([8]byte{}) || got.State != "" || !got.Sampled || strings.Contains(parent, got.Parent(got.Server)[3:35]) {
			t.Errorf("%q was joined: %+v", header, got)
		}
		if got.TraceID == ([16]byte{}) || got.Server == ([8]byte{}) || got.Client == ([8]byte{}) || got.Server == got.Client {
			t.Errorf("%q: ids are not distinct: %+v", header, got)
		}
	}
}

func TestParent(t *testing.T) {
	tr := NewTrace(parent, "")
	if got, want := tr.Parent([8]byte{1, 2}), "00-4bf92f3577b34da6a3ce929d0e0e4736-0102000000000000-01"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	tr.Sampled = false
	if got := tr.Parent([8]byte{1}); !strings.HasSuffix(got, "-00") {
		t.Errorf("not sampled, but %s", got)
	}
	if n := testing.AllocsPerRun(100, func() { sinkString = NewTrace(parent, "").Parent(NewSpanID()) }); n > 1 {
		t.Errorf("%v allocations, want only the string", n)
	}
}

var sinkString string

// FuzzNewTrace compares the grammar with the propagator of OpenTelemetry: what Sluice joins, the propagator must read alike, but for flags that
// W3C has not given a meaning yet: they are to be ignored, and the propagator refuses them.
func FuzzNewTrace(f *testing.F) {
	for _, s := range []string{parent, parent[:53] + "00", parent[:53] + "10", "01" + parent[2:] + "-x", "ff" + parent[2:], ""} {
		f.Add(s, "a=b")
	}
	f.Fuzz(func(t *testing.T, header, state string) {
		got := NewTrace(header, state)
		if got.TraceID == ([16]byte{}) || got.Server == ([8]byte{}) {
			t.Fatal("zero id")
		}
		joined := got.ParentSpan != [8]byte{}
		if joined && strings.HasPrefix(header, "00-") {
			header = header[:52] + got.Parent(got.Server)[52:]
		}
		ctx := propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": header, "tracestate": state})
		theirs := trace.SpanContextFromContext(ctx)
		if joined && (theirs.TraceID() != got.TraceID || theirs.SpanID() != got.ParentSpan || theirs.IsSampled() != got.Sampled) {
			t.Errorf("%q: got %+v, the propagator reads %v", header, got, theirs)
		}
		if !joined && theirs.IsValid() && strings.HasPrefix(header, "00-") {
			t.Errorf("%q is refused, the propagator reads %v", header, theirs)
		}
		if again := NewTrace(got.Parent(got.Server), ""); again.TraceID != got.TraceID || again.ParentSpan != got.Server || again.Sampled != got.Sampled {
			t.Errorf("Parent does not read back: %+v, %+v", got, again)
		}
	})
}

func BenchmarkNewTrace(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		tr := NewTrace(parent, "")
		sinkString = tr.Parent(NewSpanID())
	}
}
