package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/tenants"
)

// bodyLimit bounds what a request to the admin listener may say.
const bodyLimit = 64 << 10

// keys lists the keys of tenants: their names and scopes, never the keys or their hashes.
func (s *server) keys(w http.ResponseWriter, _ *http.Request) {
	g := s.o.Gateway
	write(w, http.StatusOK, struct {
		Keys []tenants.Listed `json:"keys"`
	}{tenants.List(g.Snapshot().Policy, g.Ring().Register(), time.Now())})
}

// newKey is what POST /admin/keys takes.
type newKey struct {
	Tenant  string            `json:"tenant"`
	ID      string            `json:"id"`
	Expires string            `json:"expires"`
	Routes  []string          `json:"routes"`
	Models  []string          `json:"models"`
	Labels  map[string]string `json:"labels"`
	Limits  json.RawMessage   `json:"limits"` // as in a policy
	Budget  json.RawMessage   `json:"budget"`
}

// madeKey is the one answer that holds a key.
type madeKey struct {
	Tenant string `json:"tenant"`
	ID     string `json:"id"`
	Key    string `json:"key"`
}

func (s *server) makeKey(w http.ResponseWriter, r *http.Request) {
	var n newKey
	if !read(w, r, &n) {
		return
	}
	spec := tenants.StoredKey{Tenant: n.Tenant, ID: n.ID, Routes: n.Routes, Models: n.Models, Labels: n.Labels, Limits: given(n.Limits), Budget: given(n.Budget)}
	if n.Expires != "" {
		var err error
		if spec.Expires, err = policies.ParseExpiry(n.Expires); err != nil {
			fail(w, http.StatusBadRequest, "invalid_expires", "expires "+err.Error()+".")
			return
		}
	}
	s.note(r, n.Tenant, n.ID)
	g := s.o.Gateway
	key, err := g.Ring().Make(r.Context(), g.Snapshot().Policy, spec, time.Now())
	if err != nil {
		failKeys(w, err)
		return
	}
	write(w, http.StatusCreated, madeKey{n.Tenant, n.ID, key})
}

// given is nil for null.
func given(text json.RawMessage) json.RawMessage {
	if string(text) == "null" {
		return nil
	}
	return text
}

// rotation is what a rotation takes; the body may be absent.
type rotation struct {
	Overlap string `json:"overlap"`
}

// defaultOverlap is how long a replaced key stays good when nobody says.
const defaultOverlap = 24 * time.Hour

func (s *server) rotateKey(w http.ResponseWriter, r *http.Request) {
	body, overlap := rotation{}, defaultOverlap
	if !read(w, r, &body) {
		return
	}
	if body.Overlap != "" {
		var err error
		if overlap, err = time.ParseDuration(body.Overlap); err != nil || overlap < 0 {
			fail(w, http.StatusBadRequest, "invalid_overlap", "overlap must be a duration such as 24h.")
			return
		}
	}
	tenant, id := r.PathValue("tenant"), r.PathValue("id")
	s.note(r, tenant, id)
	g := s.o.Gateway
	key, err := g.Ring().Rotate(r.Context(), g.Snapshot().Policy, tenant, id, overlap, time.Now())
	if err != nil {
		failKeys(w, err)
		return
	}
	write(w, http.StatusCreated, madeKey{tenant, id, key})
}

func (s *server) revokeKey(w http.ResponseWriter, r *http.Request) {
	tenant, id := r.PathValue("tenant"), r.PathValue("id")
	s.note(r, tenant, id)
	g := s.o.Gateway
	if err := g.Ring().Revoke(r.Context(), g.Snapshot().Policy, tenant, id, time.Now()); err != nil {
		failKeys(w, err)
		return
	}
	write(w, http.StatusOK, struct {
		Tenant  string `json:"tenant"`
		ID      string `json:"id"`
		Revoked bool   `json:"revoked"`
	}{tenant, id, true})
}

// failKeys answers a change of keys that was not made.
func failKeys(w http.ResponseWriter, err error) {
	for _, known := range []struct {
		err    error
		status int
		code   string
	}{
		{tenants.ErrTenantUnknown, http.StatusNotFound, "tenant_not_found"},
		{tenants.ErrKeyUnknown, http.StatusNotFound, "key_not_found"},
		{tenants.ErrKeyTaken, http.StatusConflict, "key_taken"},
		{tenants.ErrKeyExpired, http.StatusConflict, "key_expired"},
		{tenants.ErrExpires, http.StatusBadRequest, "invalid_expires"},
		{tenants.ErrNoPepper, http.StatusConflict, "no_pepper"},
		{tenants.ErrKeyID, http.StatusBadRequest, "invalid_id"},
		{tenants.ErrScope, http.StatusBadRequest, "invalid_scope"},
	} {
		if errors.Is(err, known.err) {
			fail(w, known.status, known.code, sentence(known.err))
			return
		}
	}
	if errors.Is(err, tenants.ErrQuota) {
		fail(w, http.StatusBadRequest, "invalid_quota", sentence(err))
		return
	}
	fail(w, http.StatusServiceUnavailable, "state_unavailable", "The store of keys cannot be written now.")
}

// sentence makes a sentence of an error.
func sentence(err error) string {
	s := err.Error()
	return string(s[0]-'a'+'A') + s[1:] + "."
}

// budgets shows how every budget stands.
func (s *server) budgets(w http.ResponseWriter, r *http.Request) {
	g := s.o.Gateway
	list, err := tenants.Balances(r.Context(), g.Store(), g.Ring().Register(), g.Snapshot().Policy, time.Now())
	if list == nil && err != nil {
		fail(w, http.StatusServiceUnavailable, "state_unavailable", "The state of budgets is not available now.")
		return
	}
	write(w, http.StatusOK, struct {
		Budgets  []tenants.Account `json:"budgets"`
		Degraded bool              `json:"degraded"` // as last seen by this gateway
	}{list, err != nil})
}

// read reads a JSON body into v; an empty one leaves it as it is. False = it was answered.
func read(w http.ResponseWriter, r *http.Request, v any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyLimit))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil && d.Decode(new(json.RawMessage)) == nil {
		err = errTrailing
	}
	if err != nil && !errors.Is(err, io.EOF) {
		fail(w, http.StatusBadRequest, "invalid_body", "The body is not the JSON object that this path takes.")
		return false
	}
	return true
}

var errTrailing = errors.New("more than one value")
