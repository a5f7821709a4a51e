package tenants

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/policies"
)

// Register is what the store knows of keys beside the policy: those that were made through the admin listener, and the end of those that were
// revoked or replaced. A register that was handed out is not changed any more.
type Register struct {
	Version string               `json:"version"` // changes with every amendment
	Keys    []StoredKey          `json:"keys"`
	Revoked map[string]time.Time `json:"revoked"` // by hash: from then on the key is refused, wherever it is declared
}

// StoredKey is a key that the policy does not declare. Names of routes and models that the policy in force does not have mean nothing.
type StoredKey struct {
	Tenant  string            `json:"tenant"`
	ID      string            `json:"id"`
	Hash    string            `json:"hash"`
	Expires time.Time         `json:"expires,omitzero"`
	Routes  []string          `json:"routes"` // and passthrough paths; null = all, [] = none
	Models  []string          `json:"models,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	// Limits and Budget are as in a policy; absent = none of its own.
	Limits json.RawMessage `json:"limits,omitempty"`
	Budget json.RawMessage `json:"budget,omitempty"`
	// Of is the hash of the policy's key that this one replaced: it goes on with that one's limits and budget, as they are for as long as the policy has it.
	Of   string    `json:"of,omitempty"`
	Made time.Time `json:"made"`

	limits *policies.Limits
	budget *policies.Budget
	broken bool // they cannot be read: the key is refused
}

// read compiles the key's limits and budget. tiers says whether its policy has any.
func (k *StoredKey) read(tiers bool) error {
	if k.Limits == nil && k.Budget == nil {
		return nil
	}
	text, err := json.Marshal(struct {
		Limits json.RawMessage `json:"limits"`
		Budget json.RawMessage `json:"budget"`
	}{k.Limits, k.Budget})
	if err == nil {
		k.limits, k.budget, err = policies.ParseQuotas(text, tiers)
	}
	k.broken = err != nil
	return err
}

// maxRevoked bounds the register.
const maxRevoked = 100_000

var errRegisterFull = errors.New("the register holds too many revocations")

// clone returns a register that may be changed.
func (r *Register) clone() *Register {
	c := &Register{Version: r.Version, Keys: slices.Clone(r.Keys), Revoked: maps.Clone(r.Revoked)}
	if c.Revoked == nil {
		c.Revoked = map[string]time.Time{}
	}
	return c
}

// Find returns the keys of a tenant's id that are not replaced yet.
func (r *Register) Find(tenant, id string) (keys []StoredKey) {
	for _, k := range r.Keys {
		if k.Tenant == tenant && k.ID == id {
			keys = append(keys, k)
		}
	}
	return keys
}

// Revoke refuses a key, by its hash, from a time on. An earlier end stays.
func (r *Register) Revoke(hash string, from time.Time) {
	if at, ok := r.Revoked[hash]; !ok || from.Before(at) {
		r.Revoked[hash] = from
	}
}

// Ended reports whether the key of a hash is refused now.
func (r *Register) Ended(hash string, now time.Time) bool {
	at, ok := r.Revoked[hash]
	return ok && !now.Before(at)
}

// sweep drops stored keys that are over for good, with the revocations that only they needed.
func (r *Register) sweep(now time.Time) {
	r.Keys = slices.DeleteFunc(r.Keys, func(k StoredKey) bool {
		over := r.Ended(k.Hash, now)
		if over {
			delete(r.Revoked, k.Hash)
		}
		return over
	})
}

// encode writes the register under a new version.
func (r *Register) encode(now time.Time) ([]byte, error) {
	r.sweep(now)
	if len(r.Revoked) > maxRevoked {
		return nil, errRegisterFull
	}
	r.Version = newVersion()
	return json.Marshal(r)
}

func decodeRegister(b []byte) (*Register, error) {
	r := new(Register)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, err
	}
	for i := range r.Keys {
		_ = r.Keys[i].read(true) // it was good when it was made
	}
	return r.clone(), nil
}

func newVersion() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails: the process ends instead
	return hex.EncodeToString(b[:])
}
