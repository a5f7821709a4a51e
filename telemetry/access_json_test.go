package telemetry

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/llm"
)

// slogLine is what slog's JSON handler makes of an entry.
func slogLine(t testing.TB, e *entry) string {
	t.Helper()
	var out bytes.Buffer
	if err := slog.NewJSONHandler(&out, nil).Handle(t.Context(), e.record()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestJSONLineIsSlogs(t *testing.T) {
	bad := answered()
	bad.Status, bad.Outcome, bad.Plane, bad.Carried, bad.Stream = 502, "upstream_error", "envoy", "executor", true
	odd := answered()
	odd.Rule, odd.Tenant, odd.Boundaries = "a \"b\" \\ \n\r\t\x00\x1f\x7f <é> \u2028\u2029 \xff\xed\xa0\x80 \ufffd 😀", "x<&>y", []string{"one", "two"}
	var records []*Record
	for _, cost := range []int64{0, 1, 9, 10, 1234567, math.MaxInt64} {
		r := answered()
		r.MicroUSD, r.PriceKnown = cost, true
		records = append(records, r)
	}
	for _, gain := range []float64{0, -.0004, .0005, -.31, 1, math.Copysign(0, -1), math.NaN(), math.Inf(1)} {
		r := local()
		r.Gain = gain
		records = append(records, r)
	}
	for _, took := range []time.Duration{-time.Second, 0, 1, 1500 * time.Nanosecond, 17 * time.Hour} {
		r := local()
		r.End, r.FirstToken = r.Start.Add(took), r.Start.Add(took/2)
		records = append(records, r)
	}
	east := refused()
	east.End = east.End.In(time.FixedZone("east", 5*3600+1800))
	for _, r := range append(records, answered(), local(), refused(), bad, odd, east, &Record{}, &Record{UsageKind: llm.UsageEstimated}) {
		e := newEntry(r)
		if diff := cmp.Diff(slogLine(t, &e), string(e.appendJSON(nil))); diff != "" {
			t.Errorf("line (-slog +ours):\n%s", diff)
		}
	}
}

func FuzzJSONLine(f *testing.F) {
	f.Add("hard work", .31, int64(1620), int64(900e6))
	f.Add("\xe2\x80\xa8\"", 1e-9, int64(-1), int64(-5))
	f.Fuzz(func(t *testing.T, s string, gain float64, cost, took int64) {
		e := entry{rule: s, outcome: s, class: "code", gain: gain, cost: float64(cost) * gain, priced: true, duration: time.Duration(took)}
		if want, got := slogLine(t, &e), string(e.appendJSON(nil)); got != want {
			t.Errorf("slog writes %q, we %q", want, got)
		}
	})
}

// writes counts calls, and may refuse them.
type writes struct {
	calls int
	text  strings.Builder
	err   error
}

func (w *writes) Write(p []byte) (int, error) {
	w.calls++
	w.text.Write(p)
	return len(p), w.err
}

func TestLinesAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &writes{}
		dropped := 0
		l := newLines(nil, w, func() { dropped++ })
		var want string
		for _, r := range []*Record{answered(), local(), refused()} {
			l.put(r)
			e := newEntry(r)
			want += slogLine(t, &e)
		}
		<-time.After(2 * linePause) // virtual
		synctest.Wait()
		if diff := cmp.Diff(want, w.text.String()); diff != "" || w.calls != 1 {
			t.Errorf("%d writes (-want +got):\n%s", w.calls, diff)
		}
		w.err = errors.New("no space")
		for range lineQueue + 5 {
			l.put(refused())
		}
		if dropped != 5 {
			t.Errorf("%d lines dropped before the writer came, want 5", dropped)
		}
		if err := l.close(t.Context()); err != nil || dropped != lineQueue+5 {
			t.Errorf("error %v, %d lines dropped, want all %d", err, dropped, lineQueue+5)
		}
	})
}

// BenchmarkLine renders one access line, through slog and without.
func BenchmarkLine(b *testing.B) {
	r := answered()
	b.Run("slog", func(b *testing.B) {
		h := slog.NewJSONHandler(io.Discard, nil)
		b.ReportAllocs()
		for b.Loop() {
			e := newEntry(r)
			if err := h.Handle(b.Context(), e.record()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("json", func(b *testing.B) {
		var text []byte
		b.ReportAllocs()
		for b.Loop() {
			e := newEntry(r)
			text = e.appendJSON(text[:0])
		}
	})
}

// TestJSONLineAllocatesNothing: what a gateway writes for every exchange leaves nothing to collect.
func TestJSONLineAllocatesNothing(t *testing.T) {
	e := newEntry(answered())
	text := make([]byte, 0, 1<<10)
	if n := testing.AllocsPerRun(100, func() { text = e.appendJSON(text[:0]) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
