//go:build real

package envoyplane

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/internal/harness"
)

// TestQueue: Envoy carries what there is room for; what must wait for room waits in the executor, in the same line, and is carried by it; and what the
// line has no room for is refused at once.
func TestQueue(t *testing.T) {
	begun, release := make(chan struct{}, 8), make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method != http.MethodPost {
			return // health
		}
		begun <- struct{}{}
		<-release
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}`)
	}))
	t.Cleanup(upstream.Close)
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free)
	p := Start(t, Options{Policy: Compile(t, fmt.Appendf(nil, `version: 1
providers:
  pool: {engine: vllm, endpoints: [%s], concurrent: 1, queue: {max: 1, wait: 5m}}
models:
  small: {provider: pool, name: small-1b}
routes:
  auto: {rules: [{use: [small]}], carrier: envoy, timeouts: {headers: 5m, answer: 5m}}
server: {listen: "127.0.0.1:0"}
`, upstream.URL))})
	type answer struct {
		status      int
		after, body string
	}
	ask := func() answer {
		r, err := http.Post(p.URL+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"auto","messages":[{"role":"user","content":"hi"}]}`))
		if err != nil {
			t.Error(err)
			return answer{}
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		return answer{r.StatusCode, r.Header.Get("Retry-After"), string(b)}
	}
	answers := make(chan answer, 2)
	go func() { answers <- ask() }()
	<-begun
	go func() { answers <- ask() }()
	harness.Poll(t, "the second request waits", func() error {
		if held, waiting, _ := p.Gateway.Queued("pool"); held != 1 || waiting != 1 {
			return fmt.Errorf("%d in flight, %d waiting", held, waiting)
		}
		return nil
	})
	if a := ask(); a.status != 503 || a.after == "" || !strings.Contains(a.body, `"overloaded"`) && !strings.Contains(a.body, `"no_target_available"`) {
		t.Errorf("beyond the line: %+v", a)
	}
	if len(begun) > 0 {
		t.Error("the upstream is asked beyond its limit")
	}
	free()
	for range 2 {
		if a := <-answers; a.status != 200 || !strings.Contains(a.body, "yes") {
			t.Errorf("%+v", a)
		}
	}
	carried := map[string]int{}
	for _, r := range p.Settled(3) {
		carried[fmt.Sprintf("%s by %s", r.Outcome, r.Carried)]++
	}
	if carried["ok by envoy"] != 1 || carried["ok by executor"] != 1 || carried["overloaded by executor"] != 1 {
		t.Errorf("carried %v", carried)
	}
}
