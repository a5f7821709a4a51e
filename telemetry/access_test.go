package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/llm"
)

// discardLogger formats lines, unlike slog.DiscardHandler, and throws them away.
func discardLogger() *slog.Logger { return slog.New(slog.NewJSONHandler(io.Discard, nil)) }

func accessLines(t *testing.T, records ...*Record) []map[string]any {
	t.Helper()
	var out bytes.Buffer
	s, err := New(t.Context(), Options{AccessLog: true, Logger: slog.New(slog.NewJSONHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		s.Emit(r)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	for l := range strings.Lines(out.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(l), &m); err != nil {
			t.Fatal(err)
		}
		got = append(got, m)
	}
	return got
}

func TestAccessLine(t *testing.T) {
	bad := answered()
	bad.Status, bad.Outcome = 502, "upstream_error"
	got := accessLines(t, answered(), bad, refused())
	want := map[string]any{
		"time": "2026-11-22T14:00:00.9Z", "level": "INFO", "msg": "exchange", "id": "ab010000000000000000000000000000", "route": "auto", "rule": "hard work", "boundary": "eu only",
		"class": "code", "gain": 0.31, "tier": "strong", "model": "gpt", "provider": "openai", "attempts": 2.0, "status": 200.0, "outcome": "ok",
		"first_token_ms": 390.0, "duration_ms": 900.0, "tokens_in": 120.0, "tokens_out": 34.0, "usage": "reported", "cost_usd": 0.00162, "stream": true,
		"tenant": "acme", "key": "web", "policy": "0123456789abcdef", "cache": "miss",
	}
	if len(got) != 3 {
		t.Fatalf("%d lines, want 3", len(got))
	}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	if got[1]["level"] != "WARN" {
		t.Errorf("level of a 502 is %v, want WARN", got[1]["level"])
	}
	keys := slices.Sorted(maps.Keys(got[2]))
	if want := []string{"attempts", "duration_ms", "error", "id", "level", "msg", "outcome", "path", "status", "stream", "time", "tokens_in", "tokens_out", "usage"}; !slices.Equal(keys, want) {
		t.Errorf("line of a refusal has %v, want %v", keys, want)
	}
}

func TestAccessLogOff(t *testing.T) {
	var out bytes.Buffer
	s, err := New(t.Context(), Options{Logger: slog.New(slog.NewJSONHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	s.Emit(answered())
	if err := s.Shutdown(t.Context()); err != nil || out.Len() > 0 {
		t.Errorf("error %v, output %q", err, &out)
	}
}

// stuck is a log sink that never takes a line until it is freed.
type stuck struct{ free chan struct{} }

func (s stuck) Enabled(context.Context, slog.Level) bool { return true }
func (s stuck) WithAttrs([]slog.Attr) slog.Handler       { return s }
func (s stuck) WithGroup(string) slog.Handler            { return s }
func (s stuck) Handle(context.Context, slog.Record) error {
	<-s.free
	return nil
}

// TestDeadLogNeverBlocks would hang (synctest reports the deadlock) if Emit waited for the sink.
func TestDeadLogNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := stuck{make(chan struct{})}
		dropped := 0
		l := newLines(h, nil, func() { dropped++ })
		r := refused()
		l.put(r)
		<-time.After(2 * linePause) // virtual
		synctest.Wait()             // the writer holds the first line
		for range lineQueue + 5 {
			l.put(r)
		}
		if dropped != 5 {
			t.Errorf("%d lines dropped, want 5", dropped)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.close(ctx); err == nil {
			t.Error("close of a dead log reports success")
		}
		close(h.free)
		if err := l.close(t.Context()); err != nil {
			t.Errorf("close after the log came back: %v", err)
		}
	})
}

func TestLine(t *testing.T) {
	gone := local()
	gone.Status, gone.Outcome, gone.FirstToken, gone.UsageKind = 0, "client_gone", time.Time{}, llm.UsageNone
	slow := answered()
	slow.End, slow.PriceKnown = at(12340), false
	got := Header() + "\n"
	for _, r := range []*Record{answered(), local(), refused(), gone, slow} {
		got += Line(r) + "\n"
	}
	want := `time     stat  class           gain  tier     model              att    first    total         tokens        cost
14:00:00  200  code           +0.31  strong   gpt                  2    390ms    900ms         120>34   $0.001620  hard work; bound: eu only
14:00:00  200  chat           -0.20  cheap    gemma-small          1     50ms    200ms           ~5>7           -  otherwise
14:00:00  401  -                  -  -        -                    0        -    1.0ms              -           -  client_error: invalid_api_key
14:00:00    -  chat           -0.20  cheap    gemma-small          1        -    200ms              -           -  client_gone
14:00:12  200  code           +0.31  strong   gpt                  2    390ms   12.34s         120>34           -  hard work; bound: eu only
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

// TestConsole checks that a row read back from an access line is the row of the record.
func TestConsole(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(Console(&out, nil))
	s, err := New(t.Context(), Options{AccessLog: true, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	want := Header() + "\n"
	for _, r := range []*Record{answered(), local(), refused()} {
		s.Emit(r)
		want += Line(r) + "\n"
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	out.Reset()
	logger.With("plane", "embedded").WithGroup("g").Warn("listening", "addr", "127.0.0.1:8080")
	logger.Debug("not shown")
	if got := out.String(); !strings.Contains(got, `level=WARN msg=listening plane=embedded g.addr=127.0.0.1:8080`) || strings.Contains(got, "not shown") {
		t.Errorf("other lines: %q", got)
	}
}
