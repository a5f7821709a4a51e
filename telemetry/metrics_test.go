package telemetry

import (
	"flag"
	"io"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

func newSink(t *testing.T, o Options) *Sink {
	t.Helper()
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A test that shuts down itself has an error here, which says only that.
		_ = s.Shutdown(t.Context())
	})
	return s
}

func scrape(t *testing.T, s *Sink, accept string) string {
	t.Helper()
	req := httptest.NewRequest("GET", "/metrics", nil)
	req.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, req)
	body, err := io.ReadAll(w.Result().Body)
	if err != nil || w.Code != 200 {
		t.Fatalf("status %d, error %v: %s", w.Code, err, body)
	}
	return string(body)
}

// own keeps the lines of Sluice's metrics and drops those of the runtime, whose set depends on the platform.
func own(text string) string {
	var b strings.Builder
	for l := range strings.Lines(text) {
		name := strings.TrimPrefix(strings.TrimPrefix(l, "# HELP "), "# TYPE ")
		if (strings.HasPrefix(name, "sluice_") && !strings.HasPrefix(name, "sluice_build_info{")) || strings.HasPrefix(name, "gen_ai_") {
			b.WriteString(l)
		}
	}
	return b.String()
}

func fill(t *testing.T, s *Sink) {
	t.Helper()
	err := s.Observe(Sources{
		InFlight: func() int64 { return 3 },
		Breakers: func(yield func(BreakerState) bool) {
			_ = yield(BreakerState{Provider: "openai", Model: "gpt", State: 2}) &&
				yield(BreakerState{Provider: "pool", Model: "gemma-small", Target: "10.0.0.11:8000", State: 1})
		},
		Endpoints: func(yield func(EndpointState) bool) {
			yield(EndpointState{Provider: "pool", Endpoint: "10.0.0.11:8000", Healthy: true, InFlight: 2, Tokens: 900})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Emit(answered())
	s.Emit(local())
	s.Emit(refused())
	s.Reload(true)
	s.Reload(false)
	s.Panic()
	s.StateDegraded("limits")
	s.StateDegraded("budget")
	s.StateRestored("budget")
	s.exportFailed("spans")
	s.lineDropped()
}

func TestMetricsGolden(t *testing.T) {
	s := newSink(t, Options{ServiceVersion: "v1"})
	fill(t, s)
	got := own(scrape(t, s, "text/plain"))
	const file = "testdata/metrics.golden"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("metrics changed; dashboards read these names (-want +got):\n%s", diff)
	}
}

// TestMetricsContract holds the names that the contract promises, beside the golden file that -update would rewrite.
func TestMetricsContract(t *testing.T) {
	s := newSink(t, Options{ServiceVersion: "v1"})
	fill(t, s)
	text := "\n" + scrape(t, s, "text/plain")
	for _, want := range []string{
		`sluice_policy_reloads_total{result="ok"} 1`,
		`sluice_policy_reloads_total{result="error"} 1`,
		`sluice_policy_last_reload_success 0`,
		`sluice_exchanges_total{outcome="ok",route="auto"} 2`,
		`sluice_exchanges_total{outcome="client_error",route=""} 1`,
		`sluice_attempts_total{class="ok",model="gpt",provider="openai"} 1`,
		`sluice_attempts_total{class="transient",model="gemma-small",provider="pool"} 1`,
		`sluice_state_degraded{use="limits"} 1`,
		`sluice_state_degraded{use="budget"} 0`,
		`sluice_panics_total 1`,
		`sluice_exchanges_in_flight 3`,
		`sluice_cost_micro_usd_total{model="gpt",provider="openai"} 1620`,
		`sluice_estimated_tokens_total{model="gemma-small",provider="pool",type="output"} 7`,
		`gen_ai_client_token_usage_sum{gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="gpt",gen_ai_token_type="input"} 120`,
		`gen_ai_client_operation_duration_seconds_count{gen_ai_operation_name="chat",gen_ai_provider_name="vllm",gen_ai_request_model="gemma-small",gen_ai_response_model="gemma-small"} 1`,
		`gen_ai_client_operation_time_to_first_chunk_seconds_count{gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="gemma-small",gen_ai_response_model="gpt"} 1`,
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("no line %q", want)
		}
	}
	if strings.Contains(text, "otel_scope") || strings.Contains(text, "target_info") {
		t.Error("labels of the scope or target_info are exported")
	}
	if strings.Contains(text, `gen_ai_client_token_usage_sum{gen_ai_operation_name="chat",gen_ai_provider_name="vllm"`) {
		t.Error("estimated tokens are counted as reported ones")
	}
}

func TestExemplars(t *testing.T) {
	s := newSink(t, Options{SpanProcessor: sdktrace.NewSimpleSpanProcessor(tracetest.NewInMemoryExporter())})
	r := answered()
	s.Emit(r)
	text := scrape(t, s, "application/openmetrics-text; version=1.0.0")
	if !strings.Contains(text, `trace_id="01020300000000000000000000000000"`) || !strings.Contains(text, "# EOF") {
		t.Errorf("no exemplar of a sampled exchange in:\n%s", own(text))
	}
	s = newSink(t, Options{SpanProcessor: sdktrace.NewSimpleSpanProcessor(tracetest.NewInMemoryExporter())})
	r.Trace.Sampled = false
	s.Emit(r)
	if strings.Contains(scrape(t, s, "application/openmetrics-text; version=1.0.0"), "trace_id") {
		t.Error("an exemplar points to a trace that is not sampled")
	}
}

func TestCacheStartsAfresh(t *testing.T) {
	c := cache[exchangeKey]{set: exchangeKey.set}
	first := c.of(exchangeKey{"a", "ok"})
	if c.of(exchangeKey{"a", "ok"}) != first {
		t.Fatal("a known series is built again")
	}
	full := make(map[exchangeKey]*options, maxCached)
	for i := range maxCached {
		full[exchangeKey{string(rune(i)), "x"}] = first
	}
	c.seen.Store(&full)
	c.of(exchangeKey{"b", "ok"})
	if n := len(*c.seen.Load()); n != 1 {
		t.Errorf("%d series kept, want 1", n)
	}
}

func BenchmarkEmit(b *testing.B) {
	for _, tc := range []struct {
		name    string
		options Options
	}{
		{"metrics", Options{}},
		{"metrics+line", Options{AccessLog: true, Logger: discardLogger()}},
		{"metrics+json", Options{AccessLog: true, Lines: io.Discard}},
		{"metrics+line+spans", Options{AccessLog: true, Logger: discardLogger(), SpanProcessor: sdktrace.NewBatchSpanProcessor(tracetest.NewNoopExporter())}},
	} {
		b.Run(tc.name, func(b *testing.B) {
			s, err := New(b.Context(), tc.options)
			if err != nil {
				b.Fatal(err)
			}
			r := answered()
			r.Attempts = r.Attempts[1:]
			b.ReportAllocs()
			for b.Loop() {
				s.Emit(r)
			}
			b.StopTimer()
			if err := s.Shutdown(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// TestEmitAllocations holds what an exchange pays when nobody takes spans or lines: nothing, once its series are known.
func TestEmitAllocations(t *testing.T) {
	s := newSink(t, Options{})
	r := answered()
	for range 2 * tallyRoom { // each place in the tally makes room for attempts once
		s.Emit(r)
	}
	if n := testing.AllocsPerRun(200, func() { s.Emit(r) }); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
