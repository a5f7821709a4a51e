package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/proxy/httpproxy"
	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/telemetry"
)

// BenchmarkCache asks the embedded plane over loopback, as many clients at once as tests run in parallel: the same request again and again (hit), and a
// new one each time, which an upstream answers at once (miss). Client, plane and upstream share one process.
func BenchmarkCache(b *testing.B) {
	answer := []byte(`{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"` +
		string(bytes.Repeat([]byte("It rains. "), 80)) + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":200,"total_tokens":209}}`)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	}))
	defer up.Close()
	p, problems := policies.LoadBytes("policy.yaml", fmt.Appendf(nil, `version: 1
providers:
  out: {dialect: openai, base_url: %q}
models:
  m: {provider: out, name: m}
routes:
  auto: {cache: {exact: 1h}, rules: [{use: [m]}]}
`, up.URL+"/v1"), policies.Options{})
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	g := proxy.NewGateway(p, proxy.Options{Router: router.New(router.Options{}), Emit: func(*telemetry.Record) {}})
	defer g.Close()
	h := httpproxy.New(g, nil)
	defer h.Close()
	s := httptest.NewServer(h)
	defer s.Close()
	for _, kind := range []string{"hit", "miss"} {
		b.Run(kind, func(b *testing.B) {
			var n atomic.Int64
			var mu sync.Mutex
			var all []time.Duration
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
			defer client.CloseIdleConnections()
			b.RunParallel(func(pb *testing.PB) {
				var took []time.Duration
				for pb.Next() {
					seed := int64(0)
					if kind == "miss" {
						seed = n.Add(1)
					}
					body := fmt.Appendf(nil, `{"model":"auto","temperature":0,"seed":%d,"messages":[{"role":"user","content":"Tell me about the weather in Bern."}]}`, seed)
					began := time.Now()
					resp, err := client.Post(s.URL+"/v1/chat/completions", "application/json", bytes.NewReader(body))
					if err != nil {
						b.Error(err)
						return
					}
					got, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					took = append(took, time.Since(began))
					if err != nil || len(got) != len(answer) {
						b.Errorf("%d %s %v", resp.StatusCode, got, err)
						return
					}
				}
				mu.Lock()
				defer mu.Unlock()
				all = append(all, took...)
			})
			slices.Sort(all)
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
		})
	}
}
