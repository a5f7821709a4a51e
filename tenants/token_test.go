package tenants

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/policies"
)

// provider is an identity provider: discovery, keys, and tokens of its making.
type provider struct {
	*httptest.Server
	signs atomic.Pointer[jose.JSONWebKey]
	asked atomic.Int64 // for its keys
}

func newProvider(t *testing.T) *provider {
	p := new(provider)
	p.rotate(t, "one")
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": p.URL, "jwks_uri": p.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		p.asked.Add(1)
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{p.signs.Load().Public()}})
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *provider) rotate(t *testing.T, id string) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p.signs.Store(&jose.JSONWebKey{Key: k, KeyID: id, Algorithm: string(jose.ES256), Use: "sig"})
}

// token signs claims over what a good token has.
func (p *provider) token(t *testing.T, more map[string]any) string {
	t.Helper()
	claims := map[string]any{"iss": p.URL, "aud": "sluice", "sub": "u", "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "org": "acme", "realm": map[string]any{"team": "blue"}, "level": 3}
	for k, v := range more {
		claims[k] = v
	}
	b, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.signs.Load()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (p *provider) book(t *testing.T, ring *Ring) (*fixture, *Book) {
	f := newFixture(t)
	f.policy.Auth.OIDC = []policies.OIDC{{Issuer: p.URL, Audience: "sluice", Tenant: []string{"org"},
		Labels: map[string][]string{"team": {"realm", "team"}, "level": {"level"}, "none": {"realm", "none"}}}}
	return f, NewBook(f.policy, ring)
}

// good waits until a token is taken: the issuer's keys come in the background.
func good(t *testing.T, b *Book, token string, at time.Time) *policies.Key {
	t.Helper()
	var key *policies.Key
	harness.Until(t, "a good token is refused", func() bool {
		key, _ = b.Authenticate(header("Authorization", "Bearer "+token), at)
		return key != nil
	})
	return key
}

func TestTokens(t *testing.T) {
	p, other := newProvider(t), newProvider(t)
	f, b := p.book(t, NewRing(NewMemory()))
	key := good(t, b, p.token(t, nil), now)
	if d := cmp.Diff(map[string]string{"team": "blue", "level": "3"}, key.Labels); d != "" || key.Tenant.Name != "acme" || key.ID != tokenID || key.Routes != nil || key.Models != nil {
		t.Errorf("%+v %s", key, d)
	}
	if k := good(t, b, p.token(t, map[string]any{"org": "other", "aud": []string{"x", "sluice"}}), now); k.Tenant.Name != "other" {
		t.Errorf("%+v", k)
	}
	if k, err := b.Authenticate(header("Authorization", "Bearer "+f.acmeWeb), now); err != nil || k.ID != "web" {
		t.Errorf("a key beside tokens: %v", err)
	}
	whole := p.token(t, nil)
	body, signature, _ := cut(whole)
	for name, token := range map[string]string{
		"expired":             p.token(t, map[string]any{"exp": now.Add(-time.Minute).Unix()}),
		"not yet":             p.token(t, map[string]any{"nbf": now.Add(time.Hour).Unix()}),
		"another audience":    p.token(t, map[string]any{"aud": "x"}),
		"another issuer":      p.token(t, map[string]any{"iss": other.URL}),
		"of another issuer":   other.token(t, nil),
		"signed by another":   other.token(t, map[string]any{"iss": p.URL}),
		"no tenant":           p.token(t, map[string]any{"org": nil}),
		"unknown tenant":      p.token(t, map[string]any{"org": "nobody"}),
		"tenant in an object": p.token(t, map[string]any{"org": map[string]any{"org": "acme"}}),
		"another signature":   body + "." + strings.Repeat("A", len(signature)),
		"no signature":        body + ".",
		"not signed":          "eyJhbGciOiJub25lIn0." + strings.Split(body, ".")[1] + ".",
		"longer":              whole + "A",
		"a megabyte":          strings.Repeat("a.", 1<<19),
	} {
		for range 2 {
			k, err := b.Authenticate(header("Authorization", "Bearer "+token), now)
			if d := cmp.Diff(refused(), err); k != nil || d != "" {
				t.Errorf("%s: %v %s", name, k, d)
			}
		}
	}
	if n := p.asked.Load(); n != 1 {
		t.Errorf("junk had the issuer asked for its keys %d times", n)
	}
	// A good token is good as long as it says, not as long as it is remembered.
	if k, _ := b.Authenticate(header("Authorization", "Bearer "+whole), now.Add(2*time.Hour)); k != nil {
		t.Error("an expired token is remembered")
	}
}

func cut(token string) (body, signature string, ok bool) {
	i := strings.LastIndexByte(token, '.')
	return token[:i], token[i+1:], true
}

// An issuer that changes its keys is asked again, and one that is away refuses nobody whose token was taken before.
func TestIssuerRotates(t *testing.T) {
	p := newProvider(t)
	ring := NewRing(NewMemory())
	_, b := p.book(t, ring)
	first := p.token(t, nil)
	good(t, b, first, now)
	p.rotate(t, "two")
	i := ring.issuers.get(p.URL)
	i.mu.Lock()
	i.tried = time.Time{} // its last look is long ago
	i.mu.Unlock()
	second := p.token(t, nil)
	good(t, b, second, now)
	p.Close()
	good(t, b, second, now)
	good(t, b, first, now)
}

// A key that the issuer has withdrawn ends to count although the tokens that it signed fit all the while.
func TestIssuerWithdraws(t *testing.T) {
	p := newProvider(t)
	ring := NewRing(NewMemory())
	_, b := p.book(t, ring)
	token := p.token(t, nil)
	good(t, b, token, now)
	p.rotate(t, "two")
	i, asked := ring.issuers.get(p.URL), p.asked.Load()
	i.mu.Lock()
	i.tried = time.Time{} // its last look is long ago
	i.mu.Unlock()
	good(t, b, token, now.Add(keepToken))
	harness.Until(t, "the keys are not read again", func() bool {
		i.mu.Lock()
		defer i.mu.Unlock()
		return i.ready == nil && p.asked.Load() > asked
	})
	if key, _ := b.Authenticate(header("Authorization", "Bearer "+token), now.Add(2*keepToken)); key != nil {
		t.Error("a token counts whose key was withdrawn")
	}
}

// A key that the issuer encrypts with signs no token.
func TestEncryptionKeys(t *testing.T) {
	p := newProvider(t)
	k := *p.signs.Load()
	k.Use = "enc"
	p.signs.Store(&k)
	ring := NewRing(NewMemory())
	_, b := p.book(t, ring)
	i := ring.issuers.get(p.URL)
	harness.Until(t, "the keys are not read", func() bool {
		i.mu.Lock()
		defer i.mu.Unlock()
		return i.keys != nil && i.ready == nil
	})
	if key, _ := b.Authenticate(header("Authorization", "Bearer "+p.token(t, nil)), now); key != nil {
		t.Error("a token counts that was signed with it")
	}
}

func FuzzToken(f *testing.F) {
	_, b := (&provider{Server: &httptest.Server{URL: "http://127.0.0.1:1"}}).fuzzBook(f)
	for _, s := range []string{"", "..", "a.b.c", "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwOi8vMTI3LjAuMC4xOjEifQ."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if k, err := b.Authenticate(http.Header{"Authorization": {"Bearer " + token}}, now); k != nil || err == nil {
			t.Errorf("%q is let in", token)
		}
	})
}

func (p *provider) fuzzBook(tb testing.TB) (*fixture, *Book) {
	f := newFixture(tb)
	f.policy.Auth.OIDC = []policies.OIDC{{Issuer: p.URL, Audience: "sluice", DefaultTenant: "acme"}}
	return f, NewBook(f.policy, NewRing(NewMemory()))
}
