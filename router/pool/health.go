package pool

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"
)

// State is an endpoint's health.
type State uint8

// The states of an endpoint. Unknown, before the first probe, counts as healthy.
const (
	Unknown State = iota
	Ready
	Down
	Loading // it answers, and cannot serve yet
)

var stateNames = [...]string{Unknown: "unknown", Ready: "ready", Down: "down", Loading: "loading"}

// String names the state as the admin listener does.
func (s State) String() string { return stateNames[s] }

// MarshalText writes the name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s State) usable() bool { return s == Unknown || s == Ready }

// ErrLoading is what a probe returns, perhaps wrapped, of an endpoint that is up and still loads its model.
var ErrLoading = errors.New("loading")

// missesDown is how many probes in a row must fail before a ready endpoint is down: one may be lost on a busy machine.
const missesDown = 2

// sooner divides the time between probes while an endpoint is not well.
const sooner = 4

func (e *endpoint) become(s State, reason string) {
	if e.state != s {
		e.state, e.since = s, time.Now()
	}
	e.reason = reason
}

// stateOf is the endpoint's state. Bad news is forgotten after a while when nobody probes: else nothing would ever end it.
func (p *Pool) stateOf(e *endpoint) State {
	if !e.state.usable() && p.watchers == 0 && time.Since(e.since) >= unwatched {
		return Unknown
	}
	return e.state
}

// Fail says that no connection to the endpoint could be made: it is down until the next good probe.
func (p *Pool) Fail(u *url.URL) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.known[u.String()]
	if e == nil || e.gone {
		return
	}
	e.failures++
	e.since = time.Now()
	e.become(Down, "no connection")
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Watch probes every endpoint until ctx ends, and follows the policies' changes. A healthy endpoint is probed once in every, one that is
// not four times as often, both with jitter; a probe has every as its limit. It returns when its last probe has.
func (p *Pool) Watch(ctx context.Context, probe func(ctx context.Context, u *url.URL) error, every time.Duration) {
	var wg sync.WaitGroup
	defer wg.Wait()
	p.mu.Lock()
	p.watchers++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.watchers--
		p.mu.Unlock()
	}()
	watched := map[*endpoint]context.CancelFunc{}
	for {
		list, changed := p.watchable()
		for e, stop := range watched {
			if !list[e] {
				stop()
				delete(watched, e)
			}
		}
		for e := range list {
			if watched[e] == nil {
				own, stop := context.WithCancel(ctx)
				watched[e] = stop
				wg.Go(func() { p.watch(own, e, probe, every) })
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// watchable returns the endpoints to probe, and a channel that is closed when they change.
func (p *Pool) watchable() (map[*endpoint]bool, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[*endpoint]bool{}
	if !p.retired {
		for _, e := range p.list {
			out[e] = true
		}
	}
	return out, p.changed
}

// watch probes one endpoint until ctx ends.
func (p *Pool) watch(ctx context.Context, e *endpoint, probe func(context.Context, *url.URL) error, every time.Duration) {
	for {
		p.mu.Lock()
		began := e.failures
		p.mu.Unlock()
		limited, stop := context.WithTimeout(ctx, every)
		err := probe(limited, e.url)
		stop()
		if ctx.Err() != nil {
			return
		}
		wait := every
		if !p.probed(e, err, began) {
			wait /= sooner
		}
		if !sleep(ctx, e.wake, wait, every/sooner) {
			return
		}
	}
}

// sleep waits with jitter, a shorter time once woken. It reports false when ctx has ended.
func sleep(ctx context.Context, wake <-chan struct{}, wait, woken time.Duration) bool {
	t := time.NewTimer(jittered(wait))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
			return true
		case <-wake:
			if woken < wait {
				t.Reset(jittered(woken))
				wait = woken
			}
		}
	}
}

// jittered spreads probes over ±10 %, so that endpoints and gateways do not fall into step.
func jittered(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64()))
}

// probed books a probe's result, and reports whether the endpoint is well.
func (p *Pool) probed(e *endpoint, err error, began int) (well bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		e.misses = 0
		if e.failures != began {
			return false
		}
		e.become(Ready, "")
		return true
	}
	e.misses++
	switch {
	case errors.Is(err, ErrLoading):
		e.become(Loading, err.Error())
	case e.state != Ready || e.misses >= missesDown:
		e.become(Down, err.Error())
	default:
		e.reason = err.Error()
	}
	return false
}
