//go:build real

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/redis"
	"github.com/sluice-gateway/sluice/internal/simulator"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/providers/openai"
)

// Prices of the model m, in micro-USD a token.
const (
	priceIn  = 1
	priceOut = 10
)

// sharedPolicy has gateways share a Redis: one tenant with a budget in USD and a limit, one model.
func sharedPolicy(upstream, redis, hash, usd, timeout, failure string) string {
	return fmt.Sprintf(`version: 1
providers:
  p: {dialect: openai, base_url: "http://%s/v1"}
models:
  m: {provider: p, name: m, price: {in: %d, out: %d}}
routes:
  auto: {rules: [{use: [m]}], timeouts: {total: 1m}, session: {header: x-session-id, sticky: 20m}}
auth: {pepper: {env: SLUICE_PEPPER}}
tenants:
  acme:
    keys: [{id: web, hash: %q}]
    limits: {requests: 100k/s}
    budget: {usd: %s, per: month}
state: {redis: {url: "redis://%s", timeout: %s, on_failure: %s}}
`, upstream, priceIn, priceOut, hash, usd, redis, timeout, failure) + strings.Replace(server, "headers: full", "headers: full, auth: required", 1)
}

// account is the tenant's budget, as a gateway shows it.
type account struct {
	Spent    int64 `json:"spent_micro_usd"`
	Reserved int64 `json:"reserved_micro_usd"`
	Limit    int64 `json:"micro_usd"`
}

func accountOf(t *testing.T, g *harness.Gateway) account {
	t.Helper()
	var got struct{ Budgets []account }
	if err := json.Unmarshal([]byte(harness.Get(t, g.Admin+"/admin/budgets")), &got); err != nil || len(got.Budgets) != 1 {
		t.Fatalf("%+v %v", got, err)
	}
	return got.Budgets[0]
}

// spent is what the upstream's own counter says that it cost.
func spent(sim *simulator.Server) int64 {
	total := sim.Totals()["m"]
	if total == nil {
		return 0
	}
	return int64(priceIn*total.TokensIn + priceOut*total.TokensOut)
}

// storm asks n times at once, over the gateways in turn, and returns the answers by status. At half of them it calls midway.
func storm(t *testing.T, gs []*harness.Gateway, key string, n int, midway func()) map[int]int {
	c, statuses := newClient(t), map[int]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range n {
		if i == n/2 && midway != nil {
			midway()
		}
		wg.Go(func() {
			a := chat(t.Context(), c, gs[i%len(gs)], stormBody(i), "Authorization", "Bearer "+key)
			if a.err != nil {
				t.Errorf("request %d: %v", i, a.err)
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[a.status]++
		})
	}
	wg.Wait()
	return statuses
}

// stormAnswer is the most tokens that an answer in a storm may have.
const stormAnswer = 60

// stormBody is the i-th request of a storm.
func stormBody(i int) string {
	return chatBody("auto", fmt.Sprint("tell me of ", i), i%3 == 0, fmt.Sprintf(`,"max_tokens":%d`, stormAnswer))
}

// reservation is what a gateway holds of a budget for the i-th request of a storm: the most that its prompt can be, and the longest answer.
func reservation(t *testing.T, i int) int64 {
	t.Helper()
	env, err := openai.Codec{}.Scan(llm.OpChat, []byte(stormBody(i)))
	if err != nil {
		t.Fatal(err)
	}
	return int64(priceIn*env.Bound().Text + priceOut*stormAnswer)
}

// settled waits until nothing is reserved and the account holds what the upstream counts, as every gateway sees it: an answer is settled after its client has it.
func settled(t *testing.T, gs []*harness.Gateway, sim *simulator.Server) {
	t.Helper()
	harness.Poll(t, "the budget settled", func() error {
		for _, g := range gs {
			if a := accountOf(t, g); a.Spent != spent(sim) || a.Reserved != 0 {
				return fmt.Errorf("%+v, the upstream counts %d", a, spent(sim))
			}
		}
		return nil
	})
}

// TestRedisBudget: two gateways that share a budget over a real server let 200 requests at once spend no micro-dollar more than it, and all that come after it to
// less than one of them reserves.
func TestRedisBudget(t *testing.T) {
	const limit = 20_000
	s := startRedis(t)
	sim, addr := provider(t, simulator.Options{})
	key, hash := harness.NewKey(t, binary(), "pepper", "acme", "web")
	policy := sharedPolicy(addr, s.addr, hash, "0.02", "10s", "{}")
	gs := []*harness.Gateway{harness.Serve(t, binary(), policy, "SLUICE_PEPPER=pepper"), harness.Serve(t, binary(), policy, "SLUICE_PEPPER=pepper")}
	statuses := storm(t, gs, key, 200, nil)
	if statuses[200] == 0 || statuses[429] == 0 || statuses[200]+statuses[429] != 200 {
		t.Errorf("answers %v", statuses)
	}
	settled(t, gs, sim)
	// A storm that finds nothing reserved and is refused as a whole has nothing left that holds its smallest reservation.
	for storm(t, gs, key, 20, nil)[200] > 0 {
		settled(t, gs, sim)
	}
	if got, least := spent(sim), reservation(t, 0); got > limit || got+least <= limit {
		t.Errorf("%d of %d spent; one request reserves %d", got, limit, least)
	}
}

// TestRedisBudgetFaults: as much holds where attempts break off, each of them is paid for, and others follow; also where there is plenty at first, and gateways hold
// ahead of what they need. What two of them count is no micro-dollar more than the budget, and nothing stays reserved.
func TestRedisBudgetFaults(t *testing.T) {
	s := startRedis(t)
	key, hash := harness.NewKey(t, binary(), "pepper", "acme", "web")
	for _, limit := range []int64{20_000, 150_000} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			s.run(t, func(ctx context.Context, r redis.Commands) error { return r.FlushAll(ctx).Err() })
			_, addr := provider(t, simulator.Options{Fault: func(*http.Request, string) string { return "cut=20,share=5;reset,share=3;no-usage,share=20" }})
			policy := strings.Replace(sharedPolicy(addr, s.addr, hash, fmt.Sprint(float64(limit)/1e6), "10s", "{}"), "{total: 1m}", "{total: 1m}, attempts: {per_model: 3, total: 3}", 1)
			gs := []*harness.Gateway{harness.Serve(t, binary(), policy, "SLUICE_PEPPER=pepper"), harness.Serve(t, binary(), policy, "SLUICE_PEPPER=pepper")}
			for range 4 {
				storm(t, gs, key, int(limit/600), nil)
				for _, g := range gs {
					harness.Poll(t, "nothing reserved", func() error {
						a := accountOf(t, g)
						if a.Spent > limit {
							t.Fatalf("%+v", a)
						}
						if a.Reserved != 0 {
							return fmt.Errorf("%+v", a)
						}
						return nil
					})
				}
			}
			if a := accountOf(t, gs[0]); a.Spent == 0 {
				t.Errorf("%+v: nothing was let through", a)
			}
		})
	}
}

// TestRedisFaults holds the table of docs/state.md. One gateway goes on alone, one refuses.
func TestRedisFaults(t *testing.T) {
	s := startRedis(t)
	p := newFaultProxy(t, s.addr)
	_, addr := provider(t, simulator.Options{LogCalls: 100})
	key, hash := harness.NewKey(t, binary(), "pepper", "acme", "web")
	serve := func(failure string) *harness.Gateway {
		return harness.Serve(t, binary(), sharedPolicy(addr, p.addr, hash, "1000", "500ms", failure), "SLUICE_PEPPER=pepper")
	}
	p.down.Store(true) // at the start
	alone, refuses := serve("{limits: local, budget: local_slack}"), serve("{limits: refuse, budget: refuse}")
	c := newClient(t)
	answered := func(g *harness.Gateway) *answer {
		return chat(t.Context(), c, g, chatBody("auto", "hi", false, `,"max_tokens":5`), "Authorization", "Bearer "+key, "X-Session-Id", "one")
	}
	expect := func(what string, away bool) {
		t.Helper()
		harness.Poll(t, what, func() error {
			a, b := answered(alone), answered(refuses)
			metric := alone.Metric(t, "sluice_state_degraded", `use="limits"`)
			if a.status != 200 || b.status != map[bool]int{false: 200, true: 503}[away] || metric != map[bool]float64{true: 1}[away] {
				return fmt.Errorf("alone %s, refusing %s, metric %v", a, b, metric)
			}
			if away && b.code(t) != "state_unavailable" {
				return errors.New(b.String())
			}
			if reason := a.header.Get("X-Sluice-Reason"); !strings.Contains(reason, "session=kept") { // it goes on with what it has led itself
				return errors.New(reason)
			}
			return nil
		})
	}
	expect("down at the start", true)
	p.down.Store(false)
	expect("up", false)
	for _, f := range []struct {
		name    string
		on, off func()
	}{
		{"slow", func() { p.slow.Store(int64(2 * time.Second)) }, func() { p.slow.Store(0) }},
		{"silent", func() { p.mute.Lock() }, func() { p.mute.Unlock() }}, // who waited for it would never answer
		{"LOADING", func() { p.says.Store(text("LOADING Redis is loading the dataset in memory")) }, func() { p.says.Store(nil) }},
		{"OOM", func() { s.config(t, "maxmemory", "1") }, func() { s.config(t, "maxmemory", "0") }},
		{"READONLY", func() {
			s.run(t, func(ctx context.Context, r redis.Commands) error { return r.SlaveOf(ctx, "127.0.0.1", "1").Err() })
		}, func() {
			s.run(t, func(ctx context.Context, r redis.Commands) error { return r.SlaveOf(ctx, "NO", "ONE").Err() })
		}},
		{"connections dropped", func() { p.down.Store(true); p.drop() }, func() { p.down.Store(false) }},
	} {
		f.on()
		expect(f.name, true)
		f.off()
		expect("after "+f.name, false)
	}
	s.forgets(t, expect, alone)
}

func text(s string) *string { return &s }

func (s *redisServer) config(t *testing.T, name, value string) {
	s.run(t, func(ctx context.Context, r redis.Commands) error { return r.ConfigSet(ctx, name, value).Err() })
}

// forgets has the server lose its scripts, then everything, then hold something else under a key.
func (s *redisServer) forgets(t *testing.T, expect func(string, bool), g *harness.Gateway) {
	s.run(t, func(ctx context.Context, r redis.Commands) error { return r.ScriptFlush(ctx).Err() })
	expect("SCRIPT FLUSH", false)
	was := accountOf(t, g)
	if was.Spent == 0 {
		t.Error("nothing is spent")
	}
	s.run(t, func(ctx context.Context, r redis.Commands) error { return r.FlushAll(ctx).Err() })
	expect("FLUSHALL", false)
	if now := accountOf(t, g); now.Spent < was.Spent {
		t.Errorf("after FLUSHALL %+v, before %+v", now, was)
	}
	var keys []string
	s.run(t, func(ctx context.Context, r redis.Commands) (err error) {
		keys, err = r.Keys(ctx, "*:budget:*").Result()
		return err
	})
	if len(keys) != 1 {
		t.Fatalf("accounts %v", keys)
	}
	s.run(t, func(ctx context.Context, r redis.Commands) error { return r.Set(ctx, keys[0], "text", 0).Err() })
	expect("a key of another type", true)
	s.run(t, func(ctx context.Context, r redis.Commands) error { return r.Del(ctx, keys[0]).Err() })
	expect("the key is gone", false)
}

// TestRedisKeys: a key that one gateway makes is good at the other within two seconds, and one that is revoked no more.
func TestRedisKeys(t *testing.T) {
	s := startRedis(t)
	_, addr := provider(t, simulator.Options{LogCalls: 100})
	key, hash := harness.NewKey(t, binary(), "pepper", "acme", "web")
	policy := sharedPolicy(addr, s.addr, hash, "1000", "10s", "{}")
	a, b := harness.Serve(t, binary(), policy, "SLUICE_PEPPER=pepper"), harness.Serve(t, binary(), policy, "SLUICE_PEPPER=pepper")
	c := newClient(t)
	status := func(g *harness.Gateway, key string) int {
		return chat(t.Context(), c, g, chatBody("auto", "hi", false, ""), "Authorization", "Bearer "+key).status
	}
	made := struct{ Key string }{}
	resp, err := c.Post(a.Admin+"/admin/keys", "application/json", strings.NewReader(`{"tenant":"acme","id":"new"}`))
	if err != nil {
		t.Fatal(err)
	}
	err = json.NewDecoder(resp.Body).Decode(&made)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusCreated || status(a, made.Key) != 200 {
		t.Fatalf("%s %v", resp.Status, err)
	}
	became := func(what string, g *harness.Gateway, key string, want int) {
		t.Helper()
		harness.Poll(t, what, func() error {
			if got := status(g, key); got != want {
				return fmt.Errorf("%d", got)
			}
			return nil
		})
	}
	became("the new key at the other gateway", b, made.Key, 200)
	for _, id := range []string{"web", "new"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, b.Admin+"/admin/keys/acme/"+id, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	for _, k := range []string{key, made.Key} {
		if got := status(b, k); got != 401 {
			t.Errorf("a revoked key where it was revoked: %d", got)
		}
		became("a revoked key at the other gateway", a, k, 401)
	}
}
