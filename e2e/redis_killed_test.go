//go:build real

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/simulator"
)

// TestRedisKilled: with the server gone in the middle of a storm each gateway does what the policy declares of limits and of budgets, and every request ends. That none waits longer than the
// timeout is shown in virtual time, by internal/redis's TestStalled.
func TestRedisKilled(t *testing.T) {
	const (
		before = 100 // requests at both gateways, the server being killed at half of them
		after  = 40
		budget = 100_000 // micro-dollars: too little for charges that are made ahead, which the store has granted before it is gone
	)
	key, hash := harness.NewKey(t, binary(), "pepper", "acme", "web")
	for _, tc := range []struct {
		failure string
		limit   string
		let     func(gs, ok, money int64) bool // of what came after it was killed: how many were let through, for how much
		refusal string
	}{
		{"{limits: local, budget: local_slack}", "100k/d", func(gs, ok, money int64) bool { return money <= gs*budget/100 }, "429 insufficient_quota"},
		{"{limits: local, budget: open}", "10/d", func(gs, ok, _ int64) bool { return ok <= gs*10 }, "429 rate_limit_exceeded"},
		{"{limits: open, budget: open}", "60/d", func(_, ok, _ int64) bool { return ok == after }, ""},
		{"{limits: open, budget: local_slack}", "100k/d", func(gs, ok, money int64) bool { return money <= gs*budget/100 }, "429 insufficient_quota"},
		{"{limits: refuse, budget: open}", "100k/d", func(_, ok, _ int64) bool { return ok == 0 }, "503 state_unavailable"},
		{"{limits: open, budget: refuse}", "100k/d", func(_, ok, _ int64) bool { return ok == 0 }, "503 state_unavailable"},
	} {
		t.Run(tc.failure, func(t *testing.T) {
			s := startRedis(t)
			sim, addr := provider(t, simulator.Options{})
			policy := strings.Replace(sharedPolicy(addr, s.addr, hash, fmt.Sprint(budget/1e6), "200ms", tc.failure), "100k/s", tc.limit, 1)
			gs := []*harness.Gateway{harness.Serve(t, binary(), policy, "SLUICE_PEPPER=pepper"), harness.Serve(t, binary(), policy, "SLUICE_PEPPER=pepper")}
			statuses := storm(t, gs, key, before, func() { s.Kill(t) })
			if statuses[200]+statuses[429]+statuses[503] != before {
				t.Errorf("answers %v", statuses)
			}
			was := spent(sim)
			statuses = storm(t, gs, key, after, nil)
			if !tc.let(int64(len(gs)), int64(statuses[200]), spent(sim)-was) {
				t.Errorf("without the store answers %v, %d micro-dollars more", statuses, spent(sim)-was)
			}
			c := newClient(t)
			for _, g := range gs {
				if a := chat(t.Context(), c, g, stormBody(0), "Authorization", "Bearer "+key); a.status != 200 {
					if got := fmt.Sprint(a.status, " ", a.code(t)); got != tc.refusal || a.header.Get("Retry-After") == "" {
						t.Errorf("refused with %s, Retry-After %q; want %s", got, a.header.Get("Retry-After"), tc.refusal)
					}
				} else if tc.refusal == "503 state_unavailable" {
					t.Error("let through")
				}
				for _, use := range []string{"limits", "budget"} {
					if g.Metric(t, "sluice_state_degraded", `use="`+use+`"`) != 1 {
						t.Errorf("the metric does not say so of %s", use)
					}
				}
				if n := len(g.Err.Records("the shared state does not serve; the policy's on_failure holds")); n == 0 {
					t.Error("the log does not say so")
				}
			}
		})
	}
}
