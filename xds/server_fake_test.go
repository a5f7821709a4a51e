package xds

import (
	"maps"
	"slices"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/policies"
)

// set writes resources as text: "a=1 b=2": names and contents. A content that begins with bad is what the fake Envoy refuses.
type set struct{ clusters, routes, listeners string }

func (s set) resources() *Resources {
	return &Resources{
		Clusters: list(s.clusters, func(name, body string) proto.Message { return &cluster.Cluster{Name: name, AltStatName: body} }),
		Routes: list(s.routes, func(name, body string) proto.Message {
			return &route.RouteConfiguration{Name: name, MostSpecificHeaderMutationsWins: true,
				InternalOnlyHeaders: []string{body}, ValidateClusters: wrapperspb.Bool(false)}
		}),
		Listeners: list(s.listeners, func(name, body string) proto.Message { return &listener.Listener{Name: name, StatPrefix: body} }),
	}
}

func list(text string, message func(name, body string) proto.Message) []Resource {
	var all []Resource
	for i, field := range strings.Fields(text) {
		name, body, _ := strings.Cut(field, "=")
		all = append(all, Resource{Name: name, Message: message(name, body), Origin: policies.Position{Line: 10 + i, Column: 3}})
	}
	return all
}

func body(m proto.Message) string {
	switch m := m.(type) {
	case *cluster.Cluster:
		return m.AltStatName
	case *route.RouteConfiguration:
		return m.InternalOnlyHeaders[0]
	case *listener.Listener:
		return m.StatPrefix
	}
	return ""
}

// envoy is a fake delta client that does with answers what Envoy does: it refuses an answer with a bad resource, keeps the versions it had,
// and (when partial) applies the good resources of the refused answer all the same. It asks for listeners once clusters came, and for routes
// once a listener did.
type fakeEnvoy struct {
	id       string
	patch    uint32
	partial  bool
	likes    bool                     // takes bad resources too
	applied  [kinds]map[string]string // name -> content
	versions [kinds]map[string]string // name -> version accepted
	open     [kinds]bool              // on this stream
	contents map[string]string        // type and version -> content, over all streams
	answers  [kinds]int               // received on this stream
	moved    int                      // resources received on this stream
	clash    string                   // one version for two contents
}

func newEnvoy(id string) *fakeEnvoy {
	e := &fakeEnvoy{id: id, patch: 2, contents: map[string]string{}}
	e.restart()
	return e
}

// restart loses everything, as a new process does.
func (e *fakeEnvoy) restart() {
	for k := range kinds {
		e.applied[k], e.versions[k] = map[string]string{}, map[string]string{}
	}
}

// hello begins a stream: the first request, of clusters.
func (e *fakeEnvoy) hello() *discovery.DeltaDiscoveryRequest {
	e.open, e.answers, e.moved = [kinds]bool{}, [kinds]int{}, 0
	r := e.ask(clusters)
	r.Node = e.node()
	return r
}

func (e *fakeEnvoy) node() *core.Node {
	return &core.Node{Id: e.id, UserAgentName: "envoy", UserAgentVersionType: &core.Node_UserAgentBuildVersion{
		UserAgentBuildVersion: &core.BuildVersion{Version: &typev3.SemanticVersion{MajorNumber: 1, MinorNumber: 40, Patch: e.patch}}}}
}

func (e *fakeEnvoy) ask(k int) *discovery.DeltaDiscoveryRequest {
	e.open[k] = true
	r := &discovery.DeltaDiscoveryRequest{TypeUrl: typeURLs[k], InitialResourceVersions: maps.Clone(e.versions[k])}
	if k == routes {
		r.ResourceNamesSubscribe = []string{"main"}
	}
	return r
}

// receive applies or refuses an answer and returns what Envoy sends then.
func (e *fakeEnvoy) receive(a *discovery.DeltaDiscoveryResponse) []*discovery.DeltaDiscoveryRequest {
	k := slices.Index(typeURLs[:], a.TypeUrl)
	e.answers[k]++
	e.moved += len(a.Resources)
	reply := &discovery.DeltaDiscoveryRequest{TypeUrl: a.TypeUrl, ResponseNonce: a.Nonce}
	for _, r := range a.Resources {
		if text, bad := e.content(k, r); bad && !e.likes {
			reply.ErrorDetail = &status.Status{Code: 13, Message: "Error adding/updating " + kindNames[k] + " " + r.Name + ": " + text + " is bad"}
		}
	}
	for _, r := range a.Resources {
		text, bad := e.content(k, r)
		if reply.ErrorDetail == nil || e.partial && !bad {
			e.applied[k][r.Name] = text
		}
		if reply.ErrorDetail == nil {
			e.versions[k][r.Name] = r.Version
		}
	}
	for _, name := range a.RemovedResources {
		if reply.ErrorDetail == nil {
			delete(e.applied[k], name)
			delete(e.versions[k], name)
		}
	}
	out := []*discovery.DeltaDiscoveryRequest{reply}
	if k == clusters && !e.open[listeners] {
		out = append(out, e.ask(listeners))
	}
	if !e.open[routes] && len(e.applied[listeners]) > 0 {
		out = append(out, e.ask(routes))
	}
	return out
}

func (e *fakeEnvoy) content(k int, r *discovery.Resource) (string, bool) {
	m, err := r.Resource.UnmarshalNew()
	if err != nil {
		panic(err)
	}
	text := body(m)
	key := kindNames[k] + r.Name + r.Version
	if before, ok := e.contents[key]; ok && before != text {
		e.clash = key
	}
	e.contents[key] = text
	return text, strings.HasPrefix(text, "bad")
}

// link drives a fake Envoy against the server without goroutines.
type link struct {
	s  *Server
	e  *fakeEnvoy
	n  *node
	st *stream
	in []*discovery.DeltaDiscoveryRequest // not yet read by the server
}

func connect(s *Server, e *fakeEnvoy) (*link, error) {
	l := &link{s: s, e: e, st: &stream{wake: make(chan struct{}, 1), end: func(error) {}}}
	l.in = []*discovery.DeltaDiscoveryRequest{e.hello()}
	n, err := s.join(e.node(), l.st)
	l.n = n
	return l, err
}

// turn gives the server one request (if any waits) and takes one answer (if any is due); false = nothing happened.
func (l *link) turn() bool {
	var r *discovery.DeltaDiscoveryRequest
	if len(l.in) > 0 {
		r, l.in = l.in[0], l.in[1:]
	}
	a := l.s.step(l.n, l.st, r)
	if a != nil {
		l.in = append(l.in, l.e.receive(a)...)
	}
	return r != nil || a != nil
}

// settle runs until nothing moves; it reports false when that takes more than 200 turns: a loop.
func (l *link) settle() bool {
	for range 200 {
		if !l.turn() {
			return true
		}
	}
	return false
}

func (e *fakeEnvoy) text() set {
	var out [kinds]string
	for k := range kinds {
		var fields []string
		for _, name := range slices.Sorted(maps.Keys(e.applied[k])) {
			fields = append(fields, name+"="+e.applied[k][name])
		}
		out[k] = strings.Join(fields, " ")
	}
	return set{out[clusters], out[routes], out[listeners]}
}
