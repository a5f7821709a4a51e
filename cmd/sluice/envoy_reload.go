package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/xds"
)

// serving is the policy by which an Envoy's requests are decided: the newest one whose resources it has acknowledged. nil = the one in force, for an
// Envoy that has nothing yet; then only the executor carries.
func (e *envoyPlane) serving(node string) *proxy.Snapshot {
	at := e.control.Generation(node)
	for _, r := range slices.Backward(*e.releases.Load()) {
		if r.generation <= at {
			return r.snapshot
		}
	}
	return nil
}

// cluster names the cluster by which an Envoy reaches a provider. Providers are those of one policy, so theirs is the release.
func (e *envoyPlane) cluster(node string, p *policies.Provider, limit time.Duration) (string, bool) {
	for _, r := range slices.Backward(*e.releases.Load()) {
		if r.snapshot.Policy.Providers[p.Name] == p {
			if r.generation > e.control.Generation(node) {
				return "", false
			}
			return r.resources.Cluster(p.Name, limit)
		}
	}
	return "", false
}

// replace brings a policy to every Envoy and puts it into force once they have it. One that an Envoy refuses changes nothing; it is not tried again
// until it changes or force says so. An Envoy that says nothing in time goes on by the old policy until it does.
func (e *envoyPlane) replace(ctx context.Context, p *policies.Policy, force bool) error {
	e.replacing.Lock()
	defer e.replacing.Unlock()
	if e.refused != nil && e.refused.version == p.Version && !force {
		return e.refused.err
	}
	r, err := xds.Build(p, e.params)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reloadAck)
	defer cancel()
	e.generation++
	generation := e.generation
	err = e.control.Publish(ctx, r, generation)
	if ps := e.rejections(p, generation); len(ps) > 0 {
		e.refused = &refusal{p.Version, ps}
		e.giveBack(generation)
		return ps
	}
	e.refused = nil
	followers := e.followers(generation)
	if err != nil && (followers == 0 || !errors.Is(err, context.DeadlineExceeded)) {
		e.giveBack(generation)
		return fmt.Errorf("the policy did not reach Envoy: %w", err)
	}
	if err != nil {
		e.log.Warn("some Envoys go on by the policy before until they acknowledge this one", "error", err)
	}
	snapshot := e.gateway.Swap(p)
	releases := append(slices.Clone(*e.releases.Load()), &release{generation: generation, snapshot: snapshot, resources: r})
	e.releases.Store(&releases)
	e.uncarried(r)
	return nil
}

// giveBack publishes the policy in force again, so that Envoys which took the other one return to it.
func (e *envoyPlane) giveBack(bad int) {
	if e.followers(bad) > 0 {
		releases := *e.releases.Load()
		current := releases[len(releases)-1]
		e.generation++
		current.republish = append(current.republish, e.generation)
		ctx, cancel := context.WithTimeout(context.Background(), reloadAck)
		defer cancel()
		if err := e.control.Publish(ctx, current.resources, e.generation); err != nil {
			e.log.Warn("some Envoys have not returned to the policy in force yet", "error", err)
		}
	}
	e.control.Retire(bad)
}

// followers counts the Envoys that have acknowledged a generation.
func (e *envoyPlane) followers(generation int) int {
	n := 0
	for _, s := range e.control.Status() {
		if s.Connected && s.Ready >= generation {
			n++
		}
	}
	return n
}

// rejections are what Envoys said of a generation, as problems of the policy.
func (e *envoyPlane) rejections(p *policies.Policy, generation int) policies.Problems {
	var ps policies.Problems
	for _, n := range e.control.Status() {
		for kind, t := range n.Types {
			if r := t.Rejected; r != nil && r.Generation == generation {
				ps = append(ps, policies.Problem{File: p.File, Line: r.Origin.Line, Column: r.Origin.Column,
					Message: fmt.Sprintf("Envoy %q refused %s %q: %s", n.ID, kind, r.Resource, r.Message)})
			}
		}
	}
	slices.SortFunc(ps, func(a, b policies.Problem) int { return a.Line - b.Line })
	return ps
}

// retire takes from Envoys what no exchange needs any more. Nothing is gone at once: a request may have been given its policy and not have begun.
func (e *envoyPlane) retire(ctx context.Context) {
	tick := time.NewTicker(retireEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		e.replacing.Lock()
		releases := *e.releases.Load()
		kept := slices.Clone(releases[len(releases)-1:])
		for _, r := range slices.Backward(releases[:len(releases)-1]) {
			if !e.gone(r) {
				kept = slices.Insert(kept, 0, r)
			}
		}
		if len(kept) < len(releases) {
			e.releases.Store(&kept)
		}
		e.replacing.Unlock()
	}
}

// gone takes a release from the Envoys if nothing was open twice in a row and none of them follows it.
func (e *envoyPlane) gone(r *release) bool {
	idle := r.snapshot.Live() == 0
	was := r.idle
	r.idle = idle
	if !idle || !was {
		return false
	}
	all := true
	for _, g := range append([]int{r.generation}, r.republish...) {
		all = e.control.Retire(g) && all
	}
	return all
}
