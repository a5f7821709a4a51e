package tenants

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/sluice-gateway/sluice/policies"
)

// Limits of tokens of identity providers.
const (
	maxToken    = 16 << 10               // bytes
	keepToken   = 5 * time.Minute        // that a good token is not checked again
	keepTokens  = 10_000                 // good tokens known at once
	keyWait     = 250 * time.Millisecond // that a request waits for the issuer's keys
	keyRetry    = 10 * time.Second       // between two looks at an issuer's keys
	keyAge      = 5 * time.Minute        // after which keys that fit are looked at again: the issuer may have withdrawn one
	issuerLimit = 5 * time.Second        // for one answer of an issuer
	maxKeySet   = 1 << 20                // bytes
)

var (
	errIssuerKeys = errors.New("the issuer's keys are not known")
	algorithms    = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}
)

// issuers are the identity providers that policies have named, by their URLs. They outlive policies.
type issuers struct {
	mu  sync.Mutex
	all map[string]*issuer
}

func (s *issuers) get(url string) *issuer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]*issuer{}
	}
	i := s.all[url]
	if i == nil {
		i = &issuer{url: url, client: &http.Client{Timeout: issuerLimit}}
		s.all[url] = i
	}
	return i
}

// issuer is an identity provider with the keys that it signs with, as last read.
type issuer struct {
	url    string
	client *http.Client

	mu    sync.Mutex
	keys  *oidc.StaticKeySet // nil = never read
	tried time.Time
	ready chan struct{} // closed when the look under way is over; nil = there is none
}

// VerifySignature checks a token with the keys that are known; where that fails they are read again, but not more often than keyRetry, so that
// junk does not become requests to the issuer. Keys of some age are read again meanwhile.
func (i *issuer) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	i.mu.Lock()
	keys, old := i.keys, time.Since(i.tried) >= keyAge
	i.mu.Unlock()
	if keys != nil {
		if payload, err := keys.VerifySignature(ctx, token); err == nil {
			if old {
				i.look()
			}
			return payload, nil
		}
	}
	if !i.refresh(ctx) {
		return nil, errIssuerKeys
	}
	i.mu.Lock()
	keys = i.keys
	i.mu.Unlock()
	if keys == nil {
		return nil, errIssuerKeys
	}
	return keys.VerifySignature(ctx, token)
}

// refresh reads the keys in the background and waits for it until ctx ends; false = nothing new is known.
func (i *issuer) refresh(ctx context.Context) bool {
	ready := i.look()
	if ready == nil {
		return false
	}
	select {
	case <-ready:
		return true
	case <-ctx.Done():
		return false
	}
}

// look begins to read the keys, unless that is under way already. What it returns is closed when it is over; nil = the last look was only just now.
func (i *issuer) look() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ready == nil {
		if time.Since(i.tried) < keyRetry {
			return nil
		}
		i.ready, i.tried = make(chan struct{}), time.Now()
		go i.read(i.ready)
	}
	return i.ready
}

// read asks the issuer for its keys. What it cannot have it does without: the keys known before stay.
func (i *issuer) read(ready chan struct{}) {
	keys, err := i.fetch()
	i.mu.Lock()
	defer i.mu.Unlock()
	if err == nil {
		i.keys = keys
	}
	i.ready = nil
	close(ready)
}

func (i *issuer) fetch() (*oidc.StaticKeySet, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*issuerLimit)
	defer cancel()
	p, err := oidc.NewProvider(oidc.ClientContext(ctx, i.client), i.url)
	if err != nil {
		return nil, err
	}
	var found struct {
		Keys string `json:"jwks_uri"`
	}
	if err := p.Claims(&found); err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, found.Keys, nil)
	if err != nil {
		return nil, err
	}
	resp, err := i.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("keys of %s: %s", i.url, resp.Status)
	}
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxKeySet)).Decode(&set); err != nil {
		return nil, err
	}
	keys := &oidc.StaticKeySet{}
	for _, k := range set.Keys {
		if k.Valid() && k.IsPublic() && (k.Use == "" || k.Use == "sig") {
			keys.PublicKeys = append(keys.PublicKeys, crypto.PublicKey(k.Key))
		}
	}
	return keys, nil
}

// tokens are a policy's identity providers, and the good tokens of late.
type tokens struct {
	policy *policies.Policy
	from   []tokenSource

	mu    sync.Mutex
	known map[[sha256.Size]byte]identity // by the hash of the whole token: two tokens never share one
}

// tokenSource is one entry of auth.oidc.
type tokenSource struct {
	policies.OIDC
	keys *issuer
}

// identity is who a good token belongs to.
type identity struct {
	key   *policies.Key
	until time.Time
}

// tokenID stands for the id of a key where a token takes its place.
const tokenID = "oidc"

func newTokens(p *policies.Policy, s *issuers) *tokens {
	if len(p.Auth.OIDC) == 0 || s == nil {
		return nil
	}
	t := &tokens{policy: p, known: map[[sha256.Size]byte]identity{}}
	for _, o := range p.Auth.OIDC {
		i := s.get(o.Issuer)
		t.from = append(t.from, tokenSource{o, i})
		go func() { // the first request should not have to wait
			ctx, cancel := context.WithTimeout(context.Background(), keyWait)
			defer cancel()
			i.refresh(ctx)
		}()
	}
	return t
}

// key returns whom a token stands for, nil for one that is no good.
func (t *tokens) key(token string, now time.Time) *policies.Key {
	if t == nil || len(token) > maxToken || strings.Count(token, ".") != 2 {
		return nil
	}
	sum := sha256.Sum256([]byte(token))
	t.mu.Lock()
	id, ok := t.known[sum]
	t.mu.Unlock()
	if ok && now.Before(id.until) {
		return id.key
	}
	iss := issuerOf(token)
	for i := range t.from {
		if s := &t.from[i]; s.Issuer == iss {
			if key, until := t.check(s, token, now); key != nil {
				t.keep(sum, identity{key, until})
				return key
			}
		}
	}
	return nil
}

// issuerOf reads who a token says that it is from, to know whose keys to check it with.
func issuerOf(token string) string {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	b, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return ""
	}
	var says struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(b, &says) != nil {
		return ""
	}
	return says.Issuer
}

func (t *tokens) check(s *tokenSource, token string, now time.Time) (*policies.Key, time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), keyWait)
	defer cancel()
	v := oidc.NewVerifier(s.Issuer, s.keys, &oidc.Config{ClientID: s.Audience, SupportedSigningAlgs: algorithms, Now: func() time.Time { return now }})
	good, err := v.Verify(ctx, token)
	if err != nil {
		return nil, time.Time{}
	}
	var claims map[string]any
	if good.Claims(&claims) != nil {
		return nil, time.Time{}
	}
	name := s.DefaultTenant
	if len(s.Tenant) > 0 {
		name = claim(claims, s.Tenant)
	}
	tenant := t.policy.Tenants[name]
	if tenant == nil {
		return nil, time.Time{}
	}
	key := &policies.Key{Tenant: tenant, ID: tokenID, Expires: good.Expiry}
	for label, path := range s.Labels {
		if v := claim(claims, path); v != "" {
			if key.Labels == nil {
				key.Labels = map[string]string{}
			}
			key.Labels[label] = v
		}
	}
	until := now.Add(keepToken)
	if good.Expiry.Before(until) {
		until = good.Expiry
	}
	return key, until
}

// claim reads a text, number or truth value at a path of claims; "" where there is none.
func claim(claims map[string]any, path []string) string {
	var at any = claims
	for _, name := range path {
		m, _ := at.(map[string]any)
		at = m[name]
	}
	switch v := at.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

func (t *tokens) keep(sum [sha256.Size]byte, id identity) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.known) >= keepTokens {
		clear(t.known)
	}
	t.known[sum] = id
}
