package telemetry

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	v1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// sink is an OTLP collector in the test's process: it keeps what it is sent.
type sink struct {
	tracepb.UnimplementedTraceServiceServer
	metricspb.UnimplementedMetricsServiceServer
	mu      sync.Mutex
	traces  []*tracepb.ExportTraceServiceRequest
	metrics []*metricspb.ExportMetricsServiceRequest
}

func (s *sink) Export(_ context.Context, r *tracepb.ExportTraceServiceRequest) (*tracepb.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.traces = append(s.traces, r)
	return &tracepb.ExportTraceServiceResponse{}, nil
}

// metricSink gives the other Export its own receiver.
type metricSink struct {
	metricspb.UnimplementedMetricsServiceServer
	*sink
}

func (s metricSink) Export(_ context.Context, r *metricspb.ExportMetricsServiceRequest) (*metricspb.ExportMetricsServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sink.metrics = append(s.sink.metrics, r)
	return &metricspb.ExportMetricsServiceResponse{}, nil
}

func serveGRPC(t *testing.T) (*sink, string) {
	t.Helper()
	s := &sink{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	tracepb.RegisterTraceServiceServer(server, s)
	metricspb.RegisterMetricsServiceServer(server, metricSink{sink: s})
	go func() { _ = server.Serve(l) }() // ends with Stop
	t.Cleanup(server.Stop)
	return s, "grpc://" + l.Addr().String()
}

func serveHTTP(t *testing.T) (*sink, string) {
	t.Helper()
	s := &sink{}
	read := func(w http.ResponseWriter, r *http.Request, m proto.Message) bool {
		b, err := io.ReadAll(r.Body)
		if err == nil {
			err = proto.Unmarshal(b, m)
		}
		if err != nil || r.Header.Get("Content-Type") != "application/x-protobuf" {
			http.Error(w, "bad export", http.StatusBadRequest)
		}
		return err == nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /base/v1/traces", func(w http.ResponseWriter, r *http.Request) {
		m := &tracepb.ExportTraceServiceRequest{}
		if read(w, r, m) {
			_, _ = s.Export(r.Context(), m)
		}
	})
	mux.HandleFunc("POST /base/v1/metrics", func(w http.ResponseWriter, r *http.Request) {
		m := &metricspb.ExportMetricsServiceRequest{}
		if read(w, r, m) {
			_, _ = metricSink{sink: s}.Export(r.Context(), m)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return s, server.URL + "/base/"
}

func (s *sink) spans() []*v1.Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*v1.Span
	for _, r := range s.traces {
		for _, rs := range r.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				all = append(all, ss.Spans...)
			}
		}
	}
	return all
}

func (s *sink) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, r := range s.traces {
		b.WriteString(prototext.Format(r))
	}
	for _, r := range s.metrics {
		b.WriteString(prototext.Format(r))
	}
	return strings.ReplaceAll(b.String(), ":  ", ": ") // prototext varies its spaces on purpose
}

// TestOTLP reads a trace back from a collector over both protocols.
func TestOTLP(t *testing.T) {
	t.Setenv(protocolOf, "")
	for name, serve := range map[string]func(*testing.T) (*sink, string){"grpc": serveGRPC, "http": serveHTTP} {
		t.Run(name, func(t *testing.T) {
			collector, endpoint := serve(t)
			s, err := New(t.Context(), Options{ServiceVersion: "v1", OTLPEndpoint: endpoint})
			if err != nil {
				t.Fatal(err)
			}
			s.Emit(answered())
			s.Emit(refused())
			planted, fields := canaries()
			s.Emit(planted)
			if err := s.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			checkTree(t, collector.spans(), answered().Trace.TraceID)
			text := collector.text()
			if diff := cmp.Diff(spanFields, found(text, fields)); diff != "" {
				t.Errorf("the collector got other fields than it may (-want +got):\n%s", diff)
			}
			for _, want := range []string{
				metricTokens, metricDuration, metricFirst, "sluice.exchanges", "sluice.attempts", "sluice.cost", `"service.name"`, `string_value: "sluice"`, `string_value: "v1"`,
			} {
				if !strings.Contains(text, want) {
					t.Errorf("the collector did not get %s", want)
				}
			}
		})
	}
}

func checkTree(t *testing.T, spans []*v1.Span, id [16]byte) {
	t.Helper()
	required := map[string][]string{
		"POST /v1/chat/completions": {"http.request.method", "http.route", "http.response.status_code", "url.path", "sluice.route"},
		"chat gemma-small": {
			"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.id", "gen_ai.response.model", "gen_ai.response.finish_reasons",
			"gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "sluice.route", "sluice.rule", "sluice.class", "sluice.gain",
		},
		"attempt gemma-small": {"server.address", "server.port", "error.type", "sluice.attempt.index"},
		"attempt gpt":         {"server.address", "server.port", "http.response.status_code", "sluice.attempt.index"},
	}
	var tree []string
	for _, s := range spans {
		if !bytes.Equal(s.TraceId, id[:]) {
			continue
		}
		tree = append(tree, fmt.Sprintf("%s %s %s<%s", s.Name, s.Kind, hex.EncodeToString(s.SpanId[:1]), hex.EncodeToString(s.ParentSpanId[:1])))
		var keys []string
		for _, kv := range s.Attributes {
			keys = append(keys, kv.Key)
			if strings.HasPrefix(kv.Key, "gen_ai.usage") && !strings.HasPrefix(s.Name, "chat ") {
				t.Errorf("%s holds %s: tokens would be counted twice", s.Name, kv.Key)
			}
		}
		for _, k := range required[s.Name] {
			if !slices.Contains(keys, k) {
				t.Errorf("%s lacks %s", s.Name, k)
			}
		}
		if len(s.Events) > 0 || len(s.Links) > 0 {
			t.Errorf("%s has events or links", s.Name)
		}
	}
	slices.Sort(tree)
	want := []string{
		"POST /v1/chat/completions SPAN_KIND_SERVER 0a<09", "attempt gemma-small SPAN_KIND_CLIENT 0c<0b", "attempt gpt SPAN_KIND_CLIENT 0d<0b",
		"chat gemma-small SPAN_KIND_CLIENT 0b<0a",
	}
	if diff := cmp.Diff(want, tree); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}

// hung is an exporter that never comes back until it is freed.
type hung struct{ free chan struct{} }

func (h hung) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	<-h.free
	return nil
}
func (h hung) Shutdown(context.Context) error { return nil }

// TestDeadCollectorNeverBlocks emits far more than the queue holds. Emit must come back although nothing is ever exported; the deadline is
// generous and only turns a hang into a failure.
func TestDeadCollectorNeverBlocks(t *testing.T) {
	h := hung{make(chan struct{})}
	defer close(h.free)
	s, err := New(t.Context(), Options{SpanProcessor: sdktrace.NewBatchSpanProcessor(h, sdktrace.WithMaxQueueSize(8), sdktrace.WithExportTimeout(time.Hour))})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2000 {
			s.Emit(answered())
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("Emit waits for a dead collector")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); err == nil {
		t.Error("Shutdown with a dead collector reports success")
	}
}

// TestUnreachableCollector checks that a collector which is not there is told of once, in a metric and in the log, and holds nothing up.
func TestUnreachableCollector(t *testing.T) {
	t.Setenv(protocolOf, "")
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }))
	defer refuses.Close()
	var logs bytes.Buffer
	s, err := New(t.Context(), Options{OTLPEndpoint: refuses.URL, Logger: slog.New(slog.NewTextHandler(&logs, nil))})
	if err != nil {
		t.Fatal(err)
	}
	s.Emit(answered())
	if err := s.spans.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.readers.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	text := scrape(t, s, "text/plain")
	for _, want := range []string{`sluice_telemetry_export_failures_total{signal="spans"} 1`, `sluice_telemetry_export_failures_total{signal="metrics"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if n := strings.Count(logs.String(), "telemetry export failed"); n != 1 {
		t.Errorf("%d lines of the failure, want 1:\n%s", n, &logs)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

func TestParseCollector(t *testing.T) {
	for _, tc := range []struct {
		endpoint, protocol, want string
	}{
		{"localhost:4317", "", "grpc http://localhost:4317"},
		{"localhost:4318", "", "http http://localhost:4318"},
		{"localhost:9999", "", "grpc http://localhost:9999"},
		{"localhost", "", "grpc http://localhost:4317"},
		{"localhost", "http/protobuf", "http http://localhost:4318"},
		{"localhost:4318", "grpc", "grpc http://localhost:4318"},
		{"localhost:4317", "http/protobuf", "http http://localhost:4317"},
		{"http://collector", "", "http http://collector:4318"},
		{"http://collector:4317", "", "grpc http://collector:4317"},
		{"http://collector:4317/", "grpc", "grpc http://collector:4317"},
		{"https://collector", "grpc", "grpc https://collector:4317"},
		{"https://cloud.example.com/api/otel/", "", "http https://cloud.example.com:443/api/otel"},
		{"https://cloud.example.com:8443", "", "http https://cloud.example.com:8443"},
		{"grpc://collector", "http/protobuf", "grpc http://collector:4317"},
		{"grpcs://collector:443", "", "grpc https://collector:443"},
		{"[::1]:4318", "", "http http://[::1]:4318"},
		{"http://[::1]", "", "http http://[::1]:4318"},
	} {
		c, err := parseCollector(tc.endpoint, tc.protocol)
		got := "http " + c.url("")
		if c.grpc {
			got = "grpc " + c.url("")
		}
		if err != nil || got != tc.want {
			t.Errorf("%s %s: got %s, %v, want %s", tc.endpoint, tc.protocol, got, err, tc.want)
		}
	}
	for _, bad := range []string{"", "ftp://x", "http://", ":4317", "grpc://x/path", "http://user:secret@x:4318", "http://x?a=b", "http://x:port", "a b"} {
		if c, err := parseCollector(bad, ""); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, c)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error holds a credential: %v", bad, err)
		}
	}
	if _, err := parseCollector("localhost:4317", "http/json"); err == nil {
		t.Error("a protocol that Sluice does not speak is taken")
	}
	if _, err := New(t.Context(), Options{OTLPEndpoint: "ftp://x"}); err == nil {
		t.Error("New takes a bad endpoint")
	}
}

func FuzzParseCollector(f *testing.F) {
	f.Add("https://h:1/p", "grpc")
	f.Add("[::1]:4318", "")
	f.Fuzz(func(t *testing.T, endpoint, protocol string) {
		c, err := parseCollector(endpoint, protocol)
		if err != nil {
			return
		}
		if host, port, err := net.SplitHostPort(c.host); err != nil || host == "" || port == "" {
			t.Errorf("%q: host %q: %v", endpoint, c.host, errors.Join(err))
		}
	})
}
