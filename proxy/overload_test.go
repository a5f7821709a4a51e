package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/internal/simulator"
	"github.com/sluice-gateway/sluice/internal/testkit"
	"github.com/sluice-gateway/sluice/llm"
)

// collapsing is an upstream that serves ten at once in 100 ms each. More at once make all of them slower than they are many, as model servers without
// a limit of their own do.
type collapsing struct{ inflight atomic.Int64 }

func (c *collapsing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // only then the server watches for the client's leave
	n := float64(c.inflight.Add(1)) / 10
	defer c.inflight.Add(-1)
	select {
	case <-time.After(time.Duration(float64(100*time.Millisecond) * max(1, n*n))): // virtual
	case <-r.Context().Done():
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"id":"c","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`))
}

const overloadPolicy = `version: 1
providers:
  one: {dialect: openai, base_url: http://one.test:9000/v1%s}
models:
  a: {provider: one, name: a-up}
routes:
  auto: {rules: [{use: [a]}], attempts: {per_model: 1}}
server: {criticality: {header: x-priority}%s}
`

// good counts the answers that came while their client still wanted them.
func good(y *tally) int {
	return y.count(func(a *testkit.Answer) bool { return a.Status == 200 && a.Took <= 2*time.Second })
}

// TestOverload offers two, five and ten times what the upstream can do: goodput stays, what is refused is refused at once or after its wait and told when
// to come again, and the load's end is the end of it.
func TestOverload(t *testing.T) {
	const capacity, phase = 100, 4 * time.Second
	request := func(i int) *testkit.Request { return chat(t, false, "") }
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, fmt.Sprintf(overloadPolicy, ", concurrent: 10, queue: {max: 100, wait: 1s}", ""))
		l.serve("one.test:9000", &collapsing{})
		peak := good(l.offer(capacity, phase, request))
		if peak < 95*int(phase.Seconds())*capacity/100 {
			t.Errorf("at capacity %d answers are good", peak)
		}
		for _, times := range []int{2, 5, 10} {
			y := l.offer(times*capacity, phase, request)
			n := good(y)
			t.Logf("%d times the capacity: %d good answers of %d at peak", times, n, peak)
			if n < peak*80/100 {
				t.Errorf("%d times the capacity: %d good answers, %d at peak", times, n, peak)
			}
			for _, a := range y.answers {
				after, err := strconv.Atoi(a.Header.Get("Retry-After"))
				refused := a.Status == 503 && err == nil && after >= 1 && a.Took <= time.Second
				if a.Status != 200 && !refused {
					t.Fatalf("an answer that is neither good nor a refusal at once: %s after %v", a.String(), a.Took)
				}
			}
			if n := good(l.offer(capacity/2, time.Second, request)); n != capacity/2 {
				t.Errorf("after %d times the capacity, at half of it: %d of %d answers are good", times, n, capacity/2)
			}
		}
		l.close()
	})
	synctest.Test(t, func(t *testing.T) { // the upstream does collapse where nothing holds the load back
		l := newLab(t, fmt.Sprintf(overloadPolicy, "", ""))
		l.serve("one.test:9000", &collapsing{})
		if n := good(l.offer(2*capacity, phase, request)); n > int(phase.Seconds())*capacity/2 {
			t.Errorf("without a limit %d answers are good", n)
		}
		l.close()
	})
}

// TestOverloadByClass: what is most urgent is served as if there were no overload, and a key cannot claim more than its label allows.
func TestOverloadByClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, fmt.Sprintf(overloadPolicy, ", concurrent: 10, queue: {max: 40, wait: 1s}", ""))
		l.serve("one.test:9000", &collapsing{})
		names := []string{"critical", "", "sheddable", "batch"}
		served, of := map[string]int{}, map[string]int{}
		y := &tally{}
		for i := range 2000 { // 500 a second, a fifth of what can be served of each class
			name := names[i%len(names)]
			r := chat(t, false, "")
			if name != "" {
				r = chat(t, false, "", "X-Priority", name)
			}
			y.wait.Go(func() {
				a := l.plane.ask(r)
				y.mu.Lock()
				defer y.mu.Unlock()
				of[name]++
				if a.Status == 200 {
					served[name]++
				}
			})
			time.Sleep(4 * time.Millisecond) // virtual
		}
		y.wait.Wait()
		t.Logf("served %v of %v", served, of)
		if served["critical"] < of["critical"]*95/100 || served["batch"] > of["batch"]/10 {
			t.Errorf("served %v of %v", served, of)
		}
		l.close()
	})
}

// TestGatewayLimit: beyond server.concurrent nothing is read and nothing is asked, and the last places are the most urgent requests'.
func TestGatewayLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, fmt.Sprintf(overloadPolicy, "", ", concurrent: 20"))
		sim := l.provider("one.test:9000", simulator.Options{Fault: func(*http.Request, string) string { return "headers-delay=10s" }})
		y := &tally{}
		for range 25 {
			r := chat(t, true, "")
			y.wait.Go(func() { y.add(l.plane.ask(r)) })
		}
		synctest.Wait()
		if n := l.gateway.Load().Exchanges; n != 19 {
			t.Errorf("%d exchanges of the default class, want 95 %% of 20", n)
		}
		y.wait.Go(func() { y.add(l.plane.ask(chat(t, true, "", "X-Priority", "critical"))) })
		y.wait.Wait()
		ok := y.count(func(a *testkit.Answer) bool { return a.Status == 200 })
		shed := y.count(func(a *testkit.Answer) bool {
			return a.Status == 503 && a.Took < time.Millisecond && a.Header.Get("Retry-After") != "" && bytes.Contains(a.Body, []byte(`"overloaded"`))
		})
		if ok != 20 || shed != 6 || len(sim.Log()) != 20 {
			t.Errorf("%d served, %d shed at once, %d upstream requests", ok, shed, len(sim.Log()))
		}
		for _, r := range l.all() {
			if r.Status == 503 && (r.Outcome != "overloaded" || r.ErrorCode != "overloaded" || len(r.Attempts) != 0) {
				t.Errorf("record %+v", r)
			}
		}
		l.close()
	})
}

// TestQueueEnds holds every way out of the line to its end: served, waited for too long, no room, the client left.
func TestQueueEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, fmt.Sprintf(overloadPolicy, ", concurrent: 1, queue: {max: 3, wait: 5s}", ""))
		sim := l.provider("one.test:9000", simulator.Options{Fault: func(*http.Request, string) string { return "headers-delay=4s" }})
		ask := func(steps string) <-chan testkit.Answer {
			a := make(chan testkit.Answer, 1)
			go func() { a <- l.plane.ask(chat(t, true, steps)) }()
			synctest.Wait()
			return a
		}
		first, second, third, leaver, none := ask(""), ask(""), ask(""), ask("!leave 1s\n"), ask("")
		time.Sleep(time.Minute) // virtual
		for name, c := range map[string]struct {
			a      <-chan testkit.Answer
			status int
			end    string
			took   time.Duration
		}{
			"the first one":  {first, 200, "", 4 * time.Second},
			"the second one": {second, 200, "", 8 * time.Second},
			"the third one":  {third, 503, "", 5 * time.Second},
			"who left":       {leaver, 0, "left", time.Second},
			"the fifth one":  {none, 503, "", 0},
		} {
			if a := <-c.a; a.Status != c.status || a.End != c.end || a.Took != c.took {
				t.Errorf("%s: status %d, end %q after %v, want %d, %q after %v", name, a.Status, a.End, a.Took, c.status, c.end, c.took)
			}
		}
		if n := len(sim.Log()); n != 2 {
			t.Errorf("%d upstream requests, want 2", n)
		}
		codes := map[string]int{}
		for _, r := range l.all() {
			codes[r.Outcome+" "+r.ErrorCode]++
		}
		if codes["ok "] != 2 || codes["client_gone "] != 1 || codes["overloaded overloaded"] != 1 || codes["overloaded no_target_available"] != 1 {
			t.Errorf("outcomes %v", codes)
		}
		l.close()
	})
}

// TestQueueMovesOn: who waited in vain goes to the fallback.
func TestQueueMovesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, strings.Replace(planePolicy, "one.test:9000/v1}", "one.test:9000/v1, concurrent: 1, queue: {max: 1, wait: 2s}}", 1))
		l.provider("one.test:9000", simulator.Options{Fault: func(*http.Request, string) string { return "headers-delay=10s" }})
		l.provider("two.test:9000", simulator.Options{})
		go l.plane.ask(chat(t, true, ""))
		synctest.Wait()
		a := l.plane.ask(chat(t, true, ""))
		if a.Status != 200 || a.Took != 2*time.Second || !bytes.Contains(a.Body, []byte("[simulated answer of b-up]")) {
			t.Errorf("%s after %v", a.String(), a.Took)
		}
		r := l.all()[0]
		if len(r.Attempts) != 2 || r.Attempts[0].Cause != "queue" || r.Attempts[0].Class != "capacity" || r.Attempts[0].UsageKind != llm.UsageNone {
			t.Errorf("attempts %+v", r.Attempts)
		}
		l.close()
	})
}

// TestMemory: bodies beyond the cap are shed, those that were taken on are served, and the heap stays near what was reckoned.
func TestMemory(t *testing.T) {
	const limit = 16 << 20
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, fmt.Sprintf(overloadPolicy, "", ", memory: 16M"))
		l.serve("one.test:9000", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(10 * time.Second) // virtual
			(&collapsing{}).ServeHTTP(w, r)
		}))
		before := heap()
		head := "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
		big := []byte(`{"model":"auto","messages":[{"role":"user","content":"` + strings.Repeat("x", 1<<20) + `"}]}`)
		statuses := map[int]int{}
		y := &tally{}
		for i := range 100 {
			y.wait.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Millisecond) // virtual
				c, err := l.net.Dial(context.Background(), "tcp", gatewayName)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				go func() { // a refusal comes before the body's end
					if i%2 == 0 {
						fmt.Fprintf(c, "%sContent-Length: %d\r\n\r\n", head, len(big))
						_, _ = c.Write(big)
						return
					}
					fmt.Fprintf(c, "%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", head, len(big), big)
				}()
				a := testkit.Receive(c, "POST")
				y.mu.Lock()
				defer y.mu.Unlock()
				statuses[a.Status]++
			})
		}
		time.Sleep(5 * time.Second) // virtual
		synctest.Wait()
		used, load := heap()-before, l.gateway.Load()
		y.wait.Wait()
		t.Logf("statuses %v; reckoned %d KiB, on the heap %d KiB", statuses, load.Bytes>>10, used>>10)
		if load.Bytes > limit || statuses[200] < 5 || statuses[503] < 50 || statuses[200]+statuses[503] != 100 {
			t.Errorf("statuses %v, load %+v", statuses, load)
		}
		if used > limit+limit/2 { // the clients of this test and the network hold a part of it
			t.Errorf("%d KiB on the heap", used>>10)
		}
		l.close()
	})
}

// heap is what is in use after a collection.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools held survives the first one
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestDisconnects: a thousand clients that leave at once free everything within 250 ms.
func TestDisconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, fmt.Sprintf(overloadPolicy, ", concurrent: 900, queue: {max: 200, wait: 1m}", ""))
		kinds := []string{"events=9,stall=3", "hang", "hang-after-headers", "headers-delay=1h"}
		var next atomic.Int64
		sim := l.provider("one.test:9000", simulator.Options{LogCalls: 2000, Fault: func(*http.Request, string) string { return kinds[next.Add(1)%int64(len(kinds))] }})
		y := &tally{}
		for i := range 1000 {
			r := chat(t, i%2 == 0, "!leave 5s\n")
			y.wait.Go(func() { y.add(l.plane.ask(r)) })
		}
		y.wait.Wait()
		time.Sleep(250 * time.Millisecond) // virtual
		synctest.Wait()
		if n, load := l.gateway.Inflight(), l.gateway.Load(); n != 0 || load.Bytes != 0 {
			t.Errorf("250 ms after they left: %d exchanges, load %+v", n, load)
		}
		for _, c := range sim.Log() {
			if c.Ending != simulator.ClientGone || c.Ended.Sub(c.Started) > 5250*time.Millisecond {
				t.Fatalf("an upstream request was not ended: %s after %v", c.Ending, c.Ended.Sub(c.Started))
			}
		}
		for _, r := range l.all() {
			if r.Outcome != "client_gone" {
				t.Fatalf("outcome %s", r.Outcome)
			}
		}
		if n := len(l.all()); n != 1000 {
			t.Errorf("%d records of 1000 exchanges", n)
		}
		for _, b := range l.gateway.Breakers() {
			if b.State != "closed" {
				t.Errorf("breaker %+v", b)
			}
		}
		l.close()
	})
}
