package pool

import (
	"errors"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/policies"
)

// Why Acquire gives no endpoint.
var (
	ErrDown    = errors.New("every endpoint of the pool is down")
	ErrFull    = errors.New("the pool has its limit of requests in flight")
	ErrAvoided = errors.New("every healthy endpoint of the pool is avoided")
)

// maxTokens bounds what one request may claim, so that sums cannot overflow.
const maxTokens = 1 << 30

// unwatched is how long an endpoint stays down when nobody probes it.
const unwatched = 2 * time.Second

// Pool is the endpoints of one own provider with what is in flight on each. It outlives policies and is safe for concurrent use.
type Pool struct {
	name string

	mu       sync.Mutex
	provider *policies.Provider
	list     []*endpoint          // of the policy in force; replaced, never changed
	known    map[string]*endpoint // by URL: those of list, and those that left with requests in flight
	changed  chan struct{}        // closed when list changes
	watchers int
	retired  bool
	next     int // where ties begin
	inflight int // on all endpoints, also on those that left
}

// endpoint is one endpoint with its counters. Pool.mu guards it.
type endpoint struct {
	url      *url.URL
	state    State
	since    time.Time // of state
	misses   int       // failed probes in a row
	failures int       // passive failures so far: a probe that began before the last one proves nothing
	reason   string    // of the last failure
	inflight int
	tokens   int
	gone     bool
	wake     chan struct{} // asks the watcher to probe sooner
}

func newPool(name string) *Pool {
	return &Pool{name: name, known: map[string]*endpoint{}, changed: make(chan struct{})}
}

// Name returns the provider's name.
func (p *Pool) Name() string { return p.name }

// Provider returns the provider as the last policy describes it.
func (p *Pool) Provider() *policies.Provider {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.provider
}

// update makes the pool's endpoints those of the provider. Endpoints that stay, or come back before their last request ended, keep
// their counters; those that stay keep their health.
func (p *Pool) update(pr *policies.Provider) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.provider, p.retired = pr, false
	list := make([]*endpoint, 0, len(pr.Endpoints))
	for _, u := range pr.Endpoints {
		e := p.known[u.String()]
		if e == nil {
			e = &endpoint{url: u, since: time.Now(), wake: make(chan struct{}, 1)}
			p.known[u.String()] = e
		}
		if e.gone {
			e.gone, e.misses = false, 0
			e.become(Unknown, "")
		}
		if !slices.Contains(list, e) {
			list = append(list, e)
		}
	}
	old := p.list
	p.list = list
	for _, e := range old {
		if !slices.Contains(list, e) {
			e.gone = true
			p.forget(e)
		}
	}
	p.announce()
}

// retire stops the pool's health checks: its provider is not in the policy any more. Exchanges of older policies may still use it.
func (p *Pool) retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.retired {
		p.retired = true
		p.announce()
	}
}

func (p *Pool) announce() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// forget drops an endpoint that left once nothing is in flight on it.
func (p *Pool) forget(e *endpoint) {
	if e.gone && e.inflight == 0 {
		delete(p.known, e.url.String())
	}
}

// Lease is one request's place on an endpoint. It holds the endpoint's own counters, so it can be released whatever became of the
// endpoint.
type Lease struct {
	p        *Pool
	e        *endpoint
	tokens   int
	released atomic.Bool
}

// Endpoint returns the endpoint's root. It must not be changed.
func (l *Lease) Endpoint() *url.URL { return l.e.url }

// Host returns the endpoint's host and port.
func (l *Lease) Host() string { return l.e.url.Host }

// Release gives the place back. Only the first call counts.
func (l *Lease) Release() {
	if l.released.Swap(true) {
		return
	}
	p, e := l.p, l.e
	p.mu.Lock()
	defer p.mu.Unlock()
	e.inflight = max(e.inflight-1, 0)
	e.tokens = max(e.tokens-l.tokens, 0)
	p.inflight = max(p.inflight-1, 0)
	p.forget(e)
}

// Pick is Acquire for callers to whom the reason does not matter.
func (p *Pool) Pick(tokens int, avoid func(host string) bool) (*Lease, bool) {
	l, err := p.Acquire(tokens, avoid)
	return l, err == nil
}

// Acquire takes a place on the healthy endpoint with the fewest tokens in flight, of those that avoid does not name (nil = none). Ties go
// to fewer requests, then round. tokens are those of the prompt and the expected answer. The caller must release the lease. It fails with
// ErrDown, ErrFull or ErrAvoided.
func (p *Pool) Acquire(tokens int, avoid func(host string) bool) (*Lease, error) {
	tokens = min(max(tokens, 0), maxTokens)
	p.mu.Lock()
	list := p.list
	p.mu.Unlock()
	var room [32]bool
	avoided := room[:0]
	if avoid != nil { // asked without the lock: it may look at the pool
		for _, e := range list {
			avoided = append(avoided, avoid(e.url.Host))
		}
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.provider.Concurrent > 0 && p.inflight >= p.provider.Concurrent {
		return nil, ErrFull
	}
	best, at, usable := (*endpoint)(nil), 0, false
	for i := range list {
		j := (p.next + i) % len(list)
		e := list[j]
		if e.gone || !p.stateOf(e).usable() {
			continue
		}
		usable = true
		if avoid != nil && avoided[j] {
			continue
		}
		if best == nil || e.tokens < best.tokens || e.tokens == best.tokens && e.inflight < best.inflight {
			best, at = e, j
		}
	}
	switch {
	case !usable:
		return nil, ErrDown
	case best == nil:
		return nil, ErrAvoided
	}
	p.next = at + 1
	best.inflight++
	best.tokens += tokens
	p.inflight++
	return &Lease{p: p, e: best, tokens: tokens}, nil
}

// Facts returns what rules may look at. Healthy counts every endpoint that may be picked; Waiting is not the pool's to know.
func (p *Pool) Facts() policies.PoolFacts {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := policies.PoolFacts{Inflight: p.inflight, Endpoints: len(p.list)}
	for _, e := range p.known {
		f.Tokens += e.tokens
	}
	for _, e := range p.list {
		if p.stateOf(e).usable() {
			f.Healthy++
		}
	}
	f.Saturated = p.provider.Concurrent > 0 && p.inflight >= p.provider.Concurrent
	return f
}

// EndpointStatus is one endpoint as the admin listener shows it.
type EndpointStatus struct {
	URL      string    `json:"url"` // without a password
	Host     string    `json:"host"`
	State    State     `json:"state"`
	Since    time.Time `json:"since"`
	Inflight int       `json:"inflight"` // requests
	Tokens   int       `json:"tokens"`   // in flight
	Reason   string    `json:"reason,omitempty"`
}

// Status returns the endpoints in the policy's order.
func (p *Pool) Status() []EndpointStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]EndpointStatus, len(p.list))
	for i, e := range p.list {
		out[i] = EndpointStatus{e.url.Redacted(), e.url.Host, p.stateOf(e), e.since, e.inflight, e.tokens, e.reason}
	}
	return out
}
