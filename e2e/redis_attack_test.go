//go:build real

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/redis"
	"github.com/sluice-gateway/sluice/internal/simulator"
)

// booked is what a gateway's ledger says that everything has cost, in micro-dollars.
func booked(t *testing.T, g *harness.Gateway) (sum int64) {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(harness.Get(t, g.Admin+"/admin/usage?by=tenant&format=jsonl")))
	for lines.Scan() {
		var row struct {
			MicroUSD *int64 `json:"micro_usd"`
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil || row.MicroUSD == nil {
			t.Fatalf("%s %v", lines.Text(), err)
		}
		sum += *row.MicroUSD
	}
	return sum
}

// TestRedisBudgetUnderAttack: two gateways share a budget while answers break off, are carried on, tried again elsewhere, told from the cache and given up by their clients, and while the policy
// changes and the server forgets things. Whatever happens, what the budget counts is what the ledgers count, nothing stays reserved, and no more is spent than there is.
func TestRedisBudgetUnderAttack(t *testing.T) {
	key, hash := harness.NewKey(t, binary(), "pepper", "acme", "web")
	const limit = 150_000 // micro-dollars
	for _, tc := range []struct {
		name   string
		most   int64 // micro-dollars
		midway func(t *testing.T, s *redisServer, gs []*harness.Gateway, policy string)
	}{
		{"faults only", limit, nil},
		{"less money", limit, func(t *testing.T, _ *redisServer, gs []*harness.Gateway, policy string) {
			for _, g := range gs {
				g.Replace(t, strings.Replace(policy, "usd: 0.15,", "usd: 0.12,", 1))
			}
		}},
		{"other limits", limit, func(t *testing.T, _ *redisServer, gs []*harness.Gateway, policy string) {
			gs[0].Replace(t, strings.Replace(policy, "limits: {requests: 100k/s}", "limits: {requests: 100k/m, tokens: 100M/h, concurrent: 1000}", 1))
		}},
		{"no scripts", limit, func(t *testing.T, s *redisServer, _ []*harness.Gateway, _ string) {
			s.run(t, func(ctx context.Context, r redis.Commands) error { return r.ScriptFlush(ctx).Err() })
		}},
		{"nothing left", 2 * limit, func(t *testing.T, s *redisServer, _ []*harness.Gateway, _ string) { // what is reserved is forgotten, and what one gateway had not yet seen of the other's
			s.run(t, func(ctx context.Context, r redis.Commands) error { return r.FlushAll(ctx).Err() })
		}},
		{"a replica for a while", limit + 2*limit/100, func(t *testing.T, s *redisServer, gs []*harness.Gateway, _ string) {
			s.run(t, func(ctx context.Context, r redis.Commands) error { return r.SlaveOf(ctx, "127.0.0.1", "1").Err() })
			c := newClient(t)
			for _, g := range gs {
				harness.Until(t, "the gateway goes on alone", func() bool {
					chat(t.Context(), c, g, stormBody(0), "Authorization", "Bearer "+key, "Cache-Control", "no-store")
					return g.Metric(t, "sluice_state_degraded", `use="budget"`) == 1
				})
			}
			s.run(t, func(ctx context.Context, r redis.Commands) error { return r.SlaveOf(ctx, "NO", "ONE").Err() })
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := startRedis(t)
			_, addr := provider(t, simulator.Options{Fault: func(*http.Request, string) string {
				return "cut=20,share=5;reset,share=3;no-usage,share=20;status=500,share=4"
			}})
			policy := sharedPolicy(addr, s.addr, hash, "0.15", "10s", "{}")
			for _, r := range [][2]string{
				{"{total: 1m}", "{total: 1m}, attempts: {per_model: 3, total: 4}, cache: {exact: {ttl: 1h, force: true}}"},
				{"  m: {", fmt.Sprintf("  n: {provider: p, name: n, price: {in: %d, out: %d}}\n  m: {", priceIn, priceOut/2)},
				{"use: [m]", "use: [m, n]"},
			} {
				policy = strings.Replace(policy, r[0], r[1], 1)
			}
			gs := []*harness.Gateway{harness.Serve(t, binary(), policy, "SLUICE_PEPPER=pepper"), harness.Serve(t, binary(), policy, "SLUICE_PEPPER=pepper")}
			c := newClient(t)
			var wg sync.WaitGroup
			for i := range 400 {
				if i == 200 && tc.midway != nil {
					tc.midway(t, s, gs, policy)
				}
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
					defer cancel()
					resp, err := post(ctx, c, gs[i%2], stormBody(i%150), "Authorization", "Bearer "+key)
					if err != nil {
						t.Error(err)
						return
					}
					defer resp.Body.Close()
					if i%7 == 0 { // the client leaves in the middle
						_, _ = resp.Body.Read(make([]byte, 100))
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
				})
			}
			wg.Wait()
			harness.Poll(t, "the budget settled", func() error {
				sum := booked(t, gs[0]) + booked(t, gs[1])
				for _, g := range gs {
					if a := accountOf(t, g); a.Spent > sum || a.Spent < sum && tc.most < 2*limit || a.Reserved != 0 || a.Spent == 0 || a.Spent > tc.most {
						return fmt.Errorf("%+v, the ledgers have %d", a, sum)
					}
				}
				return nil
			})
		})
	}
}
