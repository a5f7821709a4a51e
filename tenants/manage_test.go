package tenants

import (
	"errors"
	"fmt"
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

// A revoked id is refused whatever key it is asked with: the policy's, what took its place, and what still overlaps.
func TestRevokeEveryKey(t *testing.T) {
	f, ring := newFixture(t), NewRing(NewMemory())
	b, now := NewBook(f.policy, ring), time.Now() // by which the store lets go of keys that are over
	keys := []string{f.acmeWeb}
	for range 2 {
		key, err := ring.Rotate(t.Context(), f.policy, "acme", "web", time.Hour, now)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	known := func() (n int) {
		for _, key := range keys {
			if k, _ := b.Authenticate(header("x-api-key", key), now); k != nil {
				n++
			}
		}
		return n
	}
	if known() != 3 {
		t.Fatalf("%d of 3 overlap", known())
	}
	if err := ring.Revoke(t.Context(), f.policy, "acme", "web", now); err != nil || known() != 0 {
		t.Errorf("%d are still good: %v", known(), err)
	}
	if k, _ := b.Authenticate(header("x-api-key", f.otherWeb), now); k == nil {
		t.Error("another tenant's key of the same id is gone, too")
	}
}

func TestMakeRefuses(t *testing.T) {
	f, ring := newFixture(t), NewRing(NewMemory())
	for _, tc := range []struct {
		spec StoredKey
		want error
	}{
		{StoredKey{Tenant: "nobody", ID: "new"}, ErrTenantUnknown},
		{StoredKey{Tenant: "acme", ID: "new", Routes: []string{"nowhere"}}, ErrScope},
		{StoredKey{Tenant: "acme", ID: "new", Models: []string{"nothing"}}, ErrScope},
		{StoredKey{Tenant: "acme", ID: "new", Expires: now}, ErrExpires},
		{StoredKey{Tenant: "acme", ID: "new", Limits: []byte(`{"requests":"many"}`)}, ErrQuota},
		{StoredKey{Tenant: "acme", ID: "-new"}, ErrKeyID},
		{StoredKey{Tenant: "acme", ID: "web"}, ErrKeyTaken},
		{StoredKey{Tenant: "acme", ID: "new"}, nil},
		{StoredKey{Tenant: "acme", ID: "new"}, ErrKeyTaken},
	} {
		if _, err := ring.Make(t.Context(), f.policy, tc.spec, now); !errors.Is(err, tc.want) {
			t.Errorf("%+v: %v, want %v", tc.spec, err, tc.want)
		}
	}
}

// A key of the store whose limits cannot be read is refused: it must not be one without limits.
func TestBrokenQuotas(t *testing.T) {
	f := newFixture(t)
	key := mustKey(t, "made")
	for quotas, good := range map[string]bool{`"limits":{"requests":"7/m"}`: true, `"limits":{"requests":"many"}`: false, `"budget":{"per":"day"}`: false} {
		r, err := decodeRegister(fmt.Appendf(nil, `{"version":"v","keys":[{"tenant":"acme","id":"made","hash":%q,%s}]}`, Hash("pepper", key), quotas))
		if err != nil {
			t.Fatal(err)
		}
		ring := NewRing(NewMemory())
		ring.now.Store(r)
		if k, _ := NewBook(f.policy, ring).Authenticate(header("x-api-key", key), now); (k != nil) != good {
			t.Errorf("%s: %+v", quotas, k)
		}
	}
}
