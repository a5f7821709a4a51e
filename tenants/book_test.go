package tenants

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/policies"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// fixture is a policy of two tenants that both have a key "web", with the keys in the clear.
type fixture struct {
	policy                                               *policies.Policy
	acmeWeb, otherWeb, old, expired, unknown, ops, later string
}

func newFixture(tb testing.TB) *fixture {
	tb.Helper()
	mint := func(id string) string {
		k, err := NewKey(id)
		if err != nil {
			tb.Fatal(err)
		}
		return k
	}
	f := &fixture{
		acmeWeb: mint("web"), otherWeb: mint("web"), old: mint("old"), expired: mint("expired"), unknown: mint("unknown"),
		ops: mint("ops"), later: mint("later"),
	}
	acme, other := &policies.Tenant{Name: "acme"}, &policies.Tenant{Name: "other"}
	acme.Keys = []*policies.Key{
		{Tenant: acme, ID: "web", Hash: Hash("pepper", f.acmeWeb)},
		{Tenant: acme, ID: "old", Hash: Hash("previous", f.old)},
		{Tenant: acme, ID: "expired", Hash: Hash("pepper", f.expired), Expires: now},
		{Tenant: acme, ID: "later", Hash: Hash("pepper", f.later), Expires: now.Add(1)},
		{Tenant: acme, ID: "broken", Hash: "hmac-sha256:xyz"},
	}
	other.Keys = []*policies.Key{{Tenant: other, ID: "web", Hash: Hash("pepper", f.otherWeb)}}
	f.policy = &policies.Policy{
		Tenants: map[string]*policies.Tenant{"acme": acme, "other": other},
		Auth: policies.Auth{
			Pepper:         policies.NewSecret("pepper"),
			PreviousPepper: policies.NewSecret("previous"),
			Admin: []policies.AdminKey{
				{ID: "ops", Role: "operator", Hash: Hash("pepper", f.ops)},
				{ID: "broken", Role: "admin", Hash: "?"},
			},
		},
	}
	return f
}

func header(kv ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(kv); i += 2 {
		h.Add(kv[i], kv[i+1])
	}
	return h
}

func TestAuthenticate(t *testing.T) {
	f := newFixture(t)
	b := NewBook(f.policy, nil)
	refusal := refused()
	tests := []struct {
		name string
		h    http.Header
		want string // tenant/key; "" = refused
	}{
		{"bearer", header("Authorization", "Bearer "+f.acmeWeb), "acme/web"},
		{"same id, other tenant", header("Authorization", "Bearer "+f.otherWeb), "other/web"},
		{"any case, spaces", header("Authorization", "  bEARER   "+f.acmeWeb+" "), "acme/web"},
		{"x-api-key", header("x-api-key", f.acmeWeb), "acme/web"},
		{"api-key", header("api-key", f.acmeWeb), "acme/web"},
		{"x-goog-api-key", header("x-goog-api-key", f.acmeWeb), "acme/web"},
		{"bearer before x-api-key", header("Authorization", "Bearer "+f.otherWeb, "x-api-key", f.acmeWeb), "other/web"},
		{"x-api-key before api-key", header("api-key", f.otherWeb, "x-api-key", f.acmeWeb), "acme/web"},
		{"a bad bearer is not made good", header("Authorization", "Bearer x", "x-api-key", f.acmeWeb), ""},
		{"another scheme is no credential", header("Authorization", "Basic dTpw", "x-api-key", f.acmeWeb), "acme/web"},
		{"previous pepper", header("x-api-key", f.old), "acme/old"},
		{"not yet expired", header("x-api-key", f.later), "acme/later"},
		{"expired", header("x-api-key", f.expired), ""},
		{"unknown id", header("x-api-key", f.unknown), ""},
		{"known id, another's secret", header("x-api-key", mustKey(t, "web")), ""},
		{"broken hash", header("x-api-key", mustKey(t, "broken")), ""},
		{"admin key", header("x-api-key", f.ops), ""},
		{"nothing", header(), ""},
		{"empty bearer", header("Authorization", "Bearer"), ""},
		{"junk", header("Authorization", "Bearer junk"), ""},
		{"two authorizations", header("Authorization", "Bearer "+f.acmeWeb, "Authorization", "Bearer "+f.acmeWeb), ""},
		{"two authorizations and another", header("Authorization", "Basic x", "Authorization", "Basic y", "x-api-key", f.acmeWeb), ""},
		{"two authorizations in one", header("Authorization", "Bearer "+f.acmeWeb+", Bearer "+f.acmeWeb), ""},
		{"two x-api-keys", header("x-api-key", f.acmeWeb, "x-api-key", f.acmeWeb), ""},
		{"the hash is no key", header("x-api-key", Hash("pepper", f.acmeWeb)), ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			key, err := b.Authenticate(tc.h, now)
			switch {
			case tc.want == "":
				if d := cmp.Diff(refusal, err); key != nil || d != "" {
					t.Errorf("key %v, error %s", key, d)
				}
			case err != nil:
				t.Errorf("refused: %v", err)
			case key.Tenant.Name+"/"+key.ID != tc.want:
				t.Errorf("%s/%s, want %s", key.Tenant.Name, key.ID, tc.want)
			}
		})
	}
	if refusal.Status != 401 || refusal.Code != "invalid_api_key" || strings.Contains(refusal.Error(), "slc_") {
		t.Errorf("refusal %v", refusal)
	}
}

func mustKey(tb testing.TB, id string) string {
	tb.Helper()
	k, err := NewKey(id)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func TestWithoutAuthentication(t *testing.T) {
	b := NewBook(&policies.Policy{Server: policies.Server{AuthNone: true}}, nil)
	for _, h := range []http.Header{nil, header("Authorization", "Bearer junk")} {
		if key, err := b.Authenticate(h, now); key != nil || err != nil {
			t.Errorf("%v: %v %v", h, key, err)
		}
	}
}

// Without a pepper a hash would be one that anybody can make.
func TestWithoutPepper(t *testing.T) {
	f := newFixture(t)
	f.policy.Auth.Pepper, f.policy.Auth.PreviousPepper = policies.Secret{}, policies.NewSecret("")
	f.policy.Tenants["acme"].Keys[0].Hash = Hash("", f.acmeWeb)
	if key, err := NewBook(f.policy, nil).Authenticate(header("x-api-key", f.acmeWeb), now); err == nil {
		t.Errorf("let in as %v", key)
	}
}

func TestManyAtOnce(t *testing.T) {
	f := newFixture(t)
	b := NewBook(f.policy, nil)
	var wg sync.WaitGroup
	for key, want := range map[string]string{f.acmeWeb: "acme", f.otherWeb: "other", f.old: "acme", f.unknown: ""} {
		wg.Go(func() {
			for range 500 {
				k, err := b.Authenticate(header("x-api-key", key), now)
				if err == nil && k.Tenant.Name != want || err != nil && want != "" {
					t.Errorf("want %q: %v %v", want, k, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestAdmin(t *testing.T) {
	f := newFixture(t)
	b := NewBook(f.policy, nil)
	if id, r, err := b.Admin(header("Authorization", "Bearer "+f.ops)); err != nil || id != "ops" || r != Operator || r.String() != "operator" {
		t.Errorf("operator: %v %v", r, err)
	}
	for name, key := range map[string]string{"tenant's key": f.acmeWeb, "broken": mustKey(t, "broken"), "unknown": mustKey(t, "ops"), "none": ""} {
		if _, r, err := b.Admin(header("x-api-key", key)); err == nil || r != NoRole {
			t.Errorf("%s: %v %v", name, r, err)
		}
	}
	if !b.AdminKeys() || NewBook(&policies.Policy{}, nil).AdminKeys() {
		t.Error("AdminKeys")
	}
	if !(Viewer < Operator && Operator < Admin && NoRole < Viewer) {
		t.Error("roles are not in order")
	}
}

func TestAuthenticateAllocates(t *testing.T) {
	f := newFixture(t)
	b := NewBook(f.policy, nil)
	h := header("Authorization", "Bearer "+f.acmeWeb)
	if n := testing.AllocsPerRun(100, func() { _, _ = b.Authenticate(h, now) }); n >= 5 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzAuthenticate(f *testing.F) {
	fx := newFixture(f)
	b := NewBook(fx.policy, nil)
	for _, s := range []string{"", "Bearer", "Bearer x", "bearer " + fx.acmeWeb, "Basic " + fx.acmeWeb, fx.unknown, fx.expired, fx.acmeWeb + "\x00"} {
		f.Add(s, s)
	}
	valid := map[string]bool{fx.acmeWeb: true, fx.otherWeb: true, fx.old: true, fx.later: true}
	f.Fuzz(func(t *testing.T, auth, apiKey string) {
		h := http.Header{"Authorization": {auth}, "X-Api-Key": {apiKey}}
		key, err := b.Authenticate(h, now)
		if (key == nil) == (err == nil) {
			t.Fatalf("key %v, error %v", key, err)
		}
		if err != nil {
			if d := cmp.Diff(refused(), err); d != "" {
				t.Errorf("another refusal: %s", d)
			}
			return
		}
		_, token, _ := strings.Cut(strings.TrimSpace(auth), " ")
		if !valid[strings.TrimSpace(token)] && !valid[strings.TrimSpace(apiKey)] {
			t.Errorf("let in with %q, %q", auth, apiKey)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	f := newFixture(b)
	for name, key := range map[string]string{"known": f.acmeWeb, "unknown": f.unknown, "junk": "slc_junk"} {
		b.Run(name, func(b *testing.B) {
			book, h := NewBook(f.policy, nil), header("Authorization", "Bearer "+key)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = book.Authenticate(h, now)
			}
		})
	}
}
