package xds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"
)

func quiet(o Options) *Server {
	o.Logger = slog.New(slog.DiscardHandler)
	return NewServer(o)
}

// put publishes without waiting for anybody.
func put(t interface{ Fatal(...any) }, s *Server, generation int, what set) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Publish(ctx, what.resources(), generation); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func mustConnect(t *testing.T, s *Server, e *fakeEnvoy) *link {
	t.Helper()
	l, err := connect(s, e)
	if err != nil {
		t.Fatal(err)
	}
	if !l.settle() {
		t.Fatal("does not come to rest")
	}
	return l
}

var (
	one = set{"exec=1 old=1", "main=1", "in=1"}
	two = set{"exec=1 new=2", "main=2", "in=2"}
)

func TestFirstConnection(t *testing.T) {
	s, e := quiet(Options{}), newEnvoy("a")
	l, err := connect(s, e)
	if err != nil {
		t.Fatal(err)
	}
	if l.settle(); e.answers != [kinds]int{} {
		t.Fatalf("answers before the first publication: %v", e.answers)
	}
	put(t, s, 1, one)
	l.turn() // clusters are sent
	if g := s.Generation("a"); g != 0 {
		t.Errorf("serves generation %d before clusters are acknowledged", g)
	}
	l.turn()
	if g, r := s.Generation("a"), s.Ready("a"); g != 1 || r != 0 {
		t.Errorf("generation %d, ready %d once clusters are acknowledged, want 1 and 0", g, r)
	}
	l.settle()
	if got := e.text(); got != one {
		t.Errorf("applied %+v, want %+v", got, one)
	}
	if r := s.Ready("a"); r != 1 {
		t.Errorf("ready %d, want 1", r)
	}
	if e.answers != [kinds]int{1, 1, 1} {
		t.Errorf("answers %v, want one a type", e.answers)
	}
}

func TestUnionUntilRetired(t *testing.T) {
	s, e := quiet(Options{}), newEnvoy("a")
	put(t, s, 1, one)
	l := mustConnect(t, s, e)
	put(t, s, 2, two)
	if s.Retire(1) {
		t.Error("generation 1 went while it serves a node")
	}
	for s.Ready("a") != 2 {
		if g := s.Generation("a"); g != 1 {
			t.Fatalf("served by %d before everything was acknowledged", g)
		}
		if !l.turn() {
			t.Fatal("comes to rest before generation 2")
		}
	}
	l.settle()
	if got, want := e.text(), (set{"exec=1 new=2", "main=2", "in=2"}); got != want {
		t.Errorf("after Retire(1) and the switch: %+v", got)
	}
	put(t, s, 3, set{"exec=1 third=3", "main=3", "in=2"})
	l.settle()
	if got := e.text().clusters; got != "exec=1 new=2 third=3" {
		t.Errorf("clusters %q: those of a generation with exchanges must stay", got)
	}
	if !s.Retire(2) {
		t.Error("generation 2 stays although nobody uses it")
	}
	l.settle()
	if got := e.text().clusters; got != "exec=1 third=3" {
		t.Errorf("clusters %q after Retire(2)", got)
	}
	if s.Retire(3) {
		t.Error("the newest generation went")
	}
}

func TestOrder(t *testing.T) {
	s, e := quiet(Options{}), newEnvoy("a")
	put(t, s, 1, one)
	l := mustConnect(t, s, e)
	put(t, s, 2, two)
	var order []string
	for l.s.Ready("a") != 2 {
		before := e.answers
		l.turn()
		for k := range kinds {
			if e.answers[k] > before[k] {
				order = append(order, kindNames[k])
			}
		}
	}
	if want := []string{"clusters", "routes", "listeners"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

func TestRefusal(t *testing.T) {
	tests := []struct {
		name    string
		bad     set
		kind    string
		line    int
		partial bool
	}{
		{"cluster", set{"exec=1 new=2 worse=bad", "main=2", "in=2"}, "clusters", 12, false},
		{"cluster, rest applied", set{"exec=9 new=2 worse=bad", "main=2", "in=2"}, "clusters", 12, true},
		{"cluster changed", set{"exec=bad new=2", "main=2", "in=2"}, "clusters", 10, false},
		{"route", set{"exec=1 new=2", "main=bad", "in=2"}, "routes", 10, false},
		{"listener", set{"exec=1 new=2", "main=2", "in=bad"}, "listeners", 10, false},
		{"listener, rest applied", set{"exec=1 new=2", "main=2", "a=1 in=bad z=1"}, "listeners", 11, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var called []string
			s := quiet(Options{Rejected: func(node, kind string, r Rejection) {
				called = append(called, fmt.Sprint(node, " ", kind, " ", r.Origin.Line))
			}})
			e := newEnvoy("a")
			e.partial = test.partial
			put(t, s, 1, one)
			l := mustConnect(t, s, e)
			put(t, s, 2, test.bad)
			if !l.settle() {
				t.Fatal("loop")
			}
			if got := e.text(); got != one {
				t.Errorf("has %+v, want the last accepted %+v", got, one)
			}
			if g, r := s.Generation("a"), s.Ready("a"); g != 1 || r != 1 {
				t.Errorf("generation %d, ready %d, want 1", g, r)
			}
			r := s.Status()[0].Types[test.kind].Rejected
			if r == nil || r.Origin.Line != test.line || r.Generation != 2 || !strings.Contains(r.Message, "is bad") {
				t.Fatalf("status: %+v", r)
			}
			if want := []string{fmt.Sprint("a ", test.kind, " ", test.line)}; !slices.Equal(called, want) {
				t.Errorf("callback %v, want %v", called, want)
			}
			if err := s.Publish(context.Background(), one.resources(), 2); err == nil {
				t.Error("a generation was published twice")
			}
			put(t, s, 3, two)
			s.Retire(1)
			l.settle()
			if got := e.text(); got != two || s.Ready("a") != 3 {
				t.Errorf("after a good one: %+v, ready %d", got, s.Ready("a"))
			}
			if r := s.Status()[0].Types[test.kind].Rejected; r != nil {
				t.Errorf("old refusal still shown: %+v", r)
			}
		})
	}
}

func TestTwoNodesOneRefuses(t *testing.T) {
	s, a, b := quiet(Options{}), newEnvoy("a"), newEnvoy("b")
	b.likes = true
	put(t, s, 1, one)
	la, lb := mustConnect(t, s, a), mustConnect(t, s, b)
	put(t, s, 2, set{"exec=1 new=2", "main=bad", "in=1"})
	la.settle()
	lb.settle()
	if ga, gb := s.Generation("a"), s.Generation("b"); ga != 1 || gb != 2 {
		t.Errorf("generations %d and %d, want 1 and 2", ga, gb)
	}
	if s.Retire(1) {
		t.Error("generation 1 went while it serves a")
	}
	if !strings.Contains(a.text().clusters, "old=1") || a.text().routes != "main=1" || b.text().routes != "main=bad" {
		t.Errorf("a %+v, b %+v", a.text(), b.text())
	}
	put(t, s, 3, two)
	la.settle()
	lb.settle()
	if !s.Retire(1) || !s.Retire(2) {
		t.Error("old generations stay although both follow the newest")
	}
}

func TestFreshEnvoyFallsBack(t *testing.T) {
	s, a, b := quiet(Options{}), newEnvoy("a"), newEnvoy("b")
	put(t, s, 1, one)
	mustConnect(t, s, a).settle()
	put(t, s, 2, set{"exec=1 new=2", "main=2", "in=bad"})
	mustConnect(t, s, b)
	if got := b.text(); got != one || s.Generation("b") != 1 {
		t.Errorf("a new Envoy that refuses the newest has %+v, generation %d", got, s.Generation("b"))
	}
}

func TestCoalescing(t *testing.T) {
	s, e := quiet(Options{}), newEnvoy("a")
	put(t, s, 1, one)
	l := mustConnect(t, s, e)
	before := e.answers
	for g := 2; g <= 40; g++ {
		put(t, s, g, set{fmt.Sprintf("exec=1 c%d=1", g), fmt.Sprintf("main=%d", g), "in=1"})
		if g == 2 {
			l.turn() // one answer is on its way when the others come
		}
	}
	l.settle()
	if s.Ready("a") != 40 || e.text().routes != "main=40" {
		t.Fatalf("ready %d, %+v", s.Ready("a"), e.text())
	}
	if n := e.answers[clusters] - before[clusters]; n > 3 {
		t.Errorf("%d cluster answers for 39 publications", n)
	}
	if n := e.answers[routes] - before[routes]; n != 1 {
		t.Errorf("%d route answers for 39 publications", n)
	}
	if len(s.published) > 2 {
		t.Errorf("%d publications kept", len(s.published))
	}
}

func TestReconnect(t *testing.T) {
	s, e := quiet(Options{}), newEnvoy("a")
	put(t, s, 1, one)
	l := mustConnect(t, s, e)
	s.leave(l.n, l.st)
	if s.Generation("a") != 1 {
		t.Error("a short disconnection takes the generation away")
	}
	t.Run("same control plane", func(t *testing.T) {
		mustConnect(t, s, e)
		if e.moved != 0 || s.Ready("a") != 1 {
			t.Errorf("%d resources sent again, ready %d", e.moved, s.Ready("a"))
		}
	})
	t.Run("restarted, same policy", func(t *testing.T) {
		s := quiet(Options{})
		put(t, s, 1, one)
		mustConnect(t, s, e)
		if e.moved != 0 || s.Ready("a") != 1 {
			t.Errorf("%d resources sent again, ready %d", e.moved, s.Ready("a"))
		}
	})
	t.Run("restarted before it has a policy", func(t *testing.T) {
		s := quiet(Options{})
		mustConnect(t, s, e)
		if e.text() != one {
			t.Errorf("an empty control plane changed %+v", e.text())
		}
	})
	t.Run("restarted with a bad policy", func(t *testing.T) {
		s := quiet(Options{})
		put(t, s, 1, set{"exec=bad new=2", "main=2", "in=2"})
		mustConnect(t, s, e)
		if e.text() != one || s.Generation("a") != 0 {
			t.Errorf("has %+v, generation %d", e.text(), s.Generation("a"))
		}
	})
	t.Run("restarted with another policy", func(t *testing.T) {
		s := quiet(Options{})
		put(t, s, 1, two)
		mustConnect(t, s, e)
		if e.text() != two || s.Ready("a") != 1 {
			t.Errorf("has %+v, ready %d", e.text(), s.Ready("a"))
		}
	})
	t.Run("new process", func(t *testing.T) {
		e.restart()
		mustConnect(t, s, e)
		if e.text() != one || s.Ready("a") != 1 {
			t.Errorf("has %+v, ready %d", e.text(), s.Ready("a"))
		}
	})
}

func TestRefusedThenDisconnected(t *testing.T) {
	s, e := quiet(Options{}), newEnvoy("a")
	e.partial = true
	put(t, s, 1, set{"exec=1", "main=1", "in=1 side=1"})
	l := mustConnect(t, s, e)
	put(t, s, 2, set{"exec=1", "main=1", "in=bad side=2"})
	l.turn() // applied in part, refused, and the stream breaks
	if e.applied[listeners]["side"] != "2" {
		t.Fatalf("the fake applied %+v", e.text())
	}
	s.leave(l.n, l.st)
	put(t, s, 3, set{"exec=1", "main=1", "in=1 side=1"})
	mustConnect(t, s, e)
	if got := e.text().listeners; got != "in=1 side=1" {
		t.Errorf("listeners %q: what was applied in part must be put back", got)
	}
}

func TestSubscriptions(t *testing.T) {
	s, e := quiet(Options{}), newEnvoy("a")
	put(t, s, 1, one)
	l := mustConnect(t, s, e)
	ask := func(r *discovery.DeltaDiscoveryRequest) *discovery.DeltaDiscoveryResponse {
		return s.step(l.n, l.st, r)
	}
	ack := func(a *discovery.DeltaDiscoveryResponse) {
		ask(&discovery.DeltaDiscoveryRequest{TypeUrl: a.TypeUrl, ResponseNonce: a.Nonce})
	}
	a := ask(&discovery.DeltaDiscoveryRequest{TypeUrl: typeURLs[routes], ResourceNamesSubscribe: []string{"absent"}})
	if a == nil || !slices.Equal(a.RemovedResources, []string{"absent"}) {
		t.Fatalf("an absent route: %v", a)
	}
	ack(a)
	a = ask(&discovery.DeltaDiscoveryRequest{TypeUrl: typeURLs[routes], ResourceNamesSubscribe: []string{"main"}})
	if a == nil || len(a.Resources) != 1 {
		t.Fatalf("asked again by name: %v", a)
	}
	ack(a)
	if a = ask(&discovery.DeltaDiscoveryRequest{TypeUrl: typeURLs[routes], ResourceNamesUnsubscribe: []string{"main", "absent"}}); a != nil {
		t.Errorf("unsubscribing is answered: %v", a)
	}
	put(t, s, 2, set{"exec=1 old=1", "main=2", "in=1"})
	if a = ask(nil); a != nil {
		t.Errorf("a route nobody asks for is sent: %v", a)
	}
	for _, odd := range []*discovery.DeltaDiscoveryRequest{
		{TypeUrl: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", ResourceNamesSubscribe: []string{"x"}},
		{TypeUrl: typeURLs[clusters], ResponseNonce: "999"},
		{},
	} {
		if a := ask(odd); a != nil {
			t.Errorf("%v is answered: %v", odd, a)
		}
	}
}

func TestVersions(t *testing.T) {
	s := quiet(Options{})
	put(t, s, 1, one)
	old := newEnvoy("old")
	who := old.node()
	who.GetUserAgentBuildVersion().Version.MinorNumber = 39
	_, err := s.join(who, &stream{wake: make(chan struct{}, 1)})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "1.39.2") || !strings.Contains(err.Error(), "1.40.0") {
		t.Errorf("an old Envoy: %v", err)
	}
	who.UserAgentVersionType = nil
	if _, err := s.join(who, &stream{wake: make(chan struct{}, 1)}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("an Envoy without version: %v", err)
	}
	who.Id = ""
	if _, err := s.join(who, &stream{wake: make(chan struct{}, 1)}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a node without id: %v", err)
	}
	first := newEnvoy("first")
	first.patch = 0
	mustConnect(t, s, first)
	mustConnect(t, s, newEnvoy("second"))
	var seen []string
	for _, st := range s.Status() {
		seen = append(seen, fmt.Sprint(st.ID, " ", st.Version, " ", st.Outdated, " ", st.Connected, " ", st.Refused != ""))
	}
	want := []string{"first 1.40.0 true true false", "old 0.0.0 false false true", "second 1.40.2 false true false"}
	if !slices.Equal(seen, want) {
		t.Errorf("status\n%v, want\n%v", seen, want)
	}
}

func TestPublishRefuses(t *testing.T) {
	s := quiet(Options{})
	for name, r := range map[string]*Resources{
		"no listener": set{"exec=1", "main=1", ""}.resources(),
		"twice":       set{"exec=1 exec=2", "main=1", "in=1"}.resources(),
		"invalid":     set{"exec=1 =1", "main=1", "in=1"}.resources(),
		"other type":  {Listeners: set{"exec=1", "", ""}.resources().Clusters},
	} {
		if err := s.Publish(context.Background(), r, 1); err == nil {
			t.Errorf("%s: published", name)
		}
	}
	if err := s.Publish(context.Background(), one.resources(), 0); err == nil {
		t.Error("generation 0 was published")
	}
}

// fakeStream is a server stream without a network.
type fakeStream struct {
	discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	ctx context.Context
	in  chan *discovery.DeltaDiscoveryRequest
	out chan *discovery.DeltaDiscoveryResponse
}

func (f *fakeStream) Context() context.Context { return f.ctx }

func (f *fakeStream) Send(a *discovery.DeltaDiscoveryResponse) error {
	select {
	case f.out <- a:
		return nil
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}

func (f *fakeStream) Recv() (*discovery.DeltaDiscoveryRequest, error) {
	select {
	case r := <-f.in:
		return r, nil
	case <-f.ctx.Done():
		return nil, f.ctx.Err()
	}
}

// live runs a fake Envoy over the real stream handler until ctx ends; ended gets the handler's answer. It answers after delay.
func live(ctx context.Context, s *Server, e *fakeEnvoy, delay time.Duration) (ended chan error) {
	ended = make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	f := &fakeStream{ctx: ctx, in: make(chan *discovery.DeltaDiscoveryRequest, 8), out: make(chan *discovery.DeltaDiscoveryResponse)}
	f.in <- e.hello()
	go func() {
		ended <- s.DeltaAggregatedResources(f)
		cancel()
	}()
	go func() {
		for {
			select {
			case a := <-f.out:
				select {
				case <-time.After(delay):
				case <-ctx.Done():
					return
				}
				for _, r := range e.receive(a) {
					f.in <- r
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return ended
}

func TestPublishWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s, fast, slow := quiet(Options{}), newEnvoy("fast"), newEnvoy("slow")
		if err := s.Publish(ctx, one.resources(), 1); err != nil {
			t.Fatalf("nobody to wait for: %v", err)
		}
		live(ctx, s, fast, 0)
		live(ctx, s, slow, 3*time.Second)
		time.Sleep(time.Minute)
		short, stop := context.WithTimeout(ctx, 2*time.Second)
		defer stop()
		err := s.Publish(short, two.resources(), 2)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "slow") || strings.Contains(err.Error(), "fast") {
			t.Errorf("after 2 s: %v", err)
		}
		if s.Generation("fast") != 2 || s.Generation("slow") != 1 {
			t.Errorf("generations %d and %d", s.Generation("fast"), s.Generation("slow"))
		}
		began := time.Now()
		if err := s.Publish(ctx, one.resources(), 3); err != nil || time.Since(began) > time.Minute {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		superseded := make(chan error, 1)
		go func() { superseded <- s.Publish(ctx, two.resources(), 4) }()
		synctest.Wait()
		err = s.Publish(ctx, set{"exec=1 old=1", "main=bad", "in=1"}.resources(), 5)
		if err == nil || !strings.Contains(err.Error(), `envoy fast refused routes "main" (policy line 10)`) || !strings.Contains(err.Error(), "slow") {
			t.Errorf("refused: %v", err)
		}
		if err := <-superseded; !errors.Is(err, ErrSuperseded) {
			t.Errorf("an overtaken publication: %v", err)
		}
		cancel()
		synctest.Wait()
	})
}

func TestSameIDTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := quiet(Options{Forget: time.Hour})
		put(t, s, 1, one)
		older := live(ctx, s, newEnvoy("a"), 0)
		synctest.Wait()
		newer := live(ctx, s, newEnvoy("a"), 0)
		if err := <-older; status.Code(err) != codes.Aborted {
			t.Errorf("older stream: %v", err)
		}
		synctest.Wait()
		if st := s.Status(); !st[0].Connected || st[0].Ready != 1 {
			t.Errorf("status %+v", st)
		}
		s.hangUp()
		if err := <-newer; status.Code(err) != codes.Unavailable {
			t.Errorf("at the end: %v", err)
		}
		time.Sleep(59 * time.Minute)
		if s.Retire(1); len(s.Status()) != 1 {
			t.Error("forgotten too early")
		}
		time.Sleep(2 * time.Minute)
		if s.Retire(1); len(s.Status()) != 0 {
			t.Error("a node gone for an hour is remembered")
		}
		cancel()
		synctest.Wait()
	})
}

// TestStateMachine drives two Envoys by random publications, answers, refusals, reconnections, restarts and retirements.
func TestStateMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := quiet(Options{})
		names := []string{"a", "b"}
		envoys, links := map[string]*fakeEnvoy{}, map[string]*link{}
		for _, id := range names {
			envoys[id] = newEnvoy(id)
			envoys[id].partial = rapid.Bool().Draw(t, "partial")
		}
		history := map[int]set{}
		generation := 0
		publish := func(t *rapid.T) {
			generation++
			content := func(label string) string {
				return rapid.SampledFrom([]string{"1", "2", "3", "4", "bad1"}).Draw(t, label)
			}
			next := set{"exec=" + content("exec"), "main=" + content("route"), "in=" + content("listener")}
			for i := range rapid.IntRange(0, 3).Draw(t, "clusters") {
				c := content("cluster")
				next.clusters += fmt.Sprintf(" c%d-%s=%s", i, c, c)
			}
			if rapid.Bool().Draw(t, "side") {
				next.listeners += " side=" + content("side listener")
			}
			history[generation] = next
			put(t, s, generation, next)
		}
		pick := func(t *rapid.T) string { return rapid.SampledFrom(names).Draw(t, "node") }
		begin := func(t *rapid.T, id string) {
			if l := links[id]; l != nil && rapid.Bool().Draw(t, "seen") {
				s.leave(l.n, l.st) // otherwise the new stream comes first
			}
			l, err := connect(s, envoys[id])
			if err != nil {
				t.Fatal(err)
			}
			links[id] = l
		}
		t.Repeat(map[string]func(*rapid.T){
			"publish":   publish,
			"reconnect": func(t *rapid.T) { begin(t, pick(t)) },
			"restart": func(t *rapid.T) {
				id := pick(t)
				envoys[id].restart()
				begin(t, id)
			},
			"turns": func(t *rapid.T) {
				if l := links[pick(t)]; l != nil {
					for range rapid.IntRange(1, 6).Draw(t, "n") {
						l.turn()
					}
				}
			},
			"retire": func(t *rapid.T) { s.Retire(rapid.IntRange(0, generation).Draw(t, "generation")) },
			"": func(t *rapid.T) {
				for id, e := range envoys {
					if e.clash != "" {
						t.Fatalf("one version for two contents: %s", e.clash)
					}
					g := s.Generation(id)
					if l := links[id]; g == 0 || l == nil || l.n.stream != l.st || !l.n.kinds[clusters].open {
						continue
					}
					for _, r := range history[g].resources().Clusters {
						if _, ok := e.applied[clusters][r.Name]; !ok {
							t.Fatalf("%s is served by generation %d but has no cluster %s: %+v", id, g, r.Name, e.text())
						}
					}
				}
			},
		})
		for id, l := range links {
			e := envoys[id]
			had := len(e.applied[listeners]) > 0
			if !l.settle() {
				t.Fatalf("%s never comes to rest", id)
			}
			if had && len(e.applied[listeners]) == 0 {
				t.Fatalf("%s lost its listeners", id)
			}
			if generation > 0 && !strings.Contains(fmt.Sprint(history[generation]), "bad") && s.Ready(id) != generation {
				t.Fatalf("%s is at %d of %d: %+v", id, s.Ready(id), generation, s.Status())
			}
			if g := s.Ready(id); g > 0 {
				if !contains(e.applied, history[g]) || e.text().listeners != sorted(history[g].listeners) || e.text().routes != history[g].routes {
					t.Fatalf("%s should have generation %d %+v, has %+v", id, g, history[g], e.text())
				}
			}
		}
	})
}

func sorted(fields string) string {
	list := strings.Fields(fields)
	slices.Sort(list)
	return strings.Join(list, " ")
}

func contains(applied [kinds]map[string]string, want set) bool {
	for _, field := range strings.Fields(want.clusters) {
		name, body, _ := strings.Cut(field, "=")
		if applied[clusters][name] != body {
			return false
		}
	}
	return true
}

func TestDrawnOrder(t *testing.T) {
	// The version of a set does not depend on the order in which a map is read.
	r := two.resources()
	p, err := compile(r, 1)
	if err != nil {
		t.Fatal(err)
	}
	rand.Shuffle(len(r.Clusters), func(i, j int) { r.Clusters[i], r.Clusters[j] = r.Clusters[j], r.Clusters[i] })
	q, err := compile(r, 2)
	if err != nil {
		t.Fatal(err)
	}
	if setVersion(p.sets[clusters]) != setVersion(maps.Clone(q.sets[clusters])) {
		t.Error("two versions for one content")
	}
}

func TestOvertakenOnTheWay(t *testing.T) {
	s, e := quiet(Options{}), newEnvoy("a")
	put(t, s, 1, one)
	l := mustConnect(t, s, e)
	put(t, s, 2, set{"exec=1 old=1", "main=2", "in=1"})
	l.turn() // main=2 is on its way
	put(t, s, 3, one)
	if r := s.Ready("a"); r != 1 {
		t.Errorf("ready for %d while main=2 is on its way", r)
	}
	l.settle()
	if e.text() != one || s.Ready("a") != 3 {
		t.Errorf("has %+v, ready %d", e.text(), s.Ready("a"))
	}
}

func TestBlame(t *testing.T) {
	p, err := compile(set{"in=1 pool=1 pool-2=1", "main=1", "in=1"}.resources(), 1)
	if err != nil {
		t.Fatal(err)
	}
	sent := p.sets[clusters]
	failing := maps.Clone(sent)
	failing["pool"] = &entry{origin: sent["pool"].origin, invalid: func() error { return errors.New("no") }}
	for _, test := range []struct {
		name, message, want string
		sent                map[string]*entry
	}{
		{"by name", "cluster pool: bad", "pool", sent},
		{"longer name", "cluster pool-2: bad", "pool-2", sent},
		{"first of two", "Error adding/updating cluster(s) pool-2: x, pool: y", "pool-2", sent},
		{"part of a word", "listening to a spool", "", sent},
		{"at the ends", "pool", "pool", sent},
		{"after a part of a word", "spool of pool", "pool", sent},
		{"the only one", "missing ]", "main", p.sets[routes]},
		{"the only invalid one", "Proto constraint validation failed", "pool", failing},
		{"a removed one", "cannot remove gone", "gone", map[string]*entry{"gone": nil, "pool": sent["pool"]}},
	} {
		r := blame(&flight{generation: 1, sent: test.sent}, test.message)
		if r.Resource != test.want || test.want != "" && test.want != "gone" && r.Origin.Line == 0 {
			t.Errorf("%s: %+v, want %q", test.name, r, test.want)
		}
	}
	if r := blame(&flight{}, strings.Repeat("é\n", 4000)); len(r.Message) > 4096 || strings.Contains(r.Message, "\n") {
		t.Errorf("a message of %d bytes", len(r.Message))
	}
}

func TestLeavingTheWildcard(t *testing.T) {
	s, e := quiet(Options{}), newEnvoy("a")
	put(t, s, 1, one)
	l := mustConnect(t, s, e)
	ask := func(r *discovery.DeltaDiscoveryRequest) { l.in = append(l.in, r); l.settle() }
	ask(&discovery.DeltaDiscoveryRequest{TypeUrl: typeURLs[clusters], ResourceNamesSubscribe: []string{"exec"}, ResourceNamesUnsubscribe: []string{"*"}})
	put(t, s, 2, set{"exec=2 new=2", "main=1", "in=1"})
	l.settle()
	if _, ok := e.applied[clusters]["new"]; ok || e.applied[clusters]["exec"] != "2" {
		t.Errorf("clusters by name only: %+v", e.text())
	}
	ask(&discovery.DeltaDiscoveryRequest{TypeUrl: typeURLs[clusters], ResourceNamesSubscribe: []string{"*"}})
	if e.applied[clusters]["new"] != "2" || s.Ready("a") != 2 {
		t.Errorf("clusters by wildcard again: %+v", e.text())
	}
}
