package telemetry

import (
	"encoding/hex"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/sluice-gateway/sluice/llm"
)

// spansOf emits a record and returns its spans in the order in which they began.
func spansOf(t *testing.T, r *Record) tracetest.SpanStubs {
	t.Helper()
	e := tracetest.NewInMemoryExporter()
	s := newSink(t, Options{ServiceVersion: "v1", SpanProcessor: sdktrace.NewSimpleSpanProcessor(e)})
	s.Emit(r)
	spans := e.GetSpans()
	slices.SortStableFunc(spans, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	return spans
}

func attributesOf(s tracetest.SpanStub) map[string]any {
	m := map[string]any{}
	for _, kv := range s.Attributes {
		m[string(kv.Key)] = kv.Value.AsInterface()
	}
	return m
}

func TestSpanTree(t *testing.T) {
	r := answered()
	spans := spansOf(t, r)
	type node struct {
		name       string
		kind       trace.SpanKind
		id, parent [8]byte
		from, to   int64
		status     codes.Code
	}
	want := []node{
		{"POST /v1/chat/completions", trace.SpanKindServer, [8]byte{10}, [8]byte{9}, 0, 900, codes.Unset},
		{"chat gemma-small", trace.SpanKindClient, [8]byte{11}, [8]byte{10}, 1, 890, codes.Unset},
		{"attempt gemma-small", trace.SpanKindClient, [8]byte{12}, [8]byte{11}, 1, 2, codes.Error},
		{"attempt gpt", trace.SpanKindClient, [8]byte{13}, [8]byte{11}, 3, 890, codes.Unset},
	}
	var got []node
	for _, s := range spans {
		got = append(got, node{
			s.Name, s.SpanKind, s.SpanContext.SpanID(), s.Parent.SpanID(), s.StartTime.Sub(t0).Milliseconds(), s.EndTime.Sub(t0).Milliseconds(), s.Status.Code,
		})
		if s.SpanContext.TraceID() != r.Trace.TraceID || !s.SpanContext.IsSampled() || s.SpanContext.TraceState().String() != "vendor=x" {
			t.Errorf("%s: context %v", s.Name, s.SpanContext)
		}
	}
	slices.SortStableFunc(got, func(a, b node) int { return slices.Compare(a.id[:], b.id[:]) })
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(node{})); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	if !spans[0].Parent.IsRemote() {
		t.Error("the caller's span is not marked as remote")
	}
}

func TestSpanAttributes(t *testing.T) {
	got := map[string]map[string]any{}
	for _, s := range spansOf(t, answered()) {
		got[s.Name] = attributesOf(s)
	}
	want := map[string]map[string]any{
		"POST /v1/chat/completions": {
			"http.request.method": "POST", "http.route": "/v1/chat/completions", "url.path": "/v1/chat/completions", "http.response.status_code": int64(200),
			"http.request.body.size": int64(1000), "http.response.body.size": int64(5000), "http.request.header.x-request-id": []string{"req-1"},
			"sluice.id": "ab010000000000000000000000000000", "sluice.attempts": int64(2), "sluice.route": "auto", "sluice.outcome": "ok", "sluice.tenant": "acme",
			"sluice.key": "web", "sluice.plane": "embedded", "sluice.policy.version": "0123456789abcdef", "sluice.cache": "miss",
			"sluice.boundaries": []string{"eu only"},
		},
		"chat gemma-small": {
			"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gemma-small", "gen_ai.request.stream": true,
			"gen_ai.request.max_tokens": int64(256), "gen_ai.request.temperature": 0.2, "gen_ai.response.id": "chatcmpl-1",
			"gen_ai.response.model": "gpt-5.5-2026", "gen_ai.response.finish_reasons": []string{"stop"}, "gen_ai.response.time_to_first_chunk": 0.389,
			"gen_ai.usage.input_tokens": int64(120), "gen_ai.usage.output_tokens": int64(34), "gen_ai.usage.cache_read.input_tokens": int64(100),
			"gen_ai.usage.reasoning.output_tokens": int64(10), "gen_ai.usage.cost.amount": 0.00162, "gen_ai.usage.cost.currency": "USD",
			"gen_ai.usage.cost.source": "local", "server.address": "api.openai.com", "server.port": int64(443),
			"sluice.route": "auto", "sluice.rule": "hard work", "sluice.class": "code", "sluice.class.probability": 0.9, "sluice.gain": 0.31, "sluice.gain.features": []string{"digits +0.021", "length -0.004"}, "sluice.novelty": 0.12, "sluice.tier": "strong",
			"sluice.model": "gpt", "sluice.provider": "openai", "sluice.reason": `rule="hard work" class=code gain=0.31 tier=strong`,
			"sluice.attempts": int64(2), "sluice.policy.version": "0123456789abcdef", "sluice.carried_by": "executor", "sluice.usage": "reported",
			"sluice.cost.micro_usd": int64(1620), "sluice.cache": "miss", "sluice.outcome": "ok", "sluice.session": false,
		},
		"attempt gemma-small": {
			"http.request.method": "POST", "server.address": "10.0.0.11", "server.port": int64(8000), "error.type": "transient",
			"sluice.attempt.index": int64(0), "sluice.attempt.model": "gemma-small", "sluice.attempt.provider": "pool", "sluice.attempt.own": true,
			"sluice.attempt.tier": "cheap", "sluice.attempt.by": "rule", "sluice.attempt.cause": "refused", "sluice.attempt.usage": "none",
		},
		"attempt gpt": {
			"http.request.method": "POST", "server.address": "api.openai.com", "server.port": int64(443), "http.response.status_code": int64(200),
			"sluice.attempt.index": int64(1), "sluice.attempt.model": "gpt", "sluice.attempt.provider": "openai", "sluice.attempt.own": false,
			"sluice.attempt.tier": "strong", "sluice.attempt.by": "fallback", "sluice.attempt.time_to_first_token": 0.387, "sluice.attempt.usage": "reported",
			"sluice.attempt.input_tokens": int64(120), "sluice.attempt.output_tokens": int64(34), "sluice.attempt.cost.micro_usd": int64(1620),
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}

func TestSpanCases(t *testing.T) {
	interrupted := answered()
	interrupted.Outcome, interrupted.ErrorCode = "interrupted", "stream_interrupted"
	gone := local()
	gone.Outcome, gone.Status, gone.Attempts[0].Class = "client_gone", 0, llm.ClassCanceled
	foreignCode := local()
	foreignCode.Outcome, foreignCode.Status, foreignCode.ErrorCode = "client_error", 400, "some_upstream_text"
	hit := local()
	hit.Attempts, hit.Cache, hit.UsageKind = nil, "hit", llm.UsageNone
	files := local()
	files.Op, files.RequestModel, files.Path = llm.OpOpaque, "", "/v1/files"
	odd := refused()
	odd.Method = "BREW"
	unsampled := answered()
	unsampled.Trace.Sampled = false

	type outcome struct {
		names   []string
		failed  bool   // SERVER span
		failure string // error.type of the SERVER span
	}
	for _, tc := range []struct {
		name string
		r    *Record
		want outcome
	}{
		{"refused before a model", refused(), outcome{[]string{"POST /v1/chat/completions"}, false, "invalid_api_key"}},
		{"method that a client made up", odd, outcome{[]string{"_OTHER /v1/chat/completions"}, false, "invalid_api_key"}},
		{"stream broke after its head", interrupted, outcome{[]string{"POST /v1/chat/completions", "attempt gemma-small", "attempt gpt", "chat gemma-small"}, true, "stream_interrupted"}},
		{"client left", gone, outcome{[]string{"POST /v1/chat/completions", "attempt gemma-small", "chat gemma-small"}, false, "client_gone"}},
		{"code of an upstream's own", foreignCode, outcome{[]string{"POST /v1/chat/completions", "attempt gemma-small", "chat gemma-small"}, false, "client_error"}},
		{"cache hit", hit, outcome{[]string{"POST /v1/chat/completions", "chat gemma-small"}, false, ""}},
		{"no model named", files, outcome{[]string{"POST /v1/files", "attempt gemma-small"}, false, ""}},
		{"not sampled", unsampled, outcome{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got outcome
			for _, s := range spansOf(t, tc.r) {
				got.names = append(got.names, s.Name)
				if s.SpanKind == trace.SpanKindServer {
					got.failed = s.Status.Code == codes.Error
					got.failure, _ = attributesOf(s)["error.type"].(string)
				}
			}
			slices.Sort(got.names)
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(outcome{})); diff != "" {
				t.Errorf("spans (-want +got):\n%s", diff)
			}
		})
	}
}

// TestUpstreamParent checks that the span an upstream was told as its parent is in the trace.
func TestUpstreamParent(t *testing.T) {
	r := answered()
	told := r.Trace.Parent(r.Attempts[1].Span)
	for _, s := range spansOf(t, r) {
		if s.Name == "attempt gpt" {
			if id := s.SpanContext.SpanID(); told[36:52] != hex.EncodeToString(id[:]) || told[3:35] != s.SpanContext.TraceID().String() {
				t.Errorf("told %s, span %v", told, s.SpanContext)
			}
		}
	}
}

func TestUnfilledRecord(t *testing.T) {
	r := &Record{Trace: Trace{Sampled: true}, RequestModel: "m", Attempts: []Attempt{{}}, Start: t0, End: at(1)}
	spans := spansOf(t, r)
	if len(spans) != 3 {
		t.Fatalf("%d spans, want 3", len(spans))
	}
	for _, s := range spans {
		if !s.SpanContext.IsValid() || s.SpanContext.TraceID() != spans[0].SpanContext.TraceID() {
			t.Errorf("%s: %v", s.Name, s.SpanContext)
		}
	}
}

func TestForeign(t *testing.T) {
	for in, want := range map[string]string{"": "", "stop": "stop", "a\nb\x00": "a?b?", "caf\xc3\xa9": "caf??", "\xff": "?", "0123456789abcdefg": "0123456789abcdef"} {
		if got := foreign(in, 16); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	var kv []attribute.KeyValue
	kv = append(kv, attrResponseFinish.StringSlice(finishes(make([]string, 40))))
	if n := len(kv[0].Value.AsStringSlice()); n != maxFinish {
		t.Errorf("%d finish reasons, want %d", n, maxFinish)
	}
}
