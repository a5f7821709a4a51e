package telemetry

import (
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/leak"
	"github.com/sluice-gateway/sluice/llm"
)

func TestMain(m *testing.M) { leak.Main(m) }

var t0 = time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }

// answered is an exchange that failed over: the pool refused, the external provider answered a stream.
func answered() *Record {
	temp := 0.2
	return &Record{
		ID: [16]byte{0xab, 1}, RequestID: "req-1", Start: t0, End: at(900),
		Trace: Trace{
			TraceID: [16]byte{1, 2, 3}, ParentSpan: [8]byte{9}, Server: [8]byte{10}, Client: [8]byte{11}, Sampled: true, State: "vendor=x",
		},
		Method: "POST", Path: "/v1/chat/completions", Op: llm.OpChat, Plane: "embedded", Carried: "executor", Policy: "0123456789abcdef",
		Tenant: "acme", Key: "web", Route: "auto", Rule: "hard work", Class: "code", ClassP: 0.9, Gain: 0.31, Why: [3]Reason{{"digits", .021}, {"length", -.004}}, Novelty: 0.12, Tier: "strong", Model: "gpt",
		Provider: "openai", Reason: `rule="hard work" class=code gain=0.31 tier=strong`, Boundaries: []string{"eu only"}, Cache: "miss",
		RequestModel: "gemma-small", Stream: true, MaxTokens: 256, Temperature: &temp, Choices: 1,
		Status: 200, Outcome: "ok", FirstByte: at(400), FirstToken: at(390), BytesIn: 1000, BytesOut: 5000,
		Usage: llm.Usage{Input: 120, Output: 34, Cached: 100, Reasoning: 10}, UsageKind: llm.UsageReported, MicroUSD: 1620, PriceKnown: true,
		ResponseID: "chatcmpl-1", ResponseModel: "gpt-5.5-2026", Finish: []string{"stop"},
		Attempts: []Attempt{
			{
				Index: 0, Span: [8]byte{12}, Model: "gemma-small", Provider: "pool", Own: true, Tier: "cheap", Endpoint: "10.0.0.11:8000", By: "rule",
				Start: at(1), End: at(2), Class: llm.ClassTransient, Cause: "refused", System: "vllm",
			},
			{
				Index: 1, Span: [8]byte{13}, Model: "gpt", Provider: "openai", Tier: "strong", Endpoint: "api.openai.com:443", By: "fallback",
				Start: at(3), End: at(890), Status: 200, FirstByte: at(380), FirstToken: at(390),
				Usage: llm.Usage{Input: 120, Output: 34, Cached: 100, Reasoning: 10}, UsageKind: llm.UsageReported, MicroUSD: 1620,
				ResponseID: "chatcmpl-1", ResponseModel: "gpt-5.5-2026", Finish: []string{"stop"}, System: "openai",
			},
		},
	}
}

// local is an exchange that the pool answered and whose tokens are estimated.
func local() *Record {
	return &Record{
		ID: [16]byte{0xac}, Start: t0, End: at(200), Trace: NewTrace("", ""), Method: "POST", Path: "/v1/chat/completions", Op: llm.OpChat,
		Plane: "embedded", Carried: "executor", Route: "auto", Rule: "otherwise", Class: "chat", Gain: -0.2, Tier: "cheap", Model: "gemma-small",
		Provider: "pool", RequestModel: "gemma-small", Status: 200, Outcome: "ok", FirstToken: at(50), Usage: llm.Usage{Input: 5, Output: 7},
		UsageKind: llm.UsageEstimated,
		Attempts: []Attempt{{
			Span: NewSpanID(), Model: "gemma-small", Provider: "pool", Own: true, Tier: "cheap", Endpoint: "10.0.0.11:8000", By: "rule", Start: at(1), End: at(199),
			Status: 200, FirstToken: at(50), Usage: llm.Usage{Input: 5, Output: 7}, UsageKind: llm.UsageEstimated, System: "vllm",
		}},
	}
}

// refused is an exchange that ended before any model was asked.
func refused() *Record {
	return &Record{
		ID: [16]byte{0xad}, Start: t0, End: at(1), Trace: NewTrace("", ""), Method: "POST", Path: "/v1/chat/completions", Op: llm.OpChat,
		Status: 401, Outcome: "client_error", ErrorCode: "invalid_api_key",
	}
}
