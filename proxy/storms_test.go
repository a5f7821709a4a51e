package proxy_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/internal/simulator"
	"github.com/sluice-gateway/sluice/internal/testkit"
	"github.com/sluice-gateway/sluice/llm"
)

// What faults come to over many requests: docs/failures.md lists these tests.

// storm offers load to a primary with a fault and a healthy fallback, and holds every answer to be whole. It returns the primary's calls.
func storm(t *testing.T, fault string, perSecond int, d time.Duration, more func(p *public, main []simulator.Call)) {
	t.Helper()
	want := whole(t)
	synctest.Test(t, func(t *testing.T) {
		p := newPublic(t, drivers[0], fault, "")
		y := p.offer(perSecond, d, func(i int) *testkit.Request { return chat(t, i%2 == 0, "") })
		bad := y.count(func(a *testkit.Answer) bool { return a.Status != 200 || read(t, a).text != want })
		if bad != 0 {
			t.Errorf("%s: %d of %d answers are not whole", fault, bad, len(y.answers))
		}
		p.ends()
		p.balance()
		more(p, p.main.Log())
		p.close()
	})
}

// balance holds the records to the upstreams' own logs over many exchanges: as many attempts as requests, and no token reported that was not made.
func (p *public) balance() {
	p.t.Helper()
	attempts, reported := map[string]int{}, map[string]int{}
	unseen := map[string]int{} // of these, at most: whose client may have left before the request did
	for _, r := range p.all() {
		for _, a := range r.Attempts {
			if a.Cause != "not_sent" && a.Cause != "queue" && a.Cause != "refused" {
				attempts[a.Model]++
			}
			if a.Cause == "client_gone" && a.Status == 0 {
				unseen[a.Model]++
			}
			if a.UsageKind == llm.UsageReported {
				reported[a.Model] += int(a.Usage.Output)
			}
		}
	}
	for name, sim := range map[string]*simulator.Server{"main": p.main, "spare": p.spare} {
		made := 0
		for _, c := range sim.Log() {
			if c.Ending == simulator.Completed {
				made += c.TokensOut
			}
		}
		if n := len(sim.Log()); n > attempts[name] || n < attempts[name]-unseen[name] || made < reported[name] {
			p.t.Errorf("%s: %d requests and %d tokens, the records have %d and %d", name, n, made, attempts[name], reported[name])
		}
	}
}

func status(calls []simulator.Call, code int) (n int) {
	for _, c := range calls {
		if c.Status == code {
			n++
		}
	}
	return n
}

func TestThrottleStorm(t *testing.T) {
	for fault, most := range map[string]int{"status=429": 40, "status=429,retry-after=past": 40, "status=429,retry-after=99999999": 6} {
		storm(t, fault, 3, time.Minute, func(_ *public, main []simulator.Call) {
			if n := len(main); n > most {
				t.Errorf("%s: the primary was asked %d times in a minute", fault, n)
			}
		})
	}
}

func TestMixedErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		extra int // attempts beyond one a request, at most
	}{{"f08-1", 5}, {"f08-10", 20}, {"f08-50", 70}, {"f08-100", 30}} {
		storm(t, published(t, c.name).Spec, 10, 10*time.Second, func(p *public, main []simulator.Call) {
			if extra := len(main) + len(p.spare.Log()) - 100; extra > c.extra {
				t.Errorf("%s: %d attempts beyond one a request", c.name, extra)
			}
			if c.name == "f08-1" && status(main, 200) < 95 {
				t.Errorf("the primary answered %d of 100", status(main, 200))
			}
		})
	}
}

func TestFlapping(t *testing.T) {
	storm(t, published(t, "f10").Spec, 5, time.Minute, func(_ *public, main []simulator.Call) {
		if n := status(main, 503); n > 40 {
			t.Errorf("the primary was asked %d times while it was down", n)
		}
		if n := status(main, 200); n < 10 {
			t.Errorf("the primary answered %d times in the half minute that it was up", n)
		}
	})
}

// A probe that hangs holds its lease for a while and no longer.
func TestHungProbe(t *testing.T) {
	storm(t, "status=503,once=3;hang,once=1", 2, 2*time.Minute, func(_ *public, main []simulator.Call) {
		last := main[len(main)-1]
		if last.Status != 200 || status(main, 200) < 100 {
			t.Errorf("the primary did not come back: %d answers of %d calls", status(main, 200), len(main))
		}
	})
}

// A brown-out makes answers slow, not wrong; with a limit the requests beyond it wait or go elsewhere, and none outlives its own limits.
func TestBrownOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := strings.Replace(publicPolicy, "one.test:9000/v1}", "one.test:9000/v1, concurrent: 20, queue: {max: 20, wait: 2s}}", 1)
		p := newPublicOf(t, drivers[0], policy, "first-token-delay=3s,delay=100ms", "")
		y := p.offer(10, 30*time.Second, func(i int) *testkit.Request { return chat(t, true, "") })
		for _, a := range y.answers {
			if a.Status != 200 || !read(t, &a).done || a.Took > 15*time.Second {
				t.Fatalf("%s after %v", a.String(), a.Took)
			}
		}
		inflight, most := 0, 0
		for _, c := range p.main.Log() {
			inflight = 1
			for _, d := range p.main.Log() {
				if d.Seq != c.Seq && !d.Started.After(c.Started) && d.Ended.After(c.Started) {
					inflight++
				}
			}
			most = max(most, inflight)
		}
		if most > 20 || len(p.spare.Log()) == 0 {
			t.Errorf("%d at once at the slow primary, %d at the fallback", most, len(p.spare.Log()))
		}
		p.ends()
		p.balance()
		p.close()
	})
}

// TestNameResolution: whatever the resolver does, it is a connection that did not come about.
func TestNameResolution(t *testing.T) {
	for name, fail := range map[string]*net.DNSError{
		"NXDOMAIN": {Err: "no such host", IsNotFound: true},
		"SERVFAIL": {Err: "server misbehaving", IsTemporary: true},
		"timeout":  {Err: "i/o timeout", IsTimeout: true},
		"empty":    {Err: "no suitable address found"},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPublic(t, drivers[0], "", "")
			p.plane.(*embedded).handler.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				if strings.HasPrefix(addr, "one.test") {
					return nil, &net.OpError{Op: "dial", Net: network, Err: fail}
				}
				return p.net.Dial(ctx, network, addr)
			}
			a := p.plane.ask(chat(t, true, ""))
			r := p.settled(1)[0]
			if got := read(t, &a); a.Status != 200 || got.model != "spare" || a.Took > 5*time.Second {
				t.Errorf("%s: %s after %v", name, a.String(), a.Took)
			}
			for _, at := range r.Attempts[:len(r.Attempts)-1] {
				if at.UsageKind != llm.UsageNone || at.Cause != "refused" && at.Cause != "connect_timeout" {
					t.Errorf("%s: attempt %+v", name, at)
				}
			}
			p.close()
		})
	}
}

// starved is a listener without file descriptors for a while.
type starved struct {
	net.Listener
	until time.Time
	tries atomic.Int64
}

func (s *starved) Accept() (net.Conn, error) {
	if s.tries.Add(1); time.Now().Before(s.until) {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
	}
	return s.Listener.Accept()
}

// TestNoDescriptors: accepting backs off, without a spin, and goes on when there are descriptors again. An upstream connection that cannot be opened is one
// that did not come about.
func TestNoDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublic(t, drivers[0], "", "")
		l := &starved{Listener: p.net.Listen("other.test:80"), until: time.Now().Add(5 * time.Second)}
		front := &http.Server{Handler: p.plane.(*embedded).handler, ErrorLog: quiet}
		served := make(chan error, 1)
		go func() { served <- front.Serve(l) }()
		c, err := p.net.Dial(t.Context(), "tcp", "other.test:80")
		if err != nil {
			t.Fatal(err)
		}
		a := testkit.Ask(c.(*testkit.Conn), chat(t, false, ""))
		if a.Status != 200 || a.Took > 10*time.Second || l.tries.Load() > 20 {
			t.Errorf("%s after %v and %d tries", a.String(), a.Took, l.tries.Load())
		}
		p.plane.(*embedded).handler.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.EMFILE}
		}
		p.plane.(*embedded).handler.Close() // its idle connections
		if a := p.plane.ask(chat(t, false, "")); a.Status != 503 || read(t, &a).code != "no_target_available" {
			t.Errorf("%s", a.String())
		}
		_ = front.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		p.close()
	})
}

// down is an upstream that answers 503 until a time.
type down struct {
	http.Handler
	until time.Time
}

func (d *down) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if time.Now().Before(d.until) {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	d.Handler.ServeHTTP(w, r)
}

// TestThunderingRecovery: clients whose requests failed ask again every second, so that a backlog grows while the only upstream is down. When it is back it
// is not run over: goodput is what it can do within 30 s, and stays so.
func TestThunderingRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := strings.Replace(strings.Replace(publicPolicy, "one.test:9000/v1}", "one.test:9000/v1, concurrent: 10, queue: {max: 50, wait: 1s}}", 1), "[main, spare]}]", "[main]}]", 1)
		l := newLab(t, policy)
		const outage = 30 * time.Second
		start := time.Now()
		l.serve("one.test:9000", &down{&collapsing{}, start.Add(outage)})
		good := map[int]int{} // by the second of their end
		y := &tally{}
		for i := range 100 { // a new client every half second, each of which wants 5 answers
			y.wait.Go(func() {
				time.Sleep(time.Duration(i) * 500 * time.Millisecond) // virtual
				for n := 0; n < 5 && time.Since(start) < 2*outage+30*time.Second; {
					if a := l.plane.ask(chat(t, false, "")); a.Status == 200 {
						n++
						y.mu.Lock()
						good[int(time.Since(start).Seconds())]++
						y.mu.Unlock()
						continue
					}
					time.Sleep(time.Second) // virtual
				}
			})
		}
		y.wait.Wait()
		total, late := 0, 0
		for second, n := range good {
			total += n
			if second > int((outage + 30*time.Second).Seconds()) {
				late += n
			}
		}
		if total != 500 || late > 0 {
			t.Errorf("%d of 500 answers, %d of them later than 30 s after the recovery", total, late)
		}
		l.close()
	})
}

// TestRetryBeyondTotal: a wait that the total limit has no room for is no retry: the next model is asked at once, and the account keeps its tokens.
func TestRetryBeyondTotal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := strings.Replace(publicPolicy, "headers: 5s", "total: 3s, headers: 5s", 1)
		p := newPublicOf(t, drivers[0], policy, "status=429,retry-after=4", "")
		a := p.plane.ask(chat(t, false, ""))
		if got := read(t, &a); a.Status != 200 || got.model != "spare" || a.Took >= 3*time.Second {
			t.Errorf("%s", a.String())
		}
		if left := p.gateway.Retries(); len(left) != 0 {
			t.Errorf("accounts after a retry that was not made: %v", left)
		}
		p.close()
	})
}
