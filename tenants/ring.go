package tenants

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/policies"
)

// Ring is the register of keys as this node has last read it: what requests are held against. It outlives policies and is safe for concurrent use.
type Ring struct {
	store   Store
	now     atomic.Pointer[Register]
	issuers issuers
}

// NewRing returns the ring of a store, which is not asked yet.
func NewRing(s Store) *Ring {
	r := &Ring{store: s}
	r.now.Store((&Register{}).clone())
	return r
}

// Register returns what was last read. It must not be changed.
func (r *Ring) Register() *Register { return r.now.Load() }

// Refresh reads the register if it has changed. With an error what was read before still holds.
func (r *Ring) Refresh(ctx context.Context) error {
	next, err := r.store.Register(ctx, r.Register().Version)
	if err != nil {
		return err
	}
	if next != nil {
		r.now.Store(next)
	}
	return nil
}

// refreshEvery is how often the store is asked: what was changed on another node counts here after it.
const refreshEvery = time.Second

// Watch refreshes until ctx ends. A store that is away is the client's to report.
func (r *Ring) Watch(ctx context.Context) {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		_ = r.Refresh(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Amend changes the register, here at once and on every other node when it looks next.
func (r *Ring) Amend(ctx context.Context, edit func(*Register) error) error {
	if err := r.store.Amend(ctx, edit); err != nil {
		return err
	}
	return r.Refresh(ctx)
}

// overlay is a register compiled against one policy.
type overlay struct {
	of   *Register
	keys map[string][]entry // by key id
}

// stored returns the entries of the register's keys, compiled when the register has changed.
func (b *Book) stored() *overlay {
	if b.ring == nil {
		return &overlay{of: nothing}
	}
	now := b.ring.Register()
	if o := b.over.Load(); o != nil && o.of == now {
		return o
	}
	o := &overlay{of: now, keys: map[string][]entry{}}
	for i := range now.Keys {
		k := &now.Keys[i]
		t, sum := b.policy.Tenants[k.Tenant], [32]byte{}
		ok := t != nil
		if ok {
			sum, ok = parseHash(k.Hash)
		}
		ok = ok && !k.broken
		if ok {
			o.keys[k.ID] = append(o.keys[k.ID], entry{sum: sum, hash: k.Hash, key: k.compile(b.policy, t)})
		}
	}
	b.over.Store(o)
	return o
}

// nothing is the register of a book without one.
var nothing = &Register{}

// compile gives the key its place in a policy.
func (k *StoredKey) compile(p *policies.Policy, t *policies.Tenant) *policies.Key {
	key := &policies.Key{Tenant: t, ID: k.ID, Hash: k.Hash, Expires: k.Expires, Routes: set(k.Routes), Models: set(k.Models), Labels: k.Labels, Limits: k.limits, Budget: k.budget}
	if len(k.Models) == 0 {
		key.Models = nil
	}
	for _, was := range t.Keys {
		if k.Of != "" && was.Hash == k.Of {
			key.Limits, key.Budget = was.Limits, was.Budget
		}
	}
	return key
}

// set is nil for nil: all, and not none.
func set(names []string) map[string]bool {
	if names == nil {
		return nil
	}
	s := make(map[string]bool, len(names))
	for _, n := range names {
		s[n] = true
	}
	return s
}
