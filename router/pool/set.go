package pool

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/policies"
)

// Set holds the pool of every own provider. It outlives policies and is safe for concurrent use.
type Set struct {
	mu      sync.Mutex
	pools   map[string]*Pool
	changed chan struct{} // closed when a pool is added
}

// NewSet returns a set without pools.
func NewSet() *Set { return &Set{pools: map[string]*Pool{}, changed: make(chan struct{})} }

// Update brings the provider's pool up to its policy, and makes it when it is new.
func (s *Set) Update(pr *policies.Provider) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pools[pr.Name]
	if p != nil {
		p.update(pr)
		return
	}
	p = newPool(pr.Name)
	p.update(pr)
	s.pools[pr.Name] = p
	close(s.changed)
	s.changed = make(chan struct{})
}

// Sync brings every pool up to a policy. Pools that it does not have are probed no more and leave Pools, but Pool still finds them:
// exchanges of older policies may be under way.
func (s *Set) Sync(policy *policies.Policy) {
	for _, pr := range policy.Providers {
		if pr.Own {
			s.Update(pr)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, p := range s.pools {
		if pr := policy.Providers[name]; pr == nil || !pr.Own {
			p.retire()
		}
	}
}

// Pool returns the provider's pool, nil when there never was one.
func (s *Set) Pool(name string) *Pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pools[name]
}

// Pools returns the pools of the policy in force, sorted by name.
func (s *Set) Pools() []*Pool {
	all, _ := s.all()
	return slices.DeleteFunc(all, func(p *Pool) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.retired
	})
}

func (s *Set) all() ([]*Pool, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Pool, 0, len(s.pools))
	for _, p := range s.pools {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *Pool) int { return cmp.Compare(a.name, b.name) })
	return out, s.changed
}

// Watch watches every pool, also those that come later, until ctx ends. The probe is told the provider as the last policy describes it.
// It returns when its last probe has.
func (s *Set) Watch(ctx context.Context, probe func(ctx context.Context, pr *policies.Provider, u *url.URL) error, every time.Duration) {
	var wg sync.WaitGroup
	defer wg.Wait()
	watched := map[*Pool]bool{}
	for {
		all, changed := s.all()
		for _, p := range all {
			if watched[p] {
				continue
			}
			watched[p] = true
			wg.Go(func() {
				p.Watch(ctx, func(ctx context.Context, u *url.URL) error { return probe(ctx, p.Provider(), u) }, every)
			})
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
