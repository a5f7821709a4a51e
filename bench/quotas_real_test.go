//go:build real

package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/redis"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/proxy/httpproxy"
	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/telemetry"
	"github.com/sluice-gateway/sluice/tenants"
)

// BenchmarkQuotas asks three gateways in turn, one request at a time over loopback: without limits and budgets (the floor), with them in memory, and with them in a
// Redis on loopback. It reports the floor's median and what the other two add to it.
func BenchmarkQuotas(b *testing.B) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10}}`)
	}))
	defer up.Close()
	_, addr := harness.Redis(b, "..")
	rdb, err := redis.Open(redis.Options{URL: "redis://" + addr, Timeout: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	defer rdb.Close()
	shared, err := tenants.OpenShared(rdb, &policies.Redis{}, tenants.NewMemory())
	if err != nil {
		b.Fatal(err)
	}
	defer shared.Close()
	key, err := tenants.NewKey("web")
	if err != nil {
		b.Fatal(err)
	}
	const quotas = ", limits: {requests: 100M/s, tokens: 100M/s, concurrent: 1000}, budget: {usd: 1000000}"
	kinds := []struct {
		name, quotas string
		store        tenants.Store
		url          string
		took         []time.Duration
	}{{name: "floor"}, {name: "memory", quotas: quotas}, {name: "redis", quotas: quotas, store: shared}}
	for i := range kinds {
		k := &kinds[i]
		url, done := quotaGateway(b, up.URL, tenants.Hash("pepper", key), k.quotas, k.store)
		defer done()
		k.url = url + "/v1/chat/completions"
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	defer client.CloseIdleConnections()
	body := []byte(`{"model":"auto","max_tokens":50,"messages":[{"role":"user","content":"Will it rain in Bern?"}]}`)
	for b.Loop() {
		for i := range kinds {
			k := &kinds[i]
			r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, k.url, bytes.NewReader(body))
			if err != nil {
				b.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+key)
			began := time.Now()
			resp, err := client.Do(r)
			if err != nil {
				b.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			k.took = append(k.took, time.Since(began))
			if err != nil || resp.StatusCode != http.StatusOK {
				b.Fatalf("%s: %s %s %v", k.name, resp.Status, got, err)
			}
		}
	}
	floor := 0.0
	for _, k := range kinds {
		slices.Sort(k.took)
		p50 := micros(k.took[len(k.took)/2])
		if k.name == "floor" {
			floor = p50
			b.ReportMetric(p50, "floor-p50-µs")
			continue
		}
		b.ReportMetric(p50-floor, k.name+"-adds-µs")
	}
}

// quotaGateway serves a policy with one tenant, which has the quotas. done ends it.
func quotaGateway(b *testing.B, upstream, hash, quotas string, store tenants.Store) (url string, done func()) {
	b.Helper()
	p, problems := policies.LoadBytes("policy.yaml", fmt.Appendf(nil, `version: 1
providers:
  out: {dialect: openai, base_url: %q}
models:
  m: {provider: out, name: m, price: {in: 1, out: 4}}
routes:
  auto: {rules: [{use: [m]}]}
auth: {pepper: {env: PEPPER}}
server: {auth: required}
tenants:
  acme: {keys: [{id: web, hash: %q}]%s}
`, upstream+"/v1", hash, quotas), policies.Options{Env: func(string) (string, bool) { return "pepper", true }})
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	g := proxy.NewGateway(p, proxy.Options{Router: router.New(router.Options{}), Emit: func(*telemetry.Record) {}, Store: store})
	h := httpproxy.New(g, nil)
	s := httptest.NewServer(h)
	return s.URL, func() {
		s.Close()
		h.Close()
		g.Close()
	}
}
