//go:build real

package tenants

import (
	"slices"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/redis"
	"github.com/sluice-gateway/sluice/policies"
)

// BenchmarkShared measures what one exchange waits for: limits and budget state in one trip, then the reservation in another. Its settlement is sent
// in the background.
func BenchmarkShared(b *testing.B) {
	_, addr := harness.Redis(b, "..")
	rdb, err := redis.Open(redis.Options{URL: "redis://" + addr, Timeout: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	defer rdb.Close()
	s, err := OpenShared(rdb, &policies.Redis{}, NewMemory())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	tenant := &policies.Tenant{Name: "acme", Limits: &policies.Limits{Requests: policies.Rate{Count: 1e9, Window: time.Second}, Tokens: policies.Rate{Count: 1e9, Window: time.Second}, Concurrent: 1000},
		Budget: &policies.Budget{MicroUSD: 1e15, Per: "month", Zone: time.UTC}}
	a := Ask{ID: "x", Now: time.Now(), Key: &policies.Key{Tenant: tenant, ID: "web"}, Tokens: 100, Hold: time.Minute}
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		t, refusal := Open(b.Context(), s, &a)
		if refusal == nil {
			refusal = t.Reserve(b.Context(), 100, false)
		}
		if took = append(took, time.Since(began)); refusal != nil {
			b.Fatal(refusal)
		}
		t.Close(90, 90)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
}
