package tenants

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sluice-gateway/sluice/policies"
)

// What took the place of a policy's key has its limits and budget: as the policy has them now, and as they were when it no longer has the key.
func TestRotatedKeyKeepsQuotas(t *testing.T) {
	f := newFixture(t)
	web := f.policy.Tenants["acme"].Keys[0]
	quotas := func(requests int, microUSD int64) (*policies.Limits, *policies.Budget) {
		return &policies.Limits{Requests: policies.Rate{Count: requests, Window: time.Minute}, Concurrent: 2},
			&policies.Budget{MicroUSD: microUSD, Per: "day", Zone: time.UTC, OnExceed: policies.OnWarn, UnknownPrice: policies.OnRefuse}
	}
	web.Limits, web.Budget = quotas(7, 1_500_000)
	store, err := OpenEmbedded(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	ring := NewRing(store)
	key, err := ring.Rotate(t.Context(), f.policy, "acme", "web", 0, now)
	if err != nil {
		t.Fatal(err)
	}
	hold := func(what string, requests int, microUSD int64) {
		t.Helper()
		k, refusal := NewBook(f.policy, ring).Authenticate(header("x-api-key", key), now)
		if refusal != nil {
			t.Fatalf("%s: %v", what, refusal)
		}
		limits, budget := quotas(requests, microUSD)
		if d := cmp.Diff(limits, k.Limits) + cmp.Diff(budget, k.Budget, cmpopts.IgnoreUnexported(policies.Budget{}), cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	hold("at once", 7, 1_500_000)
	web.Limits, web.Budget = quotas(9, 2_000_000)
	hold("after an edit", 9, 2_000_000)
	f.policy.Tenants["acme"].Keys = f.policy.Tenants["acme"].Keys[1:]
	hold("after the key was deleted", 7, 1_500_000)
	if key, err = ring.Rotate(t.Context(), f.policy, "acme", "web", 0, now); err != nil {
		t.Fatal(err)
	}
	hold("replaced once more", 7, 1_500_000)
}
