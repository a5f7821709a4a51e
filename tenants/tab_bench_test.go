package tenants

import (
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/policies"
)

// BenchmarkTab is what limits and budgets cost an exchange in memory.
func BenchmarkTab(b *testing.B) {
	limits := &policies.Limits{Requests: policies.Rate{Count: 1e8, Window: time.Minute}, Tokens: policies.Rate{Count: 1e10, Window: time.Minute}, Concurrent: 1000}
	key := &policies.Key{ID: "web", Tenant: &policies.Tenant{Name: "acme", Limits: limits, Budget: &policies.Budget{MicroUSD: 1e12, Per: "month", Zone: time.UTC, OnExceed: policies.OnRefuse}}}
	s := NewMemory()
	b.ReportAllocs()
	for b.Loop() {
		t, err := Open(b.Context(), s, &Ask{ID: "0123456789abcdef0123456789abcdef", Now: time.Now(), Key: key, Tokens: 70, Hold: time.Hour})
		if err != nil {
			b.Fatal(err)
		}
		if err := t.Reserve(b.Context(), 300, false); err != nil {
			b.Fatal(err)
		}
		t.Standing(true)
		t.Standing(false)
		t.Close(60, 200)
	}
}
