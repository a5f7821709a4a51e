package proxy

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/cache"
	"github.com/sluice-gateway/sluice/feedback"
	"github.com/sluice-gateway/sluice/internal/breaker"
	"github.com/sluice-gateway/sluice/internal/queue"
	"github.com/sluice-gateway/sluice/ledger"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers"
	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/router/pool"
	"github.com/sluice-gateway/sluice/telemetry"
	"github.com/sluice-gateway/sluice/tenants"
)

// Snapshot is a policy with what is compiled from it. An exchange keeps the one that it began with.
type Snapshot struct {
	Policy     *policies.Policy
	Book       *tenants.Book
	Generation int // counts swaps since the start
	LoadedAt   time.Time
	live       atomic.Int64
}

// Live returns how many exchanges that began with the snapshot are open.
func (s *Snapshot) Live() int64 { return s.live.Load() }

// Options are what a gateway is made of.
type Options struct {
	Router *router.Router
	// Emit takes each exchange's record, once. It must not block.
	Emit func(*telemetry.Record)
	// Outcome takes each labelled record of a policy with feedback. It must not block. nil: feedback is off whatever the policy says.
	Outcome func(feedback.Record)
	// Ledger takes a row for each attempt; nil = none is kept.
	Ledger *ledger.Ledger
	// Shared keeps recorded answers for several gateways; nil = each has its own.
	Shared cache.Store
	// Jitter returns a number in [0, 1) for back-off; nil = random.
	Jitter func() float64
	// Store keeps limits, budgets and keys; nil = in memory. It stays the caller's.
	Store tenants.Store
}

// Gateway holds what outlives a policy: breakers, credentials' state, pools, sessions. It is safe for concurrent use.
type Gateway struct {
	router   *router.Router
	breakers *breaker.Set
	pools    *pool.Set
	creds    *providers.Credentials
	retries  retries
	load     load
	emit     func(*telemetry.Record)
	ledger   *ledger.Ledger
	meter    ledger.Meter
	cache    *cache.Cache
	jitter   func() float64
	store    tenants.Store
	far      bool // asking the store takes a trip
	ring     *tenants.Ring
	outputs  *tenants.Outputs

	// usable, poolFacts and pace as values, made once.
	asUsable func(*policies.Model) (ok bool, why string, after time.Duration)
	asPool   func(name string) policies.PoolFacts
	asPace   func(*policies.Model) policies.ModelPace
	paces    paces
	outcomes *outcomes // nil = nowhere to write

	scratch  sync.Pool // of *scratch
	snap     atomic.Pointer[Snapshot]
	swapping sync.Mutex
	draining atomic.Bool
	inflight atomic.Int64
	total    atomic.Int64
}

// NewGateway makes a gateway that serves the policy.
func NewGateway(p *policies.Policy, o Options) *Gateway {
	g := &Gateway{
		router:   o.Router,
		breakers: breaker.New(breaker.Options{}),
		pools:    pool.NewSet(),
		creds:    providers.NewCredentials(),
		retries:  retries{spent: map[RetryTarget]int{}},
		emit:     o.Emit,
		ledger:   o.Ledger,
		cache:    cache.New(o.Shared),
		jitter:   o.Jitter,
		outcomes: newOutcomes(o.Outcome),
		store:    o.Store,
		outputs:  tenants.NewOutputs(),
	}
	if g.store == nil {
		g.store = tenants.NewMemory()
	}
	_, g.far = g.store.(*tenants.Shared)
	g.ring = tenants.NewRing(g.store)
	if g.jitter == nil {
		g.jitter = randFloat
	}
	g.asUsable, g.asPool, g.asPace = g.usable, g.poolFacts, g.pace
	g.Swap(p)
	return g
}

// Swap puts a policy into force for every exchange that begins after it.
func (g *Gateway) Swap(p *policies.Policy) *Snapshot {
	g.swapping.Lock()
	defer g.swapping.Unlock()
	s := &Snapshot{Policy: p, Book: tenants.NewBook(p, g.ring), LoadedAt: time.Now()}
	if old := g.snap.Load(); old != nil {
		s.Generation = old.Generation + 1
	}
	g.pools.Sync(p)
	g.cache.SetSecret(p.Auth.Pepper.Reveal())
	g.load.sync(p)
	g.snap.Store(s)
	return s
}

// Snapshot returns the policy in force.
func (g *Gateway) Snapshot() *Snapshot { return g.snap.Load() }

// Pools returns the own pools, for their health checks and the status page.
func (g *Gateway) Pools() *pool.Set { return g.pools }

// Store returns what keeps limits, budgets and keys, and Ring the keys beside the policy's.
func (g *Gateway) Store() tenants.Store { return g.store }

// Ring returns the register of keys as this node has last read it.
func (g *Gateway) Ring() *tenants.Ring { return g.ring }

// Breakers returns the state of every breaker.
func (g *Gateway) Breakers() []breaker.Status { return g.breakers.Snapshot() }

// Inflight returns how many exchanges are open, and Total how many there have been.
func (g *Gateway) Inflight() int64 { return g.inflight.Load() }

// Total returns how many exchanges have begun.
func (g *Gateway) Total() int64 { return g.total.Load() }

// Drain makes the gateway unready; what is open goes on.
func (g *Gateway) Drain() { g.draining.Store(true) }

// Draining reports whether Drain was called.
func (g *Gateway) Draining() bool { return g.draining.Load() }

// breakerKey is the identity under which an attempt's failures are counted.
func breakerKey(m *policies.Model, credential, endpoint string) breaker.Key {
	return breaker.Key{Provider: m.Provider.Name, Model: m.Name, Credential: credential, Endpoint: endpoint}
}

// usable says whether a model's upstream may be asked now, and when not, why and when it may be again. It reads states and takes nothing.
func (g *Gateway) usable(m *policies.Model) (ok bool, why string, after time.Duration) {
	if full, after := g.crowded(m, queue.Default); full {
		return false, crowdedWhy, after
	}
	return g.able(m)
}

// able is usable but for the line before the model's provider.
func (g *Gateway) able(m *policies.Model) (ok bool, why string, after time.Duration) {
	if m.Provider.Own {
		return g.usablePool(m)
	}
	until, parked := g.creds.Parked(m.Provider, m.Name, time.Now())
	if parked {
		return false, "its credentials are cooling down", time.Until(until)
	}
	if open, until := g.breakers.State(breakerKey(m, "", "")); open {
		return false, "its breaker is open", time.Until(until)
	}
	return true, "", 0
}

// rests reports whether a target's breaker is open or its endpoint had no room just now.
func (g *Gateway) rests(k breaker.Key) (rests bool, until time.Time) {
	if until, ok := g.breakers.Cooling(k); ok {
		return true, until
	}
	return g.breakers.State(k)
}

func (g *Gateway) usablePool(m *policies.Model) (ok bool, why string, after time.Duration) {
	p := g.pools.Pool(m.Provider.Name)
	if p == nil {
		return false, "its pool is not known", time.Second
	}
	soonest := time.Duration(0)
	for _, e := range p.Status() {
		if e.State == pool.Down || e.State == pool.Loading {
			continue
		}
		open, until := g.rests(breakerKey(m, "", e.Host))
		if !open {
			return true, "", 0
		}
		if d := time.Until(until); soonest == 0 || d < soonest {
			soonest = d
		}
	}
	if soonest > 0 {
		return false, "the breakers of its endpoints are open", soonest
	}
	return false, "every endpoint is down", 2 * time.Second
}

// reachable is usable for a provider as a whole, for paths that name no model.
func (g *Gateway) reachable(p *policies.Provider) (ok bool, after time.Duration) {
	ok, _, after = g.usable(&policies.Model{Provider: p})
	return ok, after
}

func (g *Gateway) poolFacts(name string) policies.PoolFacts {
	if p := g.pools.Pool(name); p != nil {
		f := p.Facts()
		_, f.Waiting, _ = g.Queued(name)
		return f
	}
	return policies.PoolFacts{}
}
