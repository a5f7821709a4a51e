package xds

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/policies"
)

// ErrSuperseded is Publish's answer when a newer generation was published before every node followed this one.
var ErrSuperseded = errors.New("superseded by a newer generation")

// Rejection is what an Envoy said of an update that it did not take.
type Rejection struct {
	Message    string            `json:"message"`  // Envoy's error_detail, at most 2 KiB
	Resource   string            `json:"resource"` // "" when Envoy names none and several were sent
	Origin     policies.Position `json:"origin"`
	Generation int               `json:"generation"`
}

// NodeStatus is one Envoy as the control plane sees it.
type NodeStatus struct {
	ID         string                `json:"id"`
	Version    string                `json:"version"` // Envoy's release
	Outdated   bool                  `json:"outdated,omitempty"`
	Refused    string                `json:"refused,omitempty"` // why this Envoy gets no configuration
	Connected  bool                  `json:"connected"`
	Since      time.Time             `json:"since"`      // of the last change of Connected or Ready
	Ready      int                   `json:"ready"`      // newest generation acknowledged in every type
	Generation int                   `json:"generation"` // the generation that serves its exchanges
	Types      map[string]TypeStatus `json:"types"`      // clusters, routes, listeners
}

// TypeStatus is one resource type on one Envoy.
type TypeStatus struct {
	Acked    string     `json:"acked"`   // version of the set last acknowledged; "" = none on this stream
	Pending  bool       `json:"pending"` // an answer is on its way
	Rejected *Rejection `json:"rejected,omitempty"`
}

// Publish makes r the newest generation and waits until every connected Envoy has acknowledged all of it or refused some of it. It returns
// the refusals, ErrSuperseded, or ctx's error with the names of the Envoys that are still behind: these follow later by themselves.
// Generations must grow. Clusters of older generations stay until Retire.
func (s *Server) Publish(ctx context.Context, r *Resources, generation int) error {
	p, err := compile(r, generation)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if len(s.published) > 0 && s.published[len(s.published)-1].generation >= generation {
		s.mu.Unlock()
		return fmt.Errorf("generation %d is not newer than the last one published", generation)
	}
	s.published = append(s.published, p)
	for _, n := range s.nodes {
		for k := range n.kinds {
			n.kinds[k].stuck = false
		}
		n.advance(s.published, time.Now()) // equal content is followed at once
	}
	s.prune()
	for {
		done, err := s.followed(generation)
		changed := s.changed
		s.mu.Unlock()
		if done {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
		s.mu.Lock()
	}
}

// followed tells whether no connected node has anything left to say about a generation; the error names refusals and who is behind.
func (s *Server) followed(generation int) (bool, error) {
	if s.published[len(s.published)-1].generation > generation {
		return true, ErrSuperseded
	}
	var errs []error
	done := true
	for _, n := range s.sorted() {
		switch {
		case !n.connected || n.accepted == generation:
		case n.rejected[generation]:
			for k, sub := range n.kinds {
				if r := sub.rejection; r != nil && r.Generation == generation {
					errs = append(errs, fmt.Errorf("envoy %s refused %s %q (policy line %d): %s", n.id, kindNames[k], r.Resource, r.Origin.Line, r.Message))
				}
			}
		default:
			done = false
			errs = append(errs, fmt.Errorf("envoy %s has not acknowledged generation %d", n.id, generation))
		}
	}
	return done, errors.Join(errs...)
}

func compile(r *Resources, generation int) (*publication, error) {
	if len(r.Listeners) == 0 || generation <= 0 {
		return nil, fmt.Errorf("generation %d with %d listeners: an Envoy without a listener answers nobody", generation, len(r.Listeners))
	}
	p := &publication{generation: generation}
	for k, list := range [kinds][]Resource{clusters: r.Clusters, routes: r.Routes, listeners: r.Listeners} {
		p.sets[k] = make(map[string]*entry, len(list))
		for _, resource := range list {
			e := &entry{origin: resource.Origin}
			if v, ok := resource.Message.(interface{ ValidateAll() error }); ok {
				e.invalid = v.ValidateAll
				if err := v.ValidateAll(); err != nil {
					return nil, fmt.Errorf("%s %q (policy line %d): %w", kindNames[k], resource.Name, resource.Origin.Line, err)
				}
			}
			packed, err := pack(resource.Message)
			if err != nil {
				return nil, fmt.Errorf("%s %q: %w", kindNames[k], resource.Name, err)
			}
			if packed.TypeUrl != typeURLs[k] || p.sets[k][resource.Name] != nil {
				return nil, fmt.Errorf("%s %q: named twice, or a %s", kindNames[k], resource.Name, packed.TypeUrl)
			}
			e.packed, e.version = packed, digest(packed.Value)
			p.sets[k][resource.Name] = e
		}
	}
	return p, nil
}

// Retire says that no exchange uses a generation any more, and reports whether it is gone. It stays while it is the newest, the last one
// that any Envoy accepted, or serves an Envoy: then new exchanges may still begin on it, so ask again later.
func (s *Server) Retire(generation int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.published {
		if p.generation == generation {
			p.retired = true
		}
	}
	s.prune()
	return !slices.ContainsFunc(s.published, func(p *publication) bool { return p.generation == generation })
}

// prune drops publications that nothing needs and nodes long gone, and wakes every stream; the caller holds the lock.
func (s *Server) prune() {
	held := map[int]bool{}
	for id, n := range s.nodes {
		if !n.connected && time.Since(n.since) > s.o.Forget {
			delete(s.nodes, id)
			continue
		}
		held[n.accepted], held[n.serving] = true, true
	}
	if len(s.published) > 0 {
		held[s.published[len(s.published)-1].generation] = true
	}
	for _, p := range slices.Backward(s.published) {
		if p.used {
			held[p.generation] = true // what a new Envoy falls back to when it refuses the newest
			break
		}
	}
	s.published = slices.DeleteFunc(s.published, func(p *publication) bool { return !held[p.generation] && (p.retired || !p.used) })
	s.notify()
	for _, n := range s.nodes {
		if n.stream != nil {
			n.stream.poke()
		}
	}
}

// Generation is the generation that may serve a node's exchanges; 0 = the node is not known or has acknowledged nothing, and only clusters
// of every generation (the executor) may be named to it.
func (s *Server) Generation(node string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.nodes[node]; n != nil {
		return n.serving
	}
	return 0
}

// Ready is the newest generation that a node acknowledged in every type; 0 = none.
func (s *Server) Ready(node string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.nodes[node]; n != nil {
		return n.accepted
	}
	return 0
}

// Status lists every Envoy that is connected or was lately, by id.
func (s *Server) Status() []NodeStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]NodeStatus, 0, len(s.nodes))
	for _, n := range s.sorted() {
		st := NodeStatus{
			ID: n.id, Version: n.build, Outdated: n.outdated, Refused: n.refused, Connected: n.connected, Since: n.since,
			Ready: n.accepted, Generation: n.serving, Types: map[string]TypeStatus{},
		}
		for k, sub := range n.kinds {
			st.Types[kindNames[k]] = TypeStatus{Acked: sub.acked, Pending: sub.flight != nil, Rejected: sub.rejection}
		}
		list = append(list, st)
	}
	return list
}

func (s *Server) sorted() []*node {
	return slices.SortedFunc(maps.Values(s.nodes), func(a, b *node) int { return cmp.Compare(a.id, b.id) })
}
