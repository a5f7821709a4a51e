package xds

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/policies"
)

// The types in the order in which a node gets them: what routes name exists before they do, and a listener, whose change cuts streams at the
// end of the drain time, changes only after everything else was accepted.
const (
	clusters = iota
	routes
	listeners
	kinds
)

var kindNames = [kinds]string{"clusters", "routes", "listeners"}

var typeURLs = [kinds]string{
	"type.googleapis.com/envoy.config.cluster.v3.Cluster",
	"type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
	"type.googleapis.com/envoy.config.listener.v3.Listener",
}

// entry is one published resource: its version is the hash of the bytes that are sent, so one version never stands for two contents.
type entry struct {
	version string
	packed  *anypb.Any
	invalid func() error // the message's own constraints; nil when it has none
	origin  policies.Position
}

// publication is one published generation.
type publication struct {
	generation int
	sets       [kinds]map[string]*entry
	used       bool // some node was served by it
	retired    bool // no exchange uses it any more
}

// node is one Envoy: what it has, what is on its way, what it refused. No I/O; the server's lock covers it.
type node struct {
	id, build, refused string
	outdated           bool
	connected          bool
	since              time.Time // of the last change of connected or accepted
	accepted           int       // newest generation whose every resource it acknowledged
	serving            int       // generation that its exchanges may use
	rejected           map[int]bool
	kinds              [kinds]subscription
	nonces             int
	stream             *stream // nil when not connected
}

// subscription is the state of one type on one stream.
type subscription struct {
	open, all, answered bool
	names               map[string]bool
	have                map[string]string // name -> acknowledged version; "" = unknown, must be sent or removed
	acked               string            // version of the set last acknowledged
	flight              *flight
	doubt               []string // of the stream before: perhaps applied although refused or not acknowledged
	stuck               bool     // refused what it had accepted before: nothing is sent until the next publication
	rejection           *Rejection
}

type flight struct {
	nonce, version string
	generation     int
	sent           map[string]*entry // nil = removed
}

// attach starts a new stream: subscriptions begin anew, what was refused stays known.
func (n *node) attach(s *stream, build string, now time.Time) {
	if n.build != build {
		n.build, n.rejected = build, map[int]bool{}
	}
	for k := range n.kinds {
		old := &n.kinds[k]
		fresh := subscription{rejection: old.rejection, doubt: old.doubt}
		for name, version := range old.have {
			if version == "" {
				fresh.doubt = append(fresh.doubt, name)
			}
		}
		if old.flight != nil {
			fresh.doubt = slices.AppendSeq(fresh.doubt, maps.Keys(old.flight.sent))
		}
		*old = fresh
	}
	n.stream, n.connected, n.since, n.nonces = s, true, now, 0
}

// receive takes one request: subscriptions, an acknowledgement or a refusal. It returns what was newly refused.
func (n *node) receive(r *discovery.DeltaDiscoveryRequest) (*Rejection, int) {
	k := slices.Index(typeURLs[:], r.TypeUrl)
	if k < 0 {
		return nil, k // secrets, endpoints and the like are never served here
	}
	s := &n.kinds[k]
	if !s.open {
		s.open, s.names, s.have, s.all = true, map[string]bool{}, map[string]string{}, len(r.ResourceNamesSubscribe) == 0
		if k == clusters && len(r.InitialResourceVersions) == 0 {
			n.accepted, n.serving, n.rejected = 0, 0, map[int]bool{} // a new process: it has nothing, and may have been mended
		}
	}
	s.subscribe(r)
	f := s.flight
	if f == nil || r.ResponseNonce != f.nonce {
		return nil, k
	}
	s.flight = nil
	if r.ErrorDetail == nil {
		s.acknowledge(f)
		return nil, k
	}
	for name := range f.sent {
		s.have[name] = "" // of a refused answer Envoy may have applied a part
	}
	if f.generation <= n.accepted {
		s.stuck = true
	} else {
		n.rejected[f.generation] = true
	}
	s.rejection = blame(f, r.ErrorDetail.Message)
	return s.rejection, k
}

func (s *subscription) subscribe(r *discovery.DeltaDiscoveryRequest) {
	for _, name := range r.ResourceNamesSubscribe {
		if name == "*" {
			s.all = true
			continue
		}
		s.names[name] = true
		s.have[name] = "" // asked for by name: answered again, or with its absence
	}
	for _, name := range r.ResourceNamesUnsubscribe {
		if name == "*" {
			s.all = false
			maps.DeleteFunc(s.have, func(name, _ string) bool { return !s.names[name] })
			continue
		}
		delete(s.names, name)
		if !s.all {
			delete(s.have, name)
		}
	}
	for name, version := range r.InitialResourceVersions {
		if s.all || s.names[name] {
			s.have[name] = version
		}
	}
	for _, name := range s.doubt {
		if s.all || s.names[name] {
			s.have[name] = ""
		}
	}
	s.doubt = nil
}

func (s *subscription) acknowledge(f *flight) {
	s.acked = f.version
	for name, e := range f.sent {
		if e == nil {
			delete(s.have, name)
		} else if s.all || s.names[name] {
			s.have[name] = e.version
		}
	}
}

// target is the publication that the node should follow: the newest one that it has not refused; nil = leave it as it is.
func (n *node) target(published []*publication) *publication {
	for _, p := range slices.Backward(published) {
		if !n.rejected[p.generation] {
			return p
		}
	}
	return nil
}

// want is the target's set; for clusters united with those of every older publication that may still have exchanges.
func (n *node) want(k int, target *publication, published []*publication) map[string]*entry {
	if k != clusters {
		return target.sets[k]
	}
	all := map[string]*entry{}
	for _, p := range published {
		if p.generation <= target.generation && !n.rejected[p.generation] {
			maps.Copy(all, p.sets[k])
		}
	}
	return all
}

// settled tells whether everything of a type is acknowledged and nothing is on its way.
func (n *node) settled(k int, target *publication) bool {
	s := &n.kinds[k]
	if s.flight != nil || s.stuck || !s.open && len(target.sets[k]) > 0 {
		return false
	}
	for name, e := range target.sets[k] {
		if s.have[name] != e.version {
			return false
		}
	}
	return true
}

// advance notes what the node has reached; it reports whether it newly follows a publication.
func (n *node) advance(published []*publication, now time.Time) bool {
	target := n.target(published)
	if target == nil || !n.settled(clusters, target) {
		return false
	}
	if n.serving == 0 {
		n.serving, target.used = target.generation, true // it has no older model, and traffic can begin before we see the last ACK
	}
	if n.accepted == target.generation || !n.settled(routes, target) || !n.settled(listeners, target) {
		return false
	}
	n.accepted, n.serving, n.since, target.used = target.generation, target.generation, now, true
	for k := range n.kinds {
		if r := n.kinds[k].rejection; r != nil && r.Generation <= target.generation {
			n.kinds[k].rejection = nil
		}
	}
	maps.DeleteFunc(n.rejected, func(g int, _ bool) bool { return g < target.generation })
	return true
}

// next is the answer to send now, or nil. One answer a type is on its way at a time, so whatever is published meanwhile coalesces; clusters
// come before what names them, and are removed only when nothing of the target is outstanding.
func (n *node) next(published []*publication) *discovery.DeltaDiscoveryResponse {
	target := n.target(published)
	if target == nil {
		return nil
	}
	for k := range n.kinds {
		s := &n.kinds[k]
		if !s.open {
			continue
		}
		if s.flight != nil || s.stuck {
			if k == clusters {
				return nil
			}
			continue
		}
		want := n.want(k, target, published)
		r := n.diff(k, target, want)
		if len(r.Resources)+len(r.RemovedResources) == 0 && (s.answered || !s.all) {
			continue
		}
		if k == listeners && n.kinds[routes].flight != nil && s.answered {
			return nil
		}
		s.answered = true
		n.nonces++
		r.TypeUrl, r.Nonce, r.SystemVersionInfo = typeURLs[k], strconv.Itoa(n.nonces), setVersion(want)
		s.flight = &flight{r.Nonce, r.SystemVersionInfo, target.generation, sentEntries(r, want)}
		return r
	}
	return nil
}

func (n *node) diff(k int, target *publication, want map[string]*entry) *discovery.DeltaDiscoveryResponse {
	s, r := &n.kinds[k], &discovery.DeltaDiscoveryResponse{}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if e := want[name]; (s.all || s.names[name]) && s.have[name] != e.version {
			r.Resources = append(r.Resources, &discovery.Resource{Name: name, Version: e.version, Resource: e.packed})
		}
	}
	if k == clusters && !(n.settled(clusters, target) && n.settled(routes, target) && n.settled(listeners, target)) {
		return r
	}
	for _, name := range slices.Sorted(maps.Keys(s.have)) {
		if want[name] == nil {
			r.RemovedResources = append(r.RemovedResources, name)
		}
	}
	return r
}

func sentEntries(r *discovery.DeltaDiscoveryResponse, want map[string]*entry) map[string]*entry {
	sent := make(map[string]*entry, len(r.Resources)+len(r.RemovedResources))
	for _, resource := range r.Resources {
		sent[resource.Name] = want[resource.Name]
	}
	for _, name := range r.RemovedResources {
		sent[name] = nil
	}
	return sent
}

func setVersion(set map[string]*entry) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(set)) {
		b.WriteString(name + "\x00" + set[name].version + "\n")
	}
	return digest([]byte(b.String()))
}

// blame finds the resource that a refusal is about: by the first name in the message, else the only one sent, else the only invalid one.
func blame(f *flight, message string) *Rejection {
	r := &Rejection{Message: envoy.Clean(message), Generation: f.generation}
	first := len(message)
	for name := range f.sent {
		if at := indexWord(message, name); at >= 0 && (at < first || at == first && len(name) > len(r.Resource)) {
			first, r.Resource = at, name
		}
	}
	if r.Resource == "" {
		for name, e := range f.sent {
			if len(f.sent) == 1 || e != nil && e.invalid != nil && e.invalid() != nil {
				r.Resource = name
			}
		}
	}
	if e := f.sent[r.Resource]; e != nil {
		r.Origin = e.origin
	}
	return r
}

// indexWord is strings.Index for a name that stands by itself: "in" is not in "listening".
func indexWord(text, name string) int {
	part := func(c byte) bool {
		return c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
	}
	for from := 0; ; {
		at := strings.Index(text[from:], name)
		if at < 0 || name == "" {
			return -1
		}
		at += from
		if end := at + len(name); (at == 0 || !part(text[at-1])) && (end == len(text) || !part(text[end])) {
			return at
		}
		from = at + 1
	}
}
