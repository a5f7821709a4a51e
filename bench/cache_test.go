package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
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

// cacheWords is how long the answers are that BenchmarkCache asks for, in tokens: a stream has an event for each.
const cacheWords = 200

// BenchmarkCache asks the embedded plane over loopback, as many clients at once as tests run in parallel: the same request again and again (hit), and a
// new one each time, which an upstream answers at once (miss), with a body of JSON or with a stream of an event for each token. Client, plane and upstream
// share one process.
func BenchmarkCache(b *testing.B) {
	up := httptest.NewServer(http.HandlerFunc(answerAtOnce))
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
	var seed atomic.Int64
	for _, form := range []string{"json", "stream"} {
		same := seed.Add(1)
		for _, kind := range []string{"hit", "miss"} {
			b.Run(form+"/"+kind, func(b *testing.B) {
				askCache(b, s.URL, form == "stream", func() int64 {
					if kind == "hit" {
						return same
					}
					return seed.Add(1)
				})
			})
		}
	}
}

// answerAtOnce is an upstream that answers without thinking.
func answerAtOnce(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if !bytes.Contains(body, []byte(`"stream":true`)) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":%d,"total_tokens":%[3]d}}`,
			strings.Repeat(" rain", cacheWords), cacheWords, 9+cacheWords)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	const chunk = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":%s,"finish_reason":%s}]}` + "\n\n"
	for range cacheWords {
		fmt.Fprintf(w, chunk, `{"content":" rain"}`, "null")
		w.(http.Flusher).Flush()
	}
	fmt.Fprintf(w, chunk+"data: [DONE]\n\n", "{}", `"stop"`)
}

// askCache measures answers; seed is the next request's, and tells it from others.
func askCache(b *testing.B, url string, stream bool, seed func() int64) {
	var mu sync.Mutex
	var all []time.Duration
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	b.RunParallel(func(pb *testing.PB) {
		var took []time.Duration
		for pb.Next() {
			body := fmt.Appendf(nil, `{"model":"auto","stream":%t,"temperature":0,"seed":%d,"messages":[{"role":"user","content":"Tell me about the weather in Bern."}]}`, stream, seed())
			began := time.Now()
			resp, err := client.Post(url+"/v1/chat/completions", "application/json", bytes.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			took = append(took, time.Since(began))
			if err != nil || bytes.Count(got, []byte(" rain")) != cacheWords {
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
}
