package tenants

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
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
	key  *policies.Key
	role Role
}

// Book is a policy's keys by their ids. It is safe for concurrent use; its keys do not change, and a pepper that is refreshed is seen.
type Book struct {
	open     bool
	pepper   pepper
	previous pepper
	keys     map[string][]entry // by key id: tenants may use the same one
	admins   map[string][]entry
}

// stranger stands in for the keys of an id that nobody has, so that it takes as long to refuse. No key is known that has this hash.
var stranger = []entry{{}}

// NewBook compiles the keys of a policy. A hash that is none never matches.
func NewBook(p *policies.Policy) *Book {
	b := &Book{
		open:     p.Server.AuthNone,
		pepper:   pepper{secret: p.Auth.Pepper},
		previous: pepper{secret: p.Auth.PreviousPepper},
		keys:     map[string][]entry{},
		admins:   map[string][]entry{},
	}
	for _, t := range p.Tenants {
		for _, k := range t.Keys {
			if sum, ok := parseHash(k.Hash); ok {
				b.keys[k.ID] = append(b.keys[k.ID], entry{sum: sum, key: k})
			}
		}
	}
	for _, k := range p.Auth.Admin {
		if sum, ok := parseHash(k.Hash); ok {
			b.admins[k.ID] = append(b.admins[k.ID], entry{sum: sum, role: roles[k.Role]})
		}
	}
	return b
}

// Authenticate returns the key that a request carries. Without authentication in the policy both results are nil.
func (b *Book) Authenticate(h http.Header, now time.Time) (*policies.Key, *llm.Error) {
	if b.open {
		return nil, nil
	}
	e, ok := b.find(b.keys, h)
	if !ok || e.key == nil || !e.key.Expires.IsZero() && !now.Before(e.key.Expires) {
		return nil, refused()
	}
	return e.key, nil
}

// AdminKeys reports whether the policy has admin keys. Without one the admin listener asks for none.
func (b *Book) AdminKeys() bool { return len(b.admins) > 0 }

// Admin returns the role of the admin key that a request carries.
func (b *Book) Admin(h http.Header) (Role, *llm.Error) {
	e, ok := b.find(b.admins, h)
	if !ok || e.role == NoRole {
		return NoRole, refused()
	}
	return e.role, nil
}

// find looks a request's credential up. Junk is found out without a hash; every other credential that is refused costs the same hashes
// and at least one comparison, whoever it seems to belong to.
func (b *Book) find(in map[string][]entry, h http.Header) (found entry, ok bool) {
	key, one := credential(h)
	if !one {
		return entry{}, false
	}
	id, wellFormed := Parse(key)
	if !wellFormed {
		return entry{}, false
	}
	candidates, known := in[id]
	if !known {
		candidates = stranger
	}
	for _, p := range [...]*pepper{&b.pepper, &b.previous} {
		if sum, present := p.mac(key); present {
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
