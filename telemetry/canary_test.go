package telemetry

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/sluice-gateway/sluice/llm"
)

// plant writes a text of its own into every string that a record can reach and returns the texts by field. A field added to Record is
// planted too, so it cannot reach a sink without this test hearing of it.
func plant(v reflect.Value, path string, planted map[string]string) {
	switch v.Kind() {
	case reflect.String:
		text := "canary=" + strings.ToLower(strings.ReplaceAll(path, ".", "-")) + "-end"
		v.SetString(text)
		planted[path] = text
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				plant(v.Field(i), strings.TrimPrefix(path+"."+f.Name, "."), planted)
			}
		}
	case reflect.Slice:
		if v.Len() == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		for i := range v.Len() {
			plant(v.Index(i), path, planted)
		}
	}
}

// canaries returns a record whose every string is planted.
func canaries() (*Record, map[string]string) {
	r := answered()
	r.Attempts = r.Attempts[1:]
	r.Trace.TraceID = [16]byte{0xca}
	planted := map[string]string{}
	plant(reflect.ValueOf(r).Elem(), "", planted)
	return r, planted
}

// found lists the fields whose text is in out.
func found(out string, planted map[string]string) []string {
	fields := []string{}
	for _, field := range slices.Sorted(maps.Keys(planted)) {
		if strings.Contains(out, planted[field]) {
			fields = append(fields, field)
		}
	}
	return fields
}

// Fields that each projection may show. All are configured names or words of tables but those named here.
var (
	// On spans, of foreign text: RequestID and Trace.State are the client's own identifiers; ResponseID, ResponseModel, Finish and ErrorCode are an
	// upstream's, bounded and reduced to printable ASCII.
	spanFields = []string{
		"Attempts.By", "Attempts.Cause", "Attempts.Class", "Attempts.Endpoint", "Attempts.Escalated", "Attempts.Model", "Attempts.Provider", "Attempts.Rescue", "Attempts.System", "Attempts.Tier",
		"Boundaries", "Cache", "Carried", "Class", "ErrorCode", "Escalated", "Finish", "Key", "Model", "Outcome", "Path", "Plane", "Policy", "Provider", "Reason",
		"RequestID", "RequestModel", "ResponseID", "ResponseModel", "Route", "Rule", "Tenant", "Tier", "Trace.State",
	}
	metricFields = []string{
		"Attempts.Class", "Attempts.Model", "Attempts.Provider", "Attempts.System", "Cache", "Model", "Outcome", "RequestModel", "Route",
	}
	lineFields    = []string{"Boundaries", "Cache", "Class", "Key", "Model", "Outcome", "Policy", "Provider", "Route", "Rule", "Tenant", "Tier"}
	consoleFields = []string{"Boundaries", "Class", "Model", "Outcome", "Tier"}
)

func TestCanaries(t *testing.T) {
	r, planted := canaries()
	if len(planted) < 36 {
		t.Fatalf("only %d strings planted", len(planted))
	}
	var logs bytes.Buffer
	spans := tracetest.NewInMemoryExporter()
	s := newSink(t, Options{AccessLog: true, Logger: slog.New(slog.NewJSONHandler(&logs, nil)), SpanProcessor: sdktrace.NewSimpleSpanProcessor(spans)})
	s.Emit(r)
	r.Attempts[0].UsageKind = llm.UsageEstimated
	s.Emit(r)
	exported := fmt.Sprintf("%+v", spans.GetSpans())
	for _, span := range spans.GetSpans() {
		exported += fmt.Sprintf("%v %s", attributesOf(span), span.SpanContext.TraceState())
	}
	metrics := scrape(t, s, "application/openmetrics-text; version=1.0.0") + scrape(t, s, "text/plain")
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, out string
		want      []string
	}{
		{"spans", exported, spanFields},
		{"metrics", metrics, metricFields},
		{"access line", logs.String(), lineFields},
		{"console", Line(r), consoleFields},
	} {
		if diff := cmp.Diff(tc.want, found(tc.out, planted)); diff != "" {
			t.Errorf("%s shows other fields than it may (-want +got):\n%s", tc.name, diff)
		}
	}
}
