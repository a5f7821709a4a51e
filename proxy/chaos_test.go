package proxy_test

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-gateway/sluice/internal/simulator"
	"github.com/sluice-gateway/sluice/internal/testkit"
)

var (
	chaos     = flag.Duration("chaos", 2*time.Second, "how long TestChaos composes faults, clients and reloads")
	chaosSeed = flag.Int("chaos-seed", 0, "where TestChaos begins; 0 = anywhere")
)

// move is one thing that happens in a run of TestChaos.
type move struct {
	do     string // ask, burst, fault, wait, reload
	n      int
	text   string
	stream bool
	wait   time.Duration
}

// drawnMoves composes a run. Everything is drawn before anything happens, so that a seed is a run.
func drawnMoves(seed int) []move {
	names := []string{""}
	for _, s := range simulator.Scenarios() {
		names = append(names, s.Name)
	}
	return rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) move {
		return move{
			do:     rapid.SampledFrom([]string{"ask", "ask", "ask", "burst", "fault", "fault", "wait", "reload"}).Draw(rt, "do"),
			n:      rapid.IntRange(0, 7).Draw(rt, "n"),
			text:   rapid.SampledFrom(names).Draw(rt, "fault"),
			stream: rapid.Bool().Draw(rt, "stream"),
			wait:   time.Duration(rapid.IntRange(0, 12_000).Draw(rt, "ms")) * time.Millisecond,
		}
	}), 5, 30).Example(seed)
}

// reloads are the policies between which a run changes.
var reloads = []string{
	publicPolicy,
	strings.Replace(publicPolicy, "one.test:9000/v1}", "one.test:9000/v1, concurrent: 2, queue: {max: 2, wait: 3s}}", 1),
	strings.Replace(publicPolicy, "idle: 8s", "idle: 2s", 1),
	strings.Replace(publicPolicy, "auto: {", "auto: {rescue: off, ", 1),
	strings.Replace(publicPolicy, "[main, spare]}]", "[spare, main]}]", 1),
	publicPolicy + "server: {concurrent: 3, memory: 1M}\n",
}

// TestChaos composes faults, clients that ask, leave and come in bursts, and reloads. Whatever happens: every request has one end and one record, what a
// client reads is the beginning of the one text that all models say, the records agree with the upstreams' logs, no plan is exceeded, no limit is
// outlived, and at rest every counter is zero. A failure says the seed that plays it again (-chaos-seed); -chaos 2m looks for longer.
func TestChaos(t *testing.T) {
	want := whole(t)
	first := *chaosSeed
	if first == 0 {
		first = int(time.Now().UnixNano())
	}
	t.Logf("chaos: the first seed is %d", first)
	seed := first
	for end := time.Now().Add(*chaos); !t.Failed() && (seed == first || time.Now().Before(end)); seed++ {
		playSeed(t, seed, want)
	}
	t.Logf("chaos: %d runs", seed-first)
}

func playSeed(t *testing.T, seed int, want string) {
	moves, passed := drawnMoves(seed), false
	defer func() {
		if !passed { // a bubble that fails ends the test
			t.Logf("chaos: -chaos-seed %d plays it again: %+v", seed, moves)
		}
	}()
	synctest.Test(t, func(t *testing.T) { playMoves(t, moves, want) })
	passed = !t.Failed()
}

// playMoves plays one run inside a bubble.
func playMoves(t *testing.T, moves []move, want string) {
	var mu sync.Mutex
	faults := map[string]string{}
	fault := func(host string) func(*http.Request, string) string {
		return func(*http.Request, string) string {
			mu.Lock()
			defer mu.Unlock()
			return slower(faults[host])
		}
	}
	l := newLab(t, publicPolicy)
	p := &public{l, l.provider("one.test:9000", simulator.Options{Fault: fault("one"), LogCalls: 10_000}), l.provider("two.test:9000", simulator.Options{Fault: fault("two"), LogCalls: 10_000})}
	var clients sync.WaitGroup
	asked := 0
	ask := func(m move, leaves bool) {
		asked++
		steps := ""
		if leaves {
			steps = fmt.Sprintf("!leave %dms\n", 1+m.wait.Milliseconds())
		}
		r := chat(t, m.stream, steps)
		clients.Go(func() { p.sane(p.plane.ask(r), want) })
	}
	for _, m := range moves {
		switch m.do {
		case "ask":
			ask(m, m.n == 0)
		case "burst":
			for i := range m.n {
				ask(m, i%3 == 2)
			}
		case "fault":
			spec := ""
			if m.text != "" {
				spec = published(t, m.text).Spec
			}
			mu.Lock()
			faults[[]string{"one", "two"}[m.n%2]] = spec
			mu.Unlock()
		case "reload":
			p.gateway.Swap(compile(t, []byte(reloads[m.n%len(reloads)])))
		}
		time.Sleep(m.wait / 4) // virtual
	}
	clients.Wait()
	p.settled(asked)
	p.ends()
	p.balance()
	if n := len(p.all()); n != asked {
		t.Errorf("%d records of %d exchanges", n, asked)
	}
	for _, r := range p.all() {
		if r.Outcome == "" || r.End.Sub(r.Start) > 10*time.Minute+time.Second {
			t.Errorf("outcome %q after %v", r.Outcome, r.End.Sub(r.Start))
		}
	}
	p.close()
}

// sane holds one answer to what holds whatever fails.
func (p *public) sane(a testkit.Answer, want string) {
	if a.Status == 0 {
		return
	}
	if a.End == "left" && !strings.HasPrefix(a.Header.Get("Content-Type"), "text/event-stream") {
		return // a body that its client did not stay for
	}
	if a.End == "left" { // the last event may be a piece
		a.Body = a.Body[:bytes.LastIndex(a.Body, []byte("\n"))+1]
	}
	got := read(p.t, &a)
	stream := strings.HasPrefix(a.Header.Get("Content-Type"), "text/event-stream")
	switch {
	case !strings.HasPrefix(want, got.text):
		p.t.Errorf("text of no upstream: %q", got.text)
	case a.End == "left":
	case a.End != "":
		p.t.Errorf("the connection broke: %s", a.String())
	case a.Status == 200 && got.code == "" && (got.text != want || got.finish != "stop" || !got.done):
		p.t.Errorf("an answer that is neither whole nor an error: %s", a.String())
	case stream && got.code != "" && got.done:
		p.t.Errorf("an error and an end mark: %s", a.String())
	}
}
