//go:build real

package e2e

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/simulator"
)

// semanticPolicy has the real MiniLM look questions up that a simulated provider answers. An embedding may take as long as a test may.
func semanticPolicy(provider, embedder string) string {
	return fmt.Sprintf(`version: 1
providers:
  out: {dialect: openai, base_url: "http://%s/v1"}
  embedder: {engine: llamacpp, endpoints: ["http://%s"]}
models:
  big: {provider: out, name: big, price: {in: 1, out: 1}}
  minilm: {provider: embedder, name: minilm, can: [embeddings], price: {in: 10, out: 0}}
routes:
  auto:
    rules: [{use: [big]}]
    cache: {exact: 1h, semantic: {model: minilm, ttl: 1h, timeout: %s}}
`, provider, embedder, harness.Patience)
}

// TestSemanticCache asks a gateway over a real embedding model: a paraphrase is a hit, and what only looks like one is none.
func TestSemanticCache(t *testing.T) {
	sim, addr := provider(t, simulator.Options{})
	_, embedder := harness.Pool(t, "..", 0, "--minilm")
	g := serve(t, semanticPolicy(addr, embedder))
	c := newClient(t)
	ask := func(prompt, more string) *answer {
		t.Helper()
		a := chat(t.Context(), c, g, chatBody("auto", prompt, false, `,"temperature":0`+more))
		if a.err != nil || a.status != 200 {
			t.Fatalf("%s: %d %v %s", prompt, a.status, a.err, a.body)
		}
		return a
	}
	for _, tc := range []struct{ prompt, more, cache string }{
		{"What is the capital of France?", "", "miss"},
		{"Tell me France's capital", "", "hit"},
		{"could you please tell me what the capital of France is", "", "hit"},
		{"What is the capital of Germany?", "", "miss"},
		{"What was the capital of France?", "", "miss"},
		{"What is 2+2?", "", "miss"},
		{"What is 2+3?", "", "miss"},
		{"How do I turn the light on?", "", "miss"},
		{"How do I turn the light off?", "", "miss"},
		{"How can I turn the light off?", "", "hit"},
		{"How can I turn the light off?", `,"seed":1`, "miss"},
	} {
		a := ask(tc.prompt, tc.more)
		if got := a.header.Get("X-Sluice-Cache"); got != tc.cache {
			t.Errorf("%s: %s, want %s", tc.prompt, got, tc.cache)
		}
		likeness, _ := strconv.ParseFloat(a.header.Get("X-Sluice-Likeness"), 64) // absent = 0
		if tc.cache == "hit" && likeness < 0.8 || tc.cache == "miss" && likeness != 0 {
			t.Errorf("%s: a %s at %f", tc.prompt, tc.cache, likeness)
		}
	}
	if n := len(sim.Log()); n != 8 {
		t.Errorf("the provider was asked %d times", n)
	}
	if n := g.Metric(t, "sluice_attempts_total", `model="minilm"`, `class="ok"`); n != 11 {
		t.Errorf("%v embeddings", n)
	}
	if hits := g.Metric(t, "sluice_cache_total", `route="auto"`, `result="hit"`); hits != 3 {
		t.Errorf("%v hits", hits)
	}
}
