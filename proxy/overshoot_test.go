package proxy_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
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
		x := open(t, g, chatPath, short)
		if x == nil {
			t.Fatal("refused while the model's answers are learned")
		}
		answer(t, x, 1, usual)
	}
	before := spent()
	if before != learning*usual*price {
		t.Fatalf("%d spent on learning", before)
	}
	var flying []*proxy.Exchange
	for range storm {
		if x := open(t, g, chatPath, short); x != nil {
			flying = append(flying, x)
		}
	}
	if want := int((limit - before) / (usual * price)); len(flying) != want {
		t.Errorf("%d of %d were let through, want %d: each reserves what a usual answer costs", len(flying), storm, want)
	}
	for _, x := range flying {
		answer(t, x, 1, long)
	}
	beyond := int64(len(flying) * (long - usual) * price)
	if got := spent(); got > limit+beyond {
		t.Errorf("%d spent of %d; the answers in flight cost %d beyond what was reserved", got, limit, beyond)
	} else if got <= limit {
		t.Errorf("%d spent of %d: nothing was overdrawn, and the test shows nothing", got, limit)
	}
	if x := open(t, g, chatPath, short); x != nil {
		t.Error("a budget that is overdrawn lets another one through")
		x.End()
	}
}

const (
	chatPath = "/v1/chat/completions"
	short    = `{"model":"auto","messages":[{"role":"user","content":"hi"}]}`
)

// With max_tokens no request costs more than what was reserved for it, however it is made: here it comes to as many tokens as the least of vocabularies makes of it, and its answers are as
// long as they may be.
func TestNoOvershoot(t *testing.T) {
	digits, emoji := strings.Repeat("4711", 500), strings.Repeat("\U0001fae8", 500)
	for _, tc := range []struct {
		name, path, body string
		prompt, answer   int // tokens, of all answers together
	}{
		{"Responses", "/v1/responses", `{"model":"auto","max_output_tokens":5000,"input":"hi"}`, 30, 5000},
		{"digits", chatPath, `{"model":"auto","max_tokens":10,"messages":[{"role":"user","content":"` + digits + `"}]}`, 2000, 10},
		{"emoji", chatPath, `{"model":"auto","max_tokens":10,"messages":[{"role":"user","content":"` + emoji + `"}]}`, 2000, 10},
		{"escaped", chatPath, `{"model":"auto","max_tokens":10,"messages":[{"role":"user","content":"` + strings.Repeat(`\ud83e\udee8`, 500) + `"}]}`, 2000, 10},
		{"a tool's definition", chatPath, `{"model":"auto","max_tokens":10,"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f","description":"` + digits + `"}}]}`, 2500, 10},
		{"a call's arguments", chatPath, `{"model":"auto","max_tokens":10,"messages":[{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"` + digits + `"}}]},{"role":"tool","tool_call_id":"1","content":"7"}]}`, 2000, 10},
		{"a schema", chatPath, `{"model":"auto","max_tokens":10,"messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_schema","json_schema":{"name":"` + digits + `","schema":{}}}}`, 2000, 10},
		{"an image", chatPath, `{"model":"auto","max_tokens":10,"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://a.test/b.png"}}]}]}`, 16_384, 10},
		{"choices", chatPath, `{"model":"auto","max_tokens":1000,"n":3,"messages":[{"role":"user","content":"hi"}]}`, 30, 3000},
		{"prompts", "/v1/completions", `{"model":"auto","max_tokens":1000,"prompt":["a","b","c"]}`, 3, 3000},
		{"candidates", "/v1/completions", `{"model":"auto","max_tokens":1000,"best_of":3,"prompt":"a"}`, 3, 3000},
		{"two limits", chatPath, `{"model":"auto","max_tokens":10,"max_completion_tokens":5000,"messages":[{"role":"user","content":"hi"}]}`, 30, 5000},
		{"a limit of llama.cpp's", chatPath, `{"model":"auto","max_tokens":10,"n_predict":5000,"messages":[{"role":"user","content":"hi"}]}`, 30, 5000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := proxy.NewGateway(compile(t, []byte(`version: 1
providers:
  pool: {engine: vllm, endpoints: [http://pool.test:8000]}
models:
  big: {provider: pool, name: big-70b, price: {in: 1, out: 2, tiers: [{above: 16400, in: 0.1, out: 0.1}]}}
routes:
  auto: {budget: {usd: 1}, rules: [{use: [big]}]}
`)), proxy.Options{Router: router.New(router.Options{}), Emit: func(*telemetry.Record) {}})
			account := func() tenants.Account {
				all, err := tenants.Balances(t.Context(), g.Store(), &tenants.Register{}, g.Snapshot().Policy, time.Now())
				if err != nil || len(all) != 1 {
					t.Fatalf("%+v %v", all, err)
				}
				return all[0]
			}
			x := open(t, g, tc.path, tc.body)
			if x == nil {
				t.Fatal("refused")
			}
			reserved := account().Reserved
			answer(t, x, tc.prompt, tc.answer)
			if now := account(); now.Spent > reserved || now.Spent != int64(tc.prompt+2*tc.answer) || now.Reserved != 0 {
				t.Errorf("%d were reserved: %+v", reserved, now)
			}
		})
	}
}

// What was reserved roughly, while there was much room, is weighed before another attempt is refused.
func TestAmpleIsWeighed(t *testing.T) {
	g := proxy.NewGateway(compile(t, []byte(`version: 1
providers:
  ext: {dialect: openai, base_url: http://ext.test:9000/v1, keys: [{env: KEY}]}
models:
  big: {provider: ext, name: big-70b, price: {in: 1, out: 1}}
routes:
  auto: {budget: {usd: 0.5}, attempts: {per_model: 2}, rules: [{use: [big]}]}
`)), proxy.Options{Router: router.New(router.Options{}), Emit: func(*telemetry.Record) {}})
	reserved := func() int64 {
		all, err := tenants.Balances(t.Context(), g.Store(), &tenants.Register{}, g.Snapshot().Policy, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return all[0].Reserved
	}
	body := `{"model":"auto","max_tokens":10,"messages":[{"role":"user","content":"` + strings.Repeat("it is the end of the day ", 160) + `"}]}`
	x := open(t, g, chatPath, body)
	defer x.End()
	if rough := reserved(); rough < int64(len(body)) {
		t.Fatalf("%d reserved for %d bytes", rough, len(body))
	}
	y := open(t, g, chatPath, fmt.Sprintf(`{"model":"auto","max_tokens":%d,"messages":[{"role":"user","content":"hi"}]}`, 500_000-reserved()-500))
	if y == nil {
		t.Fatal("no room for the other one")
	}
	defer y.End()
	v := x.Fail(proxy.CauseReset, nil)
	if v.Action != proxy.Next {
		t.Fatalf("%+v", v)
	}
	if _, v = x.Attempt(v.Attempt); v.Action != proxy.More {
		t.Errorf("there is room for two attempts in what was reserved for one: %+v", v)
	}
}

// open takes an exchange as far as its upstream request; nil: the budget refused it.
func open(t *testing.T, g *proxy.Gateway, path, body string) *proxy.Exchange {
	t.Helper()
	x, reply := g.Begin(context.Background(), proxy.Head{Method: "POST", URL: &url.URL{Path: path}, ContentLength: -1, Plane: "embedded",
		Header: http.Header{"Content-Type": {"application/json"}}})
	if reply != nil {
		t.Fatalf("begin: %d %s", reply.Status, reply.Body)
	}
	if _, reply := x.Request([]byte(body)); reply != nil {
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
func answer(t *testing.T, x *proxy.Exchange, prompt, tokens int) {
	t.Helper()
	x.Response(http.StatusOK, http.Header{"Content-Type": {"application/json"}})
	body := fmt.Appendf(nil, `{"id":"c","object":"chat.completion","created":1,"model":"big-70b","choices":[{"index":0,"message":{"role":"assistant","content":"It rains."},"finish_reason":"stop"}],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}`, prompt, tokens, prompt+tokens)
	if _, v := x.Write(nil, body, true); v.Action != proxy.Done {
		t.Fatalf("write: %+v", v)
	}
	x.End()
}
