package httpproxy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/proxy/httpproxy"
	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/router/pool"
	"github.com/sluice-gateway/sluice/telemetry"
)

// starvedPolicy has limits that a machine without a processor to spare keeps as well: what is held is that they end something, not when.
const starvedPolicy = `version: 1
providers:
  ext: {dialect: openai, base_url: "UP/silent/v1"}
  pool: {engine: vllm, endpoints: ["UP"]}
models:
  quiet: {provider: ext, name: quiet}
  good: {provider: pool, name: good}
routes: {auto: {rules: [{use: [quiet, good]}], timeouts: {answer: 6s}}}
`

// hog keeps a processor busy until stop is closed.
func hog(stop <-chan struct{}) {
	for {
		for range 1 << 20 { // nothing that yields
		}
		select {
		case <-stop:
			return
		default:
		}
	}
}

// TestStarvedProcessor is F28: two hogs and one processor. A provider that says nothing is left when its limit has passed, whoever comes next answers, and
// a healthy endpoint is not taken for dead.
func TestStarvedProcessor(t *testing.T) {
	silent := make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch {
		case strings.HasPrefix(r.URL.Path, "/silent"):
			<-silent
		case r.URL.Path != "/health":
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, answer)
		}
	}))
	defer up.Close()
	defer close(silent)
	records := make(chan *telemetry.Record, 1)
	g := proxy.NewGateway(compile(t, strings.ReplaceAll(starvedPolicy, "UP", up.URL)), proxy.Options{Router: router.New(router.Options{}), Emit: func(r *telemetry.Record) { records <- r }})
	handler := httpproxy.New(g, nil)
	defer handler.Close()
	gateway := httptest.NewServer(handler)
	defer gateway.Close()

	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var work sync.WaitGroup
	defer work.Wait()
	stop := make(chan struct{})
	defer close(stop)
	for range 2 {
		work.Go(func() { hog(stop) })
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	work.Go(func() {
		g.Pools().Pool("pool").Watch(ctx, func(ctx context.Context, u *url.URL) error {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+u.Host+"/health", nil)
			if err != nil {
				return err
			}
			resp, err := client.Do(r)
			if err == nil {
				resp.Body.Close()
			}
			return err
		}, 10*time.Second)
	})

	resp, err := client.Post(gateway.URL+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"auto","messages":[{"role":"user","content":"hi"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || string(b) != answer {
		t.Errorf("%d %s, %v", resp.StatusCode, b, err)
	}
	r := <-records
	if len(r.Attempts) != 2 || r.Attempts[0].Class != llm.ClassTimeout || r.Attempts[1].Class != "" {
		t.Errorf("attempts %+v", r.Attempts)
	}
	harness.Poll(t, "the endpoint is ready", func() error {
		if s := g.Pools().Pool("pool").Status()[0]; s.State != pool.Ready {
			return fmt.Errorf("it is %v: %s", s.State, s.Reason)
		}
		return nil
	})
}
