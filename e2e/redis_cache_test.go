//go:build real

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/redis"
	"github.com/sluice-gateway/sluice/internal/simulator"
)

// cachePolicy has two gateways share recorded answers, of two tenants.
func cachePolicy(upstream, redis string, hashes map[string]string) string {
	return fmt.Sprintf(`version: 1
providers:
  p: {dialect: openai, base_url: "http://%s/v1"}
models:
  m: {provider: p, name: m}
routes:
  auto: {rules: [{use: [m]}], cache: {exact: 1h}}
auth: {pepper: {env: SLUICE_PEPPER}}
tenants:
  acme: {keys: [{id: web, hash: %q}]}
  globex: {keys: [{id: web, hash: %q}]}
state: {redis: {url: "redis://%s", timeout: 10s}}
`, upstream, hashes["acme"], hashes["globex"], redis) + strings.Replace(server, "headers: full", "headers: full, auth: required", 1)
}

// entries waits until the server holds so many recorded answers, and returns their names.
func (s *redisServer) entries(t *testing.T, n int) (names []string) {
	t.Helper()
	harness.Poll(t, "recorded answers in the store", func() error {
		names = nil
		s.run(t, func(ctx context.Context, r redis.Commands) error {
			all, err := r.Keys(ctx, "sluice:cache:*").Result()
			for _, name := range all {
				if kind, err := r.Type(ctx, name).Result(); err == nil && kind == "string" { // the purges are none
					names = append(names, name)
				}
			}
			return err
		})
		if len(names) != n {
			return fmt.Errorf("%d of %d", len(names), n)
		}
		return nil
	})
	return names
}

// TestRedisCache: what one gateway has recorded another gives again, to the same tenant, as it was asked for; what somebody has tampered with is no answer; and a
// purge at one holds at the other.
func TestRedisCache(t *testing.T) {
	s := startRedis(t)
	sim, addr := provider(t, simulator.Options{LogCalls: 100})
	keys, hashes := map[string]string{}, map[string]string{}
	for _, tenant := range []string{"acme", "globex"} {
		keys[tenant], hashes[tenant] = harness.NewKey(t, binary(), "pepper", tenant, "web")
	}
	policy := cachePolicy(addr, s.addr, hashes)
	a, b := harness.Serve(t, binary(), policy, "SLUICE_PEPPER=pepper"), harness.Serve(t, binary(), policy, "SLUICE_PEPPER=pepper")
	c := newClient(t)
	ask := func(g *harness.Gateway, tenant, prompt string, stream bool) (state string, text string) {
		t.Helper()
		got := chat(t.Context(), c, g, chatBody("auto", prompt, stream, `,"temperature":0`), "Authorization", "Bearer "+keys[tenant])
		text, whole, mistake := got.content()
		if got.status != 200 || !whole || mistake != "" {
			t.Fatalf("%s", got)
		}
		return got.header.Get("X-Sluice-Cache"), text
	}
	expect := func(what string, g *harness.Gateway, tenant, prompt string, stream bool, state string, calls int) string {
		t.Helper()
		got, text := ask(g, tenant, prompt, stream)
		if n := len(sim.Log()); got != state || n != calls {
			t.Errorf("%s: %s after %d calls, want %s after %d", what, got, n, state, calls)
		}
		return text
	}

	text := expect("the first", a, "acme", "one", false, "miss", 1)
	s.entries(t, 1)
	if again := expect("the other gateway", b, "acme", "one", false, "hit", 1); again != text {
		t.Errorf("%q, recorded was %q", again, text)
	}
	if again := expect("as a stream", b, "acme", "one", true, "hit", 1); again != text {
		t.Errorf("as a stream %q, recorded was %q", again, text)
	}
	expect("another tenant", b, "globex", "one", false, "miss", 2)
	mine := s.entries(t, 2)

	expect("to be tampered with", a, "acme", "two", false, "miss", 3)
	for _, name := range s.entries(t, 3) {
		if name == mine[0] || name == mine[1] {
			continue
		}
		s.run(t, func(ctx context.Context, r redis.Commands) error {
			sealed, err := r.Get(ctx, name).Bytes()
			if err != nil {
				return err
			}
			sealed[len(sealed)-1] ^= 1
			return r.Set(ctx, name, sealed, 0).Err()
		})
	}
	expect("tampered with", b, "acme", "two", false, "miss", 4)
	if n := rejected(t, b); n != 1 {
		t.Errorf("%d entries rejected", n)
	}

	resp, err := c.Post(a.Admin+"/admin/cache/purge", "application/json", strings.NewReader(`{"tenant":"acme"}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close() // its status says it
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	expect("purged where it was purged", a, "acme", "one", false, "miss", 5)
	harness.Poll(t, "purged at the other gateway, too", func() error { // it may have a copy for two seconds
		if state, _ := ask(b, "acme", "two", false); state != "miss" {
			return errors.New(state)
		}
		return nil
	})
	expect("the other tenant's is still there", b, "globex", "one", false, "hit", 6)
}

// rejected is how many entries of the shared store the gateway has not believed.
func rejected(t *testing.T, g *harness.Gateway) int {
	t.Helper()
	var status struct{ Cache struct{ Rejected int } }
	if err := json.Unmarshal([]byte(harness.Get(t, g.Admin+"/admin/status")), &status); err != nil {
		t.Fatal(err)
	}
	return status.Cache.Rejected
}
