package telemetry

import (
	"slices"
	"testing"

	"github.com/sluice-gateway/sluice/llm"
)

// TestEmbedding: the request that the cache was looked up with is a span beside the logical call, and no attempt at it.
func TestEmbedding(t *testing.T) {
	r := answered()
	r.Attempts, r.Cache, r.Likeness = nil, "hit", 0.93
	r.Embedding = &Attempt{Span: [8]byte{14}, Model: "mini", Provider: "pool", By: "cache", Start: r.Start, End: r.Start, UsageKind: llm.UsageReported, Usage: llm.Usage{Input: 7}}
	found := 0
	for _, s := range spansOf(t, r) {
		a := attributesOf(s)
		switch s.Name {
		case "attempt mini":
			found++
			if s.Parent.SpanID() != r.Trace.Server || a["sluice.attempt.by"] != "cache" || a["sluice.attempt.usage"] != "reported" {
				t.Errorf("under %v: %v", s.Parent.SpanID(), a)
			}
		case "chat gemma-small":
			found++
			if a["sluice.cache.likeness"] != 0.93 || a["sluice.attempts"] != int64(0) {
				t.Errorf("the call: %v", a)
			}
		}
	}
	if found != 2 {
		t.Errorf("%d of 2 spans", found)
	}
	var asked []string
	for a := range r.Requests {
		asked = append(asked, a.Model)
	}
	if !slices.Equal(asked, []string{"mini"}) {
		t.Errorf("asked %v", asked)
	}
}
