package tenants

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
)

// Role is what an admin key may do. A larger role may do all that a smaller one may.
type Role uint8

// The roles of admin keys.
const (
	NoRole   Role = iota
	Viewer        // reads
	Operator      // also purges and drains
	Admin         // also makes, revokes and rotates keys
)

var roles = map[string]Role{"viewer": Viewer, "operator": Operator, "admin": Admin}

var roleNames = [...]string{NoRole: "none", Viewer: "viewer", Operator: "operator", Admin: "admin"}

// String names the role as policies do.
func (r Role) String() string { return roleNames[r] }

// entry is one key: a tenant's, or an admin's with its role.
type entry struct {
	sum  [sha256.Size]byte
	hash string // as it is declared: revocations name it
	key  *policies.Key
	id   string // of an admin's key
	role Role
}

// Book is a policy's keys by their ids. It is safe for concurrent use; its keys do not change, and a pepper that is refreshed is seen.
type Book struct {
	open     bool
	pepper   pepper
	previous pepper
	keys     map[string][]entry // by key id: tenants may use the same one
	admins   map[string][]entry

	policy *policies.Policy
	ring   *Ring // nil = the policy's keys are all
	over   atomic.Pointer[overlay]
	tokens *tokens // nil = no tokens are taken
}

// stranger stands in for the keys of an id that nobody has, so that it takes as long to refuse. No key is known that has this hash.
var stranger = []entry{{}}

// NewBook compiles the keys of a policy. A hash that is none never matches. ring is what is registered of keys beside it, nil = nothing.
func NewBook(p *policies.Policy, ring *Ring) *Book {
	b := &Book{
		open:     p.Server.AuthNone,
		pepper:   pepper{secret: p.Auth.Pepper},
		previous: pepper{secret: p.Auth.PreviousPepper},
		keys:     map[string][]entry{},
		admins:   map[string][]entry{},
		policy:   p,
		ring:     ring,
	}
	if ring != nil {
		b.tokens = newTokens(p, &ring.issuers)
	}
	for _, t := range p.Tenants {
		for _, k := range t.Keys {
			if sum, ok := parseHash(k.Hash); ok {
				b.keys[k.ID] = append(b.keys[k.ID], entry{sum: sum, hash: k.Hash, key: k})
			}
		}
	}
	for _, k := range p.Auth.Admin {
		if sum, ok := parseHash(k.Hash); ok {
			b.admins[k.ID] = append(b.admins[k.ID], entry{sum: sum, id: k.ID, role: roles[k.Role]})
		}
	}
	return b
}

// Authenticate returns the key that a request carries. Without authentication in the policy both results are nil.
func (b *Book) Authenticate(h http.Header, now time.Time) (*policies.Key, *llm.Error) {
	if b.open {
		return nil, nil
	}
	token, one := credential(h)
	if !one {
		return nil, refused()
	}
	o := b.stored()
	e, ok := b.find(token, b.keys, o.keys)
	switch {
	case ok && (e.key == nil || expired(e.key, now) || o.of.Ended(e.hash, now)):
		return nil, refused()
	case ok:
		return e.key, nil
	}
	if key := b.tokens.key(token, now); key != nil && !expired(key, now) {
		return key, nil
	}
	return nil, refused()
}

// AdminKeys reports whether the policy has admin keys. Without one the admin listener asks for none.
func (b *Book) AdminKeys() bool { return len(b.admins) > 0 }

// Admin returns the id and the role of the admin key that a request carries.
func (b *Book) Admin(h http.Header) (id string, role Role, err *llm.Error) {
	token, one := credential(h)
	e, ok := b.find(token, b.admins)
	if !one || !ok || e.role == NoRole {
		return "", NoRole, refused()
	}
	return e.id, e.role, nil
}

// find looks a request's credential up. Junk is found out without a hash; every other credential that is refused costs the same hashes
// and at least one comparison, whoever it seems to belong to.
func (b *Book) find(key string, in ...map[string][]entry) (found entry, ok bool) {
	id, wellFormed := Parse(key)
	if !wellFormed {
		return entry{}, false
	}
	for _, p := range [...]*pepper{&b.pepper, &b.previous} {
		sum, present := p.mac(key)
		if !present {
			continue
		}
		for _, entries := range in {
			candidates, known := entries[id]
			if !known {
				candidates = stranger
			}
			if found, ok = match(candidates, sum); ok {
				return found, known
			}
		}
	}
	return entry{}, false
}

// match compares with every candidate, in constant time.
func match(candidates []entry, sum [sha256.Size]byte) (found entry, ok bool) {
	for i := range candidates {
		if subtle.ConstantTimeCompare(candidates[i].sum[:], sum[:]) == 1 && !ok {
			found, ok = candidates[i], true
		}
	}
	return found, ok
}

// headers are where a credential may stand besides Authorization, in order.
var headers = [...]string{"X-Api-Key", "Api-Key", "X-Goog-Api-Key"}

// credential returns a request's credential: of Authorization when that is a bearer token, else of the first other header that is there.
// A header that is there twice is ambiguous, and then there is none.
func credential(h http.Header) (key string, ok bool) {
	auth := h["Authorization"]
	if len(auth) > 1 {
		return "", false
	}
	if len(auth) == 1 {
		scheme, token, _ := strings.Cut(strings.TrimSpace(auth[0]), " ")
		if strings.EqualFold(scheme, "bearer") {
			return strings.TrimSpace(token), true
		}
	}
	for _, name := range headers {
		switch v := h[name]; len(v) {
		case 0:
		case 1:
			return strings.TrimSpace(v[0]), true
		default:
			return "", false
		}
	}
	return "", false
}

// refused is the one answer to every credential that is no good, and to none.
func refused() *llm.Error {
	return &llm.Error{
		Source:  llm.SourceClient,
		Class:   llm.ClassClient,
		Status:  http.StatusUnauthorized,
		Type:    "invalid_request_error",
		Code:    "invalid_api_key",
		Message: "Incorrect API key provided.",
	}
}
