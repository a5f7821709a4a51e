package proxy_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/internal/simulator"
	"github.com/sluice-gateway/sluice/internal/testkit"
	"github.com/sluice-gateway/sluice/ledger"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/proxy"
)

const ledgerPolicy = `version: 1
providers:
  one: {dialect: openai, base_url: http://one.test:9000/v1}
  two: {dialect: openai, base_url: http://two.test:9000/v1}
models:
  a: {provider: one, name: a-up, price: {in: 2, out: 8}}
  b: {provider: two, name: b-up, price: {in: 3, out: 9}}
tiers: [{name: cheap, models: [a, b]}]
routes:
  auto: {rules: [{use: cheap}], attempts: {per_model: 1, total: 3}}
`

// longer is a request of a usual length: the estimate of a prompt of one word is mostly the form around it.
func longer(t testing.TB, stream bool, steps string) *testkit.Request {
	t.Helper()
	accept := map[bool]string{true: "text/event-stream", false: "application/json"}[stream]
	r, err := testkit.ParseRequest(fmt.Appendf(nil, "%sPOST /v1/chat/completions\nContent-Type: application/json\nAccept: %s\n\n{\"model\":\"auto\",\"stream\":%t,\"messages\":[{\"role\":\"user\",\"content\":%q}]}\n",
		steps, accept, stream, strings.Repeat("Tell me what the ledger of a gateway is for. ", 20)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sums are what one side of an account has of one model.
type sums struct{ attempts, in, out int }

// TestLedgerBalance sends requests (10,000 with the tag real) through faults, cancels and rescues, and holds the ledger to what the upstreams themselves counted: a row
// for each request that one of them saw, reported tokens exact, estimated ones within 5 %.
func TestLedgerBalance(t *testing.T) {
	const requests, perSecond = balanced, 50
	faults := []string{"", "", "", "", "", "", "", "status=500", "", "", "status=503", "", "cut=7", "", "", "cut=3", "", "garbage=5", "", "status=400"}
	synctest.Test(t, func(t *testing.T) {
		var lost atomic.Int64
		book, err := ledger.Open(t.TempDir(), func(n int, _ error) { lost.Add(int64(n)) })
		if err != nil {
			t.Fatal(err)
		}
		l := newLab(t, ledgerPolicy, func(o *proxy.Options) { o.Ledger = book })
		sims := map[string]*simulator.Server{}
		for model, host := range map[string]string{"a": "one.test:9000", "b": "two.test:9000"} {
			var n atomic.Int64
			sims[model] = l.provider(host, simulator.Options{LogCalls: 3 * requests, Fault: func(r *http.Request, _ string) string {
				fault := faults[n.Add(1)%int64(len(faults))]
				if r.Header.Get("Accept") == "application/json" && !strings.HasPrefix(fault, "status") {
					fault = "" // of a body that never came whole nobody can tell how long it was
				}
				return slower(fault)
			}})
		}
		random := rand.New(rand.NewPCG(1, 2))
		l.offer(perSecond, requests/perSecond*time.Second, func(i int) *testkit.Request {
			leave := ""
			if i%2 == 0 && random.IntN(10) == 0 {
				leave = "!leave " + (time.Duration(100+random.IntN(1000)) * time.Millisecond).String() + "\n"
			}
			return longer(t, i%2 == 0, leave)
		})
		l.close()
		rows, kinds, rescued := map[string]map[llm.UsageKind]sums{"a": {}, "b": {}}, map[llm.UsageKind]int{}, 0
		if err := book.Rows(time.Time{}, func(r *ledger.Row) bool {
			s := rows[r.Model][r.Kind]
			s.in, s.out = s.in+r.Usage.Input, s.out+r.Usage.Output
			if r.Status != 0 || r.Class != "" { // an upstream saw it
				s.attempts++
			}
			rows[r.Model][r.Kind] = s
			kinds[r.Kind]++
			return true
		}); err != nil {
			t.Fatal(err)
		}
		for _, r := range l.all() {
			for i := range r.Attempts {
				if r.Attempts[i].Rescue != "" {
					rescued++
				}
			}
		}
		for model, sim := range sims {
			made := map[llm.UsageKind]sums{}
			for _, c := range sim.Log() {
				k := llm.UsageEstimated // it worked, and nobody got its count
				switch {
				case c.Status >= 400 || c.TokensIn == 0:
					k = llm.UsageNone
				case c.Ending == simulator.Completed && !strings.Contains(c.Fault, "cut") && !strings.Contains(c.Fault, "garbage"):
					k = llm.UsageReported
				}
				s := made[k]
				made[k] = sums{s.attempts + 1, s.in + c.TokensIn, s.out + c.TokensOut}
			}
			t.Logf("%s: ledger %+v, upstream %+v", model, rows[model], made)
			if got, want := rows[model][llm.UsageReported], made[llm.UsageReported]; got != want {
				t.Errorf("%s: reported %+v, the upstream has %+v", model, got, want)
			}
			got, want := rows[model][llm.UsageEstimated], made[llm.UsageEstimated]
			if off := math.Abs(float64(got.in+got.out)/float64(want.in+want.out) - 1); off > 0.05 {
				t.Errorf("%s: estimated %+v, the upstream has %+v: %.1f %% off", model, got, want, 100*off)
			}
		}
		t.Logf("%v rows by kind, %d rescues", kinds, rescued)
		if lost.Load() != 0 || kinds[llm.UsageReported] < requests/2 || kinds[llm.UsageEstimated] < requests/50 || rescued == 0 {
			t.Errorf("%d rows lost, %v by kind, %d rescues", lost.Load(), kinds, rescued)
		}
		if err := book.Close(); err != nil {
			t.Error(err)
		}
	})
}
