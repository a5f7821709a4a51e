package proxy_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/internal/simulator"
	"github.com/sluice-gateway/sluice/internal/testkit"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/proxy/httpproxy"
	"github.com/sluice-gateway/sluice/router"
)

// TestInterrupt: when the process waits no longer, whatever is open gets its last word at once, nobody is asked again and no breaker moves.
func TestInterrupt(t *testing.T) {
	for name, c := range map[string]struct {
		fault   string
		stream  bool
		status  int
		code    string
		outcome string
	}{
		"amid a stream":              {"events=60,stall=20", true, 200, "stream_interrupted", "interrupted"},
		"before the first token":     {"first-token-delay=7s", true, 503, "overloaded", "overloaded"},
		"before the head":            {"headers-delay=4s", true, 503, "overloaded", "overloaded"},
		"amid a JSON answer":         {"stall", false, 503, "overloaded", "overloaded"},
		"while a throttle is waited": {"status=429,retry-after=4", true, 503, "overloaded", "overloaded"},
		"behind an early head":       {"hang", true, 200, "overloaded", "overloaded"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				policy, after := publicPolicy, 3*time.Second
				if name == "behind an early head" {
					policy, after = strings.Replace(policy, "timeouts: {headers: 5s", "keepalive: early, timeouts: {headers: 20s", 1), 15*time.Second
				}
				p := newPublicOf(t, drivers[0], policy, c.fault, "")
				answer := make(chan testkit.Answer, 1)
				go func() { answer <- p.plane.ask(chat(t, c.stream, "")) }()
				time.Sleep(after) // virtual
				p.plane.(*embedded).handler.Interrupt()
				p.plane.(*embedded).handler.Interrupt() // again is no news
				a := <-answer
				r := p.settled(1)[0]
				if got := read(t, &a); a.Status != c.status || got.code != c.code || got.done == c.stream && a.Status == 200 || a.Took != after || a.End != "" {
					t.Errorf("%s after %v", a.String(), a.Took)
				}
				for _, broken := range testkit.Broken(&a, r) {
					t.Error(broken)
				}
				if r.Outcome != c.outcome || len(p.spare.Log()) != 0 {
					t.Errorf("outcome %s, the fallback was asked %d times", r.Outcome, len(p.spare.Log()))
				}
				for _, b := range p.gateway.Breakers() {
					if b.State != "closed" {
						t.Errorf("breaker %+v", b)
					}
				}
				if last := r.Attempts[len(r.Attempts)-1]; name != "while a throttle is waited" && (last.Class != llm.ClassCanceled || last.Cause != "stop") {
					t.Errorf("attempt %+v", last)
				}
				if a := p.plane.ask(chat(t, true, "")); a.Status != 503 || !bytes.Contains(a.Body, []byte("This gateway stops")) {
					t.Errorf("what comes later: %s", a.String())
				}
				p.ends()
				p.close()
			})
		})
	}
}

// TestInterruptQueue: who waits for a place is told too.
func TestInterruptQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, fmt.Sprintf(overloadPolicy, ", concurrent: 1, queue: {max: 3, wait: 20s}", ""))
		l.provider("one.test:9000", simulator.Options{Fault: func(*http.Request, string) string { return "hang" }})
		y := &tally{}
		for range 3 {
			y.wait.Go(func() { y.add(l.plane.ask(chat(t, true, ""))) })
		}
		time.Sleep(time.Second) // virtual
		l.plane.(*embedded).handler.Interrupt()
		y.wait.Wait()
		if n := y.count(func(a *testkit.Answer) bool { return a.Status == 503 && a.Took == time.Second }); n != 3 {
			t.Errorf("%d of 3 were told at once", n)
		}
		l.close()
	})
}

// TestPanic: a panic in one exchange is that exchange's 500, recorded once; the next one knows nothing of it.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublic(t, drivers[0], "status=500,once", "")
		p.gateway = proxy.NewGateway(compile(t, []byte(publicPolicy)), proxy.Options{Router: router.New(router.Options{}), Emit: p.emit, Jitter: func() float64 { panic("jitter") }})
		panics := 0
		p.plane.close()
		e := &embedded{w: p.world, handler: httpproxy.New(p.gateway, func(any, []byte) { panics++ }), served: make(chan error, 1)}
		e.handler.Dial = p.net.Dial
		e.server = &http.Server{Handler: e.handler, ErrorLog: quiet}
		l := p.net.Listen(gatewayName)
		go func() { e.served <- e.server.Serve(l) }()
		p.plane = e
		a := e.ask(chat(t, true, ""))
		if got := read(t, &a); a.Status != 500 || got.code != "internal_error" || panics != 1 {
			t.Errorf("%s, %d panics", a.String(), panics)
		}
		if a := e.ask(chat(t, true, "")); a.Status != 200 || !read(t, &a).done {
			t.Errorf("the next one: %s", a.String())
		}
		if r := p.settled(2); r[0].Outcome != "internal_error" || r[0].Attempts[0].End.IsZero() || r[1].Outcome != "ok" {
			t.Errorf("records %+v, %+v", r[0], r[1])
		}
		p.close()
	})
}
