package proxy_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/telemetry"
	"github.com/sluice-gateway/sluice/tenants"
)

// Without max_tokens a budget is overdrawn by what the answers in flight cost beyond what was reserved for them, which is what 95 of 100 answers of the model stay below,
// and by no more.
func TestOvershoot(t *testing.T) {
	const (
		limit    = 12_500 // micro-dollars
		usual    = 10     // tokens of an answer
		long     = 50
		price    = 10 // micro-dollars a token of an answer
		learning = 20 // answers until the model's are known
		storm    = 200
	)
	g := proxy.NewGateway(compile(t, fmt.Appendf(nil, `version: 1
providers:
  ext: {dialect: openai, base_url: http://ext.test:9000/v1, keys: [{env: KEY}]}
models:
  big: {provider: ext, name: big-70b, price: {in: 0, out: %d}}
routes:
  auto: {budget: {usd: %v}, rules: [{use: [big]}]}
`, price, limit/1e6)), proxy.Options{Router: router.New(router.Options{}), Emit: func(*telemetry.Record) {}})
	spent := func() int64 {
		t.Helper()
		all, err := tenants.Balances(t.Context(), g.Store(), &tenants.Register{}, g.Snapshot().Policy, time.Now())
		if err != nil || len(all) != 1 || all[0].Reserved != 0 {
			t.Fatalf("%+v %v", all, err)
		}
		return all[0].Spent
	}
	for range learning {
		x := open(t, g)
		if x == nil {
			t.Fatal("refused while the model's answers are learned")
		}
		answer(t, x, usual)
	}
	before := spent()
	if before != learning*usual*price {
		t.Fatalf("%d spent on learning", before)
	}
	var flying []*proxy.Exchange
	for range storm {
		if x := open(t, g); x != nil {
			flying = append(flying, x)
		}
	}
	if want := int((limit - before) / (usual * price)); len(flying) != want {
		t.Errorf("%d of %d were let through, want %d: each reserves what a usual answer costs", len(flying), storm, want)
	}
	for _, x := range flying {
		answer(t, x, long)
	}
	beyond := int64(len(flying) * (long - usual) * price)
	if got := spent(); got > limit+beyond {
		t.Errorf("%d spent of %d; the answers in flight cost %d beyond what was reserved", got, limit, beyond)
	} else if got <= limit {
		t.Errorf("%d spent of %d: nothing was overdrawn, and the test shows nothing", got, limit)
	}
	if x := open(t, g); x != nil {
		t.Error("a budget that is overdrawn lets another one through")
		x.End()
	}
}

// open takes an exchange as far as its upstream request; nil: the budget refused it.
func open(t *testing.T, g *proxy.Gateway) *proxy.Exchange {
	t.Helper()
	x, reply := g.Begin(context.Background(), proxy.Head{Method: "POST", URL: &url.URL{Path: "/v1/chat/completions"}, ContentLength: -1, Plane: "embedded",
		Header: http.Header{"Content-Type": {"application/json"}}})
	if reply != nil {
		t.Fatalf("begin: %d %s", reply.Status, reply.Body)
	}
	if _, reply := x.Request([]byte(`{"model":"auto","messages":[{"role":"user","content":"hi"}]}`)); reply != nil {
		if reply.Status != http.StatusTooManyRequests {
			t.Fatalf("request: %d %s", reply.Status, reply.Body)
		}
		x.End()
		return nil
	}
	if _, v := x.Attempt(0); v.Action != proxy.More {
		t.Fatalf("attempt: %+v", v)
	}
	return x
}

// answer ends an exchange with an answer of so many tokens.
func answer(t *testing.T, x *proxy.Exchange, tokens int) {
	t.Helper()
	x.Response(http.StatusOK, http.Header{"Content-Type": {"application/json"}})
	body := fmt.Appendf(nil, `{"id":"c","object":"chat.completion","created":1,"model":"big-70b","choices":[{"index":0,"message":{"role":"assistant","content":"It rains."},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":%d,"total_tokens":%d}}`, tokens, 1+tokens)
	if _, v := x.Write(nil, body, true); v.Action != proxy.Done {
		t.Fatalf("write: %+v", v)
	}
	x.End()
}
