package httpproxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/proxy/httpproxy"
	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/telemetry"
)

const answer = `{"id":"chatcmpl-1","object":"chat.completion","created":1767225600,"model":"up","choices":[{"index":0,"message":{"role":"assistant","content":"A short answer."},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}`

// BenchmarkUnary carries 1 KB requests over loopback: what the handler and the phases cost beside net/http on both sides, which "direct" shows.
func BenchmarkUnary(b *testing.B) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}))
	defer up.Close()
	sink, err := telemetry.New(b.Context(), telemetry.Options{})
	if err != nil {
		b.Fatal(err)
	}
	g := proxy.NewGateway(compile(b, fmt.Sprintf(`
version: 1
providers: {ext: {dialect: openai, base_url: "%s/v1"}}
models: {m: {provider: ext, name: up}}
routes: {auto: {rules: [{use: [m]}]}}
`, up.URL)), proxy.Options{Router: router.New(router.Options{}), Emit: sink.Emit})
	gw := httptest.NewServer(httpproxy.New(g, nil))
	defer gw.Close()
	body := []byte(`{"model":"auto","messages":[{"role":"user","content":"` + strings.Repeat("hello world this is a test ", 36) + `"}]}`)
	for name, base := range map[string]string{"direct": up.URL, "sluice": gw.URL} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				resp, err := http.Post(base+"/v1/chat/completions", "application/json", bytes.NewReader(body))
				if err != nil {
					b.Fatal(err)
				}
				n, _ := io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 || n == 0 {
					b.Fatal(resp.Status)
				}
			}
		})
	}
}

func compile(tb testing.TB, src string) *policies.Policy {
	f, problems := policies.Parse("policy.yaml", []byte(src))
	if len(problems) == 0 {
		var p *policies.Policy
		if p, problems = policies.Compile(f, policies.Options{}); len(problems) == 0 {
			return p
		}
	}
	tb.Fatal(problems)
	return nil
}
