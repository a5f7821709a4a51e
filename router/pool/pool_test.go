package pool

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sluice-gateway/sluice/policies"
)

func provider(concurrent int, hosts ...string) *policies.Provider {
	pr := &policies.Provider{Name: "gpu", Own: true, Concurrent: concurrent}
	for _, h := range hosts {
		pr.Endpoints = append(pr.Endpoints, endpointURL(h))
	}
	return pr
}

func endpointURL(host string) *url.URL { return &url.URL{Scheme: "http", Host: host, Path: "/v1"} }

func poolOf(concurrent int, hosts ...string) (*Set, *Pool) {
	s := NewSet()
	s.Update(provider(concurrent, hosts...))
	return s, s.Pool("gpu")
}

func mustPick(t *testing.T, p *Pool, tokens int) *Lease {
	t.Helper()
	l, err := p.Acquire(tokens, nil)
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	return l
}

func TestPicksLeastTokens(t *testing.T) {
	_, p := poolOf(0, "a", "b", "c")
	var got []string
	for _, tokens := range []int{100, 10, 50, 10, 25, 1} {
		got = append(got, mustPick(t, p, tokens).Host())
	}
	if d := cmp.Diff([]string{"a", "b", "c", "b", "b", "b"}, got); d != "" { // before the last: a 100, b 45, c 50
		t.Error(d)
	}
	if d := cmp.Diff(policies.PoolFacts{Inflight: 6, Tokens: 196, Endpoints: 3, Healthy: 3}, p.Facts()); d != "" {
		t.Error(d)
	}
}

func TestTies(t *testing.T) {
	_, p := poolOf(0, "a", "b", "c")
	var got []string
	for range 7 { // released at once: nothing but the round tells them apart
		l := mustPick(t, p, 10)
		got = append(got, l.Host())
		l.Release()
	}
	if d := cmp.Diff([]string{"a", "b", "c", "a", "b", "c", "a"}, got); d != "" {
		t.Error(d)
	}
	held := mustPick(t, p, 0) // no tokens: the number of requests decides
	for range 2 {
		if l := mustPick(t, p, 0); l.Host() == held.Host() {
			t.Errorf("picked %s twice", held.Host())
		}
	}
}

func TestWhyNothingIsPicked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := poolOf(2, "a", "b")
		only := func(host string) func(string) bool { return func(h string) bool { return h != host } }
		first, err := p.Acquire(10, only("b"))
		if err != nil || first.Host() != "b" || first.Endpoint().String() != "http://b/v1" {
			t.Fatalf("Acquire: %v %v", first, err)
		}
		if _, err := p.Acquire(1, only("c")); !errors.Is(err, ErrAvoided) {
			t.Errorf("all avoided: %v", err)
		}
		p.Fail(endpointURL("a"))
		if _, err := p.Acquire(1, only("a")); !errors.Is(err, ErrAvoided) {
			t.Errorf("a down, b avoided: %v", err)
		}
		second := mustPick(t, p, 10)
		if second.Host() != "b" {
			t.Errorf("picked %s, which is down", second.Host())
		}
		if _, err := p.Acquire(1, nil); !errors.Is(err, ErrFull) || !p.Facts().Saturated {
			t.Errorf("full: %v, facts %+v", err, p.Facts())
		}
		first.Release()
		p.Fail(endpointURL("b"))
		if l, ok := p.Pick(1, nil); ok {
			t.Errorf("picked %v of a pool that is down", l)
		}
		if _, err := p.Acquire(1, nil); !errors.Is(err, ErrDown) {
			t.Errorf("down: %v", err)
		}
		if f := p.Facts(); f.Healthy != 0 || f.Endpoints != 2 || f.Saturated {
			t.Errorf("facts %+v", f)
		}
		p.Fail(endpointURL("unknown"))
		time.Sleep(2 * time.Second) // nobody probes: a failure is not for ever
		mustPick(t, p, 1)
	})
}

func TestEmptyPool(t *testing.T) {
	_, p := poolOf(0)
	if _, err := p.Acquire(1, nil); !errors.Is(err, ErrDown) {
		t.Errorf("Acquire: %v", err)
	}
}

func TestReleaseOnce(t *testing.T) {
	_, p := poolOf(0, "a")
	l, other := mustPick(t, p, 7), mustPick(t, p, 5)
	for range 3 {
		l.Release()
	}
	if f := p.Facts(); f.Inflight != 1 || f.Tokens != 5 {
		t.Errorf("facts %+v", f)
	}
	other.Release()
	if f := p.Facts(); f.Inflight != 0 || f.Tokens != 0 {
		t.Errorf("facts %+v", f)
	}
}

// A stream goes on while policies change around it: its endpoint leaves, comes back, and is still the one that it is counted on.
func TestEndpointLeavesAndComesBack(t *testing.T) {
	s, p := poolOf(0, "a", "b")
	p.Fail(endpointURL("a"))
	stays := mustPick(t, p, 100)
	p.Fail(endpointURL("b"))
	s.Update(provider(0, "a"))
	if f := p.Facts(); f.Inflight != 1 || f.Tokens != 100 || f.Endpoints != 1 {
		t.Errorf("b left: %+v", f)
	}
	if st := p.Status(); len(st) != 1 || st[0].State != Down {
		t.Errorf("a stays as it is: %+v", st)
	}
	s.Update(provider(0, "a", "b"))
	if st := p.Status()[1]; st.Inflight != 1 || st.Tokens != 100 || st.State != Unknown {
		t.Errorf("b came back: %+v", st)
	}
	if s.Pool("gpu") != p {
		t.Error("another pool")
	}
	stays.Release()
	if st := p.Status()[1]; st.Inflight != 0 || st.Tokens != 0 {
		t.Errorf("b at rest: %+v", st)
	}
	gone := mustPick(t, p, 1)
	s.Update(provider(0))
	gone.Release()
	if f := p.Facts(); f.Inflight != 0 || len(p.known) != 0 {
		t.Errorf("kept %d endpoints, %+v", len(p.known), f)
	}
}

func TestUpdateDropsDoubles(t *testing.T) {
	_, p := poolOf(0, "a", "a", "b")
	if n := len(p.Status()); n != 2 {
		t.Errorf("%d endpoints", n)
	}
}

func TestTokensAreBounded(t *testing.T) {
	_, p := poolOf(0, "a")
	for _, tokens := range []int{-5, 1 << 62, 1 << 62} {
		mustPick(t, p, tokens)
	}
	if f := p.Facts(); f.Tokens != 2*maxTokens {
		t.Errorf("tokens %d", f.Tokens)
	}
}

func TestSync(t *testing.T) {
	s := NewSet()
	names := func() (out []string) {
		for _, p := range s.Pools() {
			out = append(out, p.Name())
		}
		return out
	}
	own := func(name string) *policies.Provider {
		return &policies.Provider{Name: name, Own: true, Endpoints: []*url.URL{endpointURL("a")}}
	}
	s.Sync(&policies.Policy{Providers: map[string]*policies.Provider{"x": own("x"), "gpu": own("gpu"), "out": {Name: "out"}}})
	if d := cmp.Diff([]string{"gpu", "x"}, names()); d != "" {
		t.Error(d)
	}
	old := s.Pool("x")
	s.Sync(&policies.Policy{Providers: map[string]*policies.Provider{"gpu": own("gpu"), "x": {Name: "x"}}})
	if d := cmp.Diff([]string{"gpu"}, names()); d != "" {
		t.Error(d)
	}
	if s.Pool("x") != old || s.Pool("out") != nil {
		t.Error("a retired pool is still there for exchanges under way, others never were")
	}
	mustPick(t, old, 1).Release()
	s.Update(own("x"))
	if d := cmp.Diff([]string{"gpu", "x"}, names()); d != "" {
		t.Error(d)
	}
}

func TestHammer(t *testing.T) {
	s, p := poolOf(20, "a", "b", "c")
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			for range 2000 {
				avoid := fmt.Sprint(r.IntN(4))
				l, ok := p.Pick(r.IntN(1000), func(h string) bool { p.Facts(); return h == avoid })
				switch r.IntN(20) {
				case 0:
					s.Update(provider(20, "a", "b", "c")) // b never leaves for good
				case 1:
					s.Update(provider(20, "b"))
				case 2:
					p.Fail(endpointURL("c"))
				}
				if ok {
					wg.Go(l.Release)
					l.Release()
				}
				if f := p.Facts(); f.Inflight > 20 || f.Inflight < 0 || f.Tokens < 0 {
					t.Errorf("facts %+v", f)
				}
			}
		})
	}
	wg.Wait()
	s.Update(provider(20, "b"))
	if f := p.Facts(); f.Inflight != 0 || f.Tokens != 0 || len(p.known) != 1 {
		t.Errorf("at rest %+v, %d endpoints", f, len(p.known))
	}
}

// TestMachine holds every counter against a model that knows what is in flight, whatever happens to the endpoints.
func TestMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hosts := []string{"a", "b", "c", "d"}
		s, p := poolOf(0, hosts...)
		limit := 0
		var leases []*Lease
		subset := rapid.SliceOfDistinct(rapid.SampledFrom(hosts), rapid.ID[string])
		t.Repeat(map[string]func(*rapid.T){
			"pick": func(t *rapid.T) {
				avoid := subset.Draw(t, "avoid")
				before := p.Status()
				l, err := p.Acquire(rapid.IntRange(0, 50).Draw(t, "tokens"), func(h string) bool {
					for _, a := range avoid {
						if a == h {
							return true
						}
					}
					return false
				})
				if full := limit > 0 && len(leases) >= limit; full != errors.Is(err, ErrFull) {
					t.Fatalf("%d of %d in flight: %v", len(leases), limit, err)
				}
				if err != nil {
					return
				}
				leases = append(leases, l)
				checkChoice(t, before, avoid, l.Host())
			},
			"release": func(t *rapid.T) {
				if len(leases) == 0 {
					t.Skip("none")
				}
				i := rapid.IntRange(0, len(leases)-1).Draw(t, "i")
				leases[i].Release()
				leases[i].Release()
				leases = append(leases[:i], leases[i+1:]...)
			},
			"update": func(t *rapid.T) {
				limit = rapid.IntRange(0, 6).Draw(t, "limit")
				s.Update(provider(limit, subset.Draw(t, "hosts")...))
			},
			"fail": func(t *rapid.T) { p.Fail(endpointURL(rapid.SampledFrom(hosts).Draw(t, "host"))) },
			"": func(t *rapid.T) {
				tokens, on := 0, map[string]int{}
				for _, l := range leases {
					tokens += l.tokens
					on[l.Host()]++
				}
				if f := p.Facts(); f.Inflight != len(leases) || f.Tokens != tokens {
					t.Fatalf("facts %+v, in flight %d with %d tokens", f, len(leases), tokens)
				}
				for _, e := range p.Status() {
					if e.Inflight != on[e.Host] {
						t.Fatalf("%s counts %d, has %d", e.Host, e.Inflight, on[e.Host])
					}
				}
			},
		})
		for _, l := range leases {
			l.Release()
		}
		if f := p.Facts(); f.Inflight != 0 || f.Tokens != 0 || len(p.known) != f.Endpoints {
			t.Fatalf("at rest %+v, %d endpoints known", f, len(p.known))
		}
	})
}

// checkChoice holds a choice against the load that there was: no endpoint that could be picked had less.
func checkChoice(t *rapid.T, before []EndpointStatus, avoid []string, chosen string) {
	load := map[string]EndpointStatus{}
	for _, e := range before {
		if e.State.usable() {
			load[e.Host] = e
		}
	}
	for _, a := range avoid {
		delete(load, a)
	}
	best, ok := load[chosen]
	if !ok {
		t.Fatalf("picked %s, which is down, gone or avoided", chosen)
	}
	for _, e := range load {
		if e.Tokens < best.Tokens || e.Tokens == best.Tokens && e.Inflight < best.Inflight {
			t.Fatalf("picked %+v with %+v at hand", best, e)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	_, p := poolOf(0, "a", "b", "c", "d", "e", "f", "g", "h")
	b.ReportAllocs()
	for b.Loop() {
		l, _ := p.Pick(500, func(h string) bool { return h == "c" })
		l.Release()
	}
}
