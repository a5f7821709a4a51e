package ledger

import (
	"math"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/policies"
)

// Meter shares the cost of own GPUs out among the attempts that they work on at the same time: each second costs what it costs, and attempts that
// are in flight then bear it in proportion to their tokens as estimated when they began. So the marginal costs of a pool's attempts add up to the
// price of the time in which it had any. The zero Meter is ready; it is safe for concurrent use.
type Meter struct {
	mu    sync.Mutex
	pools map[string]*shared
}

// shared is one pool's clock: it advances by price over weight, so that what an attempt bears is its weight times what passed.
type shared struct {
	weight  float64
	clock   float64 // micro-dollars a unit of weight
	perHour float64 // USD, as the last attempt that began knew it
	at      time.Time
}

// Share is one attempt's part; the zero Share is of nobody.
type Share struct {
	m      *Meter
	pool   *shared
	weight float64
	from   float64
}

// Begin counts an attempt on a pool that costs usdPerHour in.
func (m *Meter) Begin(pool string, usdPerHour float64, tokens int, now time.Time) Share {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.pools[pool]
	if s == nil {
		if m.pools == nil {
			m.pools = map[string]*shared{}
		}
		s = &shared{at: now}
		m.pools[pool] = s
	}
	s.advance(now)
	s.perHour = usdPerHour
	w := float64(max(1, tokens))
	s.weight += w
	return Share{m, s, w, s.clock}
}

// End counts the attempt out and returns what it bears, in millionths of a dollar. False: it was of nobody, or was counted out before.
func (h *Share) End(now time.Time) (micro int64, ok bool) {
	if h.m == nil {
		return 0, false
	}
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	h.pool.advance(now)
	micro = int64(math.Round(h.weight * (h.pool.clock - h.from)))
	if h.pool.weight -= h.weight; h.pool.weight < 0.5 {
		h.pool.weight, h.pool.clock = 0, 0 // nobody is left to whom the old clock means anything
	}
	h.m = nil
	return micro, true
}

func (s *shared) advance(now time.Time) {
	if d := now.Sub(s.at); d > 0 {
		if s.weight > 0 {
			s.clock += s.perHour * 1e6 * d.Hours() / s.weight
		}
		s.at = now
	}
}

// Hourly returns what each pool of a policy that has a price by the hour costs, in USD an hour.
func Hourly(p *policies.Policy) map[string]float64 {
	all := map[string]float64{}
	for name, pr := range p.Providers {
		if pr.Own && pr.GPUPerHour > 0 {
			all[name] = pr.GPUPerHour
		}
	}
	return all
}
