package tenants

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/policies"
)

// What can be wrong with a change of keys.
var (
	ErrTenantUnknown = errors.New("the policy has no such tenant")
	ErrKeyUnknown    = errors.New("there is no such key")
	ErrKeyTaken      = errors.New("the tenant has a key with this id")
	ErrKeyExpired    = errors.New("the key has expired: revoke it and make another")
	ErrExpires       = errors.New("the time at which the key expires is over")
	ErrKeyID         = errID
	ErrNoPepper      = errors.New("the policy has no auth.pepper to hash keys with")
	ErrScope         = errors.New("the policy has no such route or model")
	ErrQuota         = errors.New("not as limits and budgets are in a policy") // wrapped: the text says what
)

// Listed is a key as it may be shown: neither the key, which nobody has, nor its hash.
type Listed struct {
	Tenant  string            `json:"tenant"`
	ID      string            `json:"id"`
	Source  string            `json:"source"` // policy or store
	Expires time.Time         `json:"expires,omitzero"`
	Expired bool              `json:"expired"`
	Until   time.Time         `json:"valid_until,omitzero"` // of one that is replaced
	Revoked bool              `json:"revoked"`
	Routes  []string          `json:"routes"` // null = all
	Models  []string          `json:"models,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Limits  json.RawMessage   `json:"limits,omitempty"` // of the store's; a policy's are in the policy
	Budget  json.RawMessage   `json:"budget,omitempty"`
}

// List returns the keys of tenants, of the policy and of the register, sorted.
func List(p *policies.Policy, r *Register, now time.Time) []Listed {
	out := []Listed{}
	add := func(k *policies.Key, source string, of *StoredKey) {
		l := Listed{Tenant: k.Tenant.Name, ID: k.ID, Source: source, Limits: of.Limits, Budget: of.Budget, Expires: k.Expires, Expired: expired(k, now), Revoked: r.Ended(k.Hash, now),
			Models: slices.Sorted(maps.Keys(k.Models)), Labels: k.Labels}
		if k.Routes != nil {
			l.Routes = append([]string{}, slices.Sorted(maps.Keys(k.Routes))...)
		}
		if at, ok := r.Revoked[k.Hash]; ok && !l.Revoked {
			l.Until = at
		}
		out = append(out, l)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Tenants)) {
		t := p.Tenants[name]
		for _, k := range t.Keys {
			add(k, "policy", &StoredKey{})
		}
		for i := range r.Keys {
			if k := &r.Keys[i]; k.Tenant == name {
				add(k.compile(p, t), "store", k)
			}
		}
	}
	return out
}

func expired(k *policies.Key, now time.Time) bool { return over(k.Expires, now) }

// ended reports whether the key has expired.
func (k *StoredKey) ended(now time.Time) bool { return over(k.Expires, now) }

// over reports whether a time of expiry is over; the zero time never is.
func over(expires, now time.Time) bool { return !expires.IsZero() && !now.Before(expires) }

// Make registers a new key and returns it; it is shown this once. spec holds the tenant, the id and the scope.
func (r *Ring) Make(ctx context.Context, p *policies.Policy, spec StoredKey, now time.Time) (key string, err error) {
	if err := checkScope(p, &spec); err != nil {
		return "", err
	}
	if spec.ended(now) {
		return "", ErrExpires
	}
	if err := spec.read(len(p.Tiers) > 0); err != nil {
		return "", fmt.Errorf("%w: %w", ErrQuota, err)
	}
	if key, err = spec.mint(p); err != nil {
		return "", err
	}
	spec.Made = now
	return key, r.Amend(ctx, func(reg *Register) error {
		for _, k := range reg.live(p, spec.Tenant, spec.ID, now) {
			if _, replaced := reg.Revoked[k.Hash]; !replaced {
				return ErrKeyTaken
			}
		}
		reg.Keys = append(reg.Keys, spec)
		return nil
	})
}

// checkScope reports what of a key's scope the policy does not have.
func checkScope(p *policies.Policy, spec *StoredKey) error {
	if p.Tenants[spec.Tenant] == nil {
		return ErrTenantUnknown
	}
	for _, name := range spec.Routes {
		if !p.Scopes(name) {
			return ErrScope
		}
	}
	for _, name := range spec.Models {
		if p.Models[name] == nil {
			return ErrScope
		}
	}
	return nil
}

// mint makes the key and puts its hash into the spec.
func (k *StoredKey) mint(p *policies.Policy) (key string, err error) {
	pepper := p.Auth.Pepper.Reveal()
	if pepper == "" {
		return "", ErrNoPepper
	}
	if key, err = NewKey(k.ID); err != nil {
		return "", err
	}
	k.Hash = Hash(pepper, key)
	return key, nil
}

// live returns the keys of a tenant's id, of policy and register, that are not revoked.
func (r *Register) live(p *policies.Policy, tenant, id string, now time.Time) (keys []StoredKey) {
	if t := p.Tenants[tenant]; t != nil {
		for _, k := range t.Keys {
			if k.ID == id {
				keys = append(keys, storable(k))
			}
		}
	}
	keys = append(keys, r.Find(tenant, id)...)
	return slices.DeleteFunc(keys, func(k StoredKey) bool { return r.Ended(k.Hash, now) })
}

// storable is a policy's key as one of the register, to go on from.
func storable(k *policies.Key) StoredKey {
	s := StoredKey{Tenant: k.Tenant.Name, ID: k.ID, Hash: k.Hash, Expires: k.Expires, Labels: k.Labels, Of: k.Hash, Models: slices.Sorted(maps.Keys(k.Models))}
	if k.Routes != nil {
		s.Routes = append([]string{}, slices.Sorted(maps.Keys(k.Routes))...)
	}
	if k.Limits != nil {
		s.limits = k.Limits
		s.Limits, _ = json.Marshal(k.Limits) // names and numbers: never fails
	}
	if k.Budget != nil {
		s.budget = k.Budget
		s.Budget, _ = json.Marshal(k.Budget)
	}
	return s
}

// Revoke refuses every key of a tenant's id from now on, also those that the policy declares.
func (r *Ring) Revoke(ctx context.Context, p *policies.Policy, tenant, id string, now time.Time) error {
	return r.Amend(ctx, func(reg *Register) error {
		keys := reg.live(p, tenant, id, now)
		if len(keys) == 0 {
			return ErrKeyUnknown
		}
		for _, k := range keys {
			reg.Revoke(k.Hash, now)
		}
		return nil
	})
}

// Rotate replaces a key by a new one of the same scope, which is returned; the old one is good for overlap more.
func (r *Ring) Rotate(ctx context.Context, p *policies.Policy, tenant, id string, overlap time.Duration, now time.Time) (key string, err error) {
	err = r.Amend(ctx, func(reg *Register) error {
		keys := reg.live(p, tenant, id, now)
		if len(keys) == 0 {
			return ErrKeyUnknown
		}
		next := keys[len(keys)-1] // the newest
		if next.ended(now) {
			return ErrKeyExpired
		}
		if key, err = next.mint(p); err != nil {
			return err
		}
		next.Made = now
		for _, k := range keys {
			reg.Revoke(k.Hash, now.Add(overlap))
		}
		reg.Keys = append(reg.Keys, next)
		return nil
	})
	return key, err
}
