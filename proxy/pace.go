package proxy

import (
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/policies"
)

// paceWeight is how much a new answer counts against those before it: the last twenty or so decide.
const paceWeight = .1

type paceKey struct{ provider, model string }

// paces is what has been seen of every model lately, as moving averages. What it holds is bounded by the models of all policies so far.
type paces struct {
	mu sync.Mutex
	of map[paceKey]paceSeen
}

type paceSeen struct{ first, out float64 } // seconds to the first token, tokens of an answer

// saw books an answer: the time to its first token, and its tokens (0 = not known).
func (p *paces) saw(m *policies.Model, first time.Duration, out int) {
	k := paceKey{m.Provider.Name, m.Name}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		p.of = map[paceKey]paceSeen{}
	}
	s := p.of[k]
	s.first = average(s.first, first.Seconds())
	if out > 0 {
		s.out = average(s.out, float64(out))
	}
	p.of[k] = s
}

func average(was, now float64) float64 {
	if was == 0 {
		return now
	}
	return was + paceWeight*(now-was)
}

// pace tells how long a request to the model takes to its first token, those that wait before it included, and how long its answers are.
func (g *Gateway) pace(m *policies.Model) policies.ModelPace {
	g.paces.mu.Lock()
	s := g.paces.of[paceKey{m.Provider.Name, m.Name}]
	g.paces.mu.Unlock()
	if m.Provider.Own {
		f := g.poolFacts(m.Provider.Name)
		s.first *= 1 + float64(f.Waiting)/float64(max(1, f.Healthy))
	}
	return policies.ModelPace{First: time.Duration(s.first * float64(time.Second)), Out: int(s.out)}
}
