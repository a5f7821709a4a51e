package pool

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/policies"
)

var errRefused = errors.New("refused")

// engines answers probes, and counts them.
type engines struct {
	mu     sync.Mutex
	answer map[string]error
	probes map[string]int
	hang   bool
}

func newEngines() *engines { return &engines{answer: map[string]error{}, probes: map[string]int{}} }

func (e *engines) probe(ctx context.Context, u *url.URL) error {
	e.mu.Lock()
	e.probes[u.Host]++
	err, hang := e.answer[u.Host], e.hang
	e.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (e *engines) set(host string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer[host] = err
}

// count returns how often each host was probed since the last call.
func (e *engines) count() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := e.probes
	e.probes = map[string]int{}
	return out
}

const every = 2 * time.Second

func wantStates(t *testing.T, p *Pool, want ...State) {
	t.Helper()
	synctest.Wait()
	var got []State
	for _, e := range p.Status() {
		got = append(got, e.State)
	}
	if d := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); d != "" {
		t.Fatal(d)
	}
}

// watched runs a test in virtual time with a pool of two endpoints that are being probed.
func watched(t *testing.T, e *engines, f func(*testing.T, *Set, *Pool)) {
	synctest.Test(t, func(t *testing.T) {
		s, p := poolOf(0, "a", "b")
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { p.Watch(ctx, e.probe, every); close(ended) }()
		synctest.Wait()
		f(t, s, p)
		stop()
		<-ended
	})
}

func TestWatch(t *testing.T) {
	e := newEngines()
	e.set("b", errRefused)
	watched(t, e, func(t *testing.T, _ *Set, p *Pool) {
		wantStates(t, p, Ready, Down)
		if st := p.Status()[1]; st.Reason != "refused" {
			t.Errorf("reason %q", st.Reason)
		}
		e.set("b", fmt.Errorf("%w: 503", ErrLoading))
		time.Sleep(every)
		wantStates(t, p, Ready, Loading)
		for range 5 {
			if l := mustPick(t, p, 1); l.Host() != "a" {
				t.Fatal("picked an endpoint that loads its model")
			}
		}
		e.set("b", nil)
		time.Sleep(every)
		wantStates(t, p, Ready, Ready)
	})
}

func TestWatchPace(t *testing.T) {
	e := newEngines()
	e.set("b", errRefused)
	watched(t, e, func(t *testing.T, _ *Set, p *Pool) {
		e.count()
		time.Sleep(time.Minute)
		n := e.count()
		if n["a"] < 27 || n["a"] > 34 { // 30 ± 10 %
			t.Errorf("a healthy endpoint was probed %d times in a minute", n["a"])
		}
		if n["b"] < 108 || n["b"] > 134 { // 120 ± 10 %
			t.Errorf("a dead endpoint was probed %d times in a minute", n["b"])
		}
	})
}

func TestOneLostProbe(t *testing.T) {
	e := newEngines()
	watched(t, e, func(t *testing.T, _ *Set, p *Pool) {
		wantStates(t, p, Ready, Ready)
		e.set("a", errRefused)
		e.count()
		for e.count()["a"] == 0 {
			time.Sleep(50 * time.Millisecond)
			synctest.Wait()
		}
		wantStates(t, p, Ready, Ready)
		time.Sleep(every/sooner*11/10 + time.Millisecond) // the second one comes soon
		wantStates(t, p, Down, Ready)
	})
}

func TestFailWakesTheWatcher(t *testing.T) {
	e := newEngines()
	watched(t, e, func(t *testing.T, _ *Set, p *Pool) {
		wantStates(t, p, Ready, Ready)
		time.Sleep(every / 20)
		p.Fail(endpointURL("a"))
		wantStates(t, p, Down, Ready)
		time.Sleep(every/sooner*11/10 + time.Millisecond)
		wantStates(t, p, Ready, Ready) // it was a moment's failure
	})
}

func TestFailStaysWhileWatched(t *testing.T) {
	e := newEngines()
	e.set("a", errRefused)
	watched(t, e, func(t *testing.T, _ *Set, p *Pool) {
		p.Fail(endpointURL("a"))
		time.Sleep(time.Hour)
		wantStates(t, p, Down, Ready)
	})
}

// A probe that was under way when a connection failed proves nothing.
func TestProbeBegunBeforeFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := poolOf(0, "a")
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go p.Watch(ctx, func(context.Context, *url.URL) error { time.Sleep(time.Second); return nil }, every)
		time.Sleep(time.Second / 2)
		p.Fail(endpointURL("a"))
		time.Sleep(time.Second/2 + time.Millisecond)
		wantStates(t, p, Down)
		time.Sleep(every)
		wantStates(t, p, Ready)
	})
}

func TestProbeThatHangs(t *testing.T) {
	e := newEngines()
	e.hang = true
	watched(t, e, func(t *testing.T, _ *Set, p *Pool) {
		wantStates(t, p, Unknown, Unknown)
		time.Sleep(every + time.Millisecond)
		wantStates(t, p, Down, Down)
	})
}

func TestWatchFollowsPolicies(t *testing.T) {
	e := newEngines()
	watched(t, e, func(t *testing.T, s *Set, p *Pool) {
		s.Update(provider(0, "b", "c"))
		wantStates(t, p, Ready, Ready)
		e.count()
		time.Sleep(time.Minute)
		if n := e.count(); n["a"] != 0 || n["b"] == 0 || n["c"] == 0 {
			t.Errorf("probes %v", n)
		}
		s.Sync(&policies.Policy{})
		synctest.Wait()
		e.count()
		time.Sleep(time.Minute)
		if n := e.count(); len(n) != 0 {
			t.Errorf("a retired pool was probed: %v", n)
		}
		s.Update(provider(0, "a"))
		wantStates(t, p, Ready)
	})
}

func TestSetWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, gpu := poolOf(0, "a")
		e := newEngines()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			s.Watch(ctx, func(ctx context.Context, pr *policies.Provider, u *url.URL) error {
				if pr.Engine != "vllm" {
					return errRefused
				}
				return e.probe(ctx, u)
			}, every)
			close(ended)
		}()
		wantStates(t, gpu, Down)
		s.Update(&policies.Provider{Name: "late", Own: true, Engine: "vllm", Endpoints: []*url.URL{endpointURL("z")}})
		wantStates(t, s.Pool("late"), Ready)
		stop()
		<-ended
	})
}

func TestStateNames(t *testing.T) {
	var got []string
	for s := Unknown; s <= Loading; s++ {
		b, err := s.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(b))
	}
	if d := cmp.Diff([]string{"unknown", "ready", "down", "loading"}, got); d != "" {
		t.Error(d)
	}
}
