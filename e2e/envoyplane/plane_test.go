//go:build real

package envoyplane

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestPlane: a request through Envoy by each carrier, a reload, and the records.
func TestPlane(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}`)
	}))
	t.Cleanup(upstream.Close)
	policy := func(carrier string) []byte {
		return fmt.Appendf(nil, `version: 1
providers:
  pool: {engine: vllm, endpoints: [%s]}
models:
  small: {provider: pool, name: small-1b}
routes:
  auto: {rules: [{use: [small]}], carrier: %s}
server: {listen: "127.0.0.1:0"}
`, upstream.URL, carrier)
	}
	began := time.Now()
	p := Start(t, Options{Policy: Compile(t, policy("envoy"))})
	t.Logf("started in %s", time.Since(began))
	for i, carrier := range []string{"envoy", "executor"} {
		if i > 0 {
			if err := p.Replace(Compile(t, policy(carrier))); err != nil {
				t.Fatal(err)
			}
		}
		r, err := http.Post(p.URL+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"auto","messages":[{"role":"user","content":"hi"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r.Body)
		r.Body.Close()
		got := p.Settled(i + 1)[i]
		if r.StatusCode != 200 || !strings.Contains(string(b), "yes") || got.Carried != carrier || got.Outcome != "ok" || got.Usage.Output != 3 {
			t.Errorf("%d %s\n%+v", r.StatusCode, b, got)
		}
	}
}
