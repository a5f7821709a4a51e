//go:build real

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/redis"
	"github.com/sluice-gateway/sluice/internal/simulator"
)

// sessionsPolicy has two gateways share conversations: of a tenant with limits, whose requests ask the store anyway, and of two without.
func sessionsPolicy(upstream, redis string, hashes map[string]string) string {
	return fmt.Sprintf(`version: 1
providers:
  p: {dialect: openai, base_url: "http://%s/v1"}
models:
  small: {provider: p, name: small}
  big: {provider: p, name: big}
tiers: [{name: cheap, models: [small]}, {name: strong, models: [big]}]
routes:
  auto:
    rules: [{when: 'req.headers["x-hard"] == "1"', use: strong}, {use: cheap}]
    session: {header: x-session-id, sticky: 20m}
auth: {pepper: {env: SLUICE_PEPPER}}
tenants:
  limited:
    keys: [{id: web, hash: %q}]
    limits: {requests: 100k/s}
  free: {keys: [{id: web, hash: %q}]}
  other: {keys: [{id: web, hash: %q}]}
state: {redis: {url: "redis://%s", timeout: 10s}}
`, upstream, hashes["limited"], hashes["free"], hashes["other"], redis) + strings.Replace(server, "headers: full", "headers: full, auth: required", 1)
}

// TestRedisSessions: a conversation that one gateway has begun goes on at another with the same model, moves up at both, is nobody else's, and without the
// server goes on where it was led.
func TestRedisSessions(t *testing.T) {
	s := startRedis(t)
	_, addr := provider(t, simulator.Options{LogCalls: 100})
	keys, hashes := map[string]string{}, map[string]string{}
	for _, tenant := range []string{"limited", "free", "other"} {
		keys[tenant], hashes[tenant] = harness.NewKey(t, binary(), "pepper", tenant, "web")
	}
	policy := sessionsPolicy(addr, s.addr, hashes)
	a, b := harness.Serve(t, binary(), policy, "SLUICE_PEPPER=pepper"), harness.Serve(t, binary(), policy, "SLUICE_PEPPER=pepper")
	c := newClient(t)
	ask := func(g *harness.Gateway, tenant, session, hard string) string {
		t.Helper()
		got := chat(t.Context(), c, g, chatBody("auto", "hi", false, ""), "Authorization", "Bearer "+keys[tenant], "X-Session-Id", session, "X-Hard", hard)
		if got.status != 200 {
			t.Fatalf("%s: %s", tenant, got)
		}
		g.Exchange(t, got.id()) // what it leaves is then in line
		model := got.header.Get("X-Sluice-Model")
		if strings.Contains(got.header.Get("X-Sluice-Reason"), "session=kept") {
			model += " kept"
		}
		return model
	}
	// written waits until the store has as many conversations that had so many turns: an answer is written down when its client has it, in order.
	written := func(turns, conversations int) {
		t.Helper()
		harness.Poll(t, "the turn in the store", func() error {
			found := 0
			s.run(t, func(ctx context.Context, r redis.Commands) error {
				names, err := r.Keys(ctx, "sluice:{state}:session:*").Result()
				for _, name := range names {
					if text, err := r.Get(ctx, name).Result(); err == nil && strings.HasPrefix(text, fmt.Sprint(turns, " ")) {
						found++
					}
				}
				return err
			})
			if found != conversations {
				return fmt.Errorf("%d conversations of %d turns", found, turns)
			}
			return nil
		})
	}
	for _, tenant := range []string{"limited", "free"} {
		name := "of " + tenant
		s.run(t, func(ctx context.Context, r redis.Commands) error { return r.FlushAll(ctx).Err() })
		for i, turn := range []struct {
			at         *harness.Gateway
			hard, want string
		}{{a, "0", "small"}, {b, "0", "small kept"}, {b, "1", "big"}} {
			if got := ask(turn.at, tenant, name, turn.hard); got != turn.want {
				t.Errorf("%s, turn %d: %s, want %s", tenant, i+1, got, turn.want)
			}
			written(i+1, 1)
		}
		if got := ask(b, "other", name, "0"); got != "small" {
			t.Errorf("another tenant's conversation of the same name: %s", got)
		}
		written(1, 1)
		if tenant == "free" { // with nothing to ask the store, what the other one did is learned after the answer
			if got := ask(a, tenant, name, "0"); got != "small kept" {
				t.Errorf("%s: %s", tenant, got)
			}
			ask(a, tenant, "later", "0")
			written(1, 2)
		}
		if got := ask(a, tenant, name, "0"); got != "big kept" {
			t.Errorf("%s: it has not moved up at the first gateway: %s", tenant, got)
		}
	}
	s.Kill(t)
	for _, tenant := range []string{"limited", "free"} {
		name := "of " + tenant
		if got := ask(a, tenant, name, "0") + ", " + ask(b, tenant, name, "0"); got != "big kept, big kept" {
			t.Errorf("%s without the store: %s", tenant, got)
		}
		ask(a, tenant, "new", "1")
		if got := ask(b, tenant, "new", "0"); got != "small" {
			t.Errorf("%s: a conversation that nobody could tell of: %s", tenant, got)
		}
	}
	if b.Metric(t, "sluice_state_degraded", `use="sessions"`) != 1 {
		t.Error("the metric does not say so")
	}
}
