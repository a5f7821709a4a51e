//go:build real

package e2e

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/simulator"
)

const loadPolicy = `version: 1
providers:
  p: {dialect: openai, base_url: "http://%s/v1"}
models:
  m: {provider: p, name: m, context: 20M}
  hang: {provider: p, name: "hang+fault=hang"}
  cut: {provider: p, name: "cut+fault=cut=6,delay=5ms"}
  stall: {provider: p, name: "stall+fault=stall=25"}
routes:
  direct: {carrier: envoy, rules: [{use: [m]}]}
  direct-hang: {carrier: envoy, rules: [{use: [hang]}]}
  direct-cut: {carrier: envoy, rules: [{use: [cut]}]}
  direct-stall: {carrier: envoy, rules: [{use: [stall]}]}
  by-hand: {rules: [{use: [m]}]}
  by-hand-hang: {rules: [{use: [hang]}]}
  by-hand-cut: {rules: [{use: [cut]}]}
  by-hand-stall: {rules: [{use: [stall]}]}
` + server

// bothRoutes are loadPolicy's, with who carries.
var bothRoutes = []struct{ route, carrier string }{{"direct", "envoy"}, {"by-hand", "executor"}}

// TestEnvoyBodies: bodies of every size come to the provider to the byte, announced and chunked; one that is too large gets a JSON 413.
func TestEnvoyBodies(t *testing.T) {
	t.Parallel()
	sim, addr := provider(t, simulator.Options{LogCalls: 10})
	f := behindEnvoy(t, fmt.Sprintf(loadPolicy, addr))
	c := newClient(t)
	for _, r := range bothRoutes {
		for _, size := range []int{32 << 10, 1 << 20, 20 << 20, 33 << 20} {
			for _, chunked := range []bool{false, true} {
				body := chatBody(r.route, strings.Repeat("a", size), false, "")
				asked := len(calls(sim))
				var src io.Reader = strings.NewReader(body)
				if chunked {
					src = io.MultiReader(src)
				}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.URL+"/chat/completions", src)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				resp, err := c.Do(req)
				if err != nil {
					t.Errorf("%s %d chunked=%t: %v", r.route, size, chunked, err)
					continue
				}
				a := rest(resp)
				if size > 32<<20 {
					if a.status != http.StatusRequestEntityTooLarge || a.mistake() != nil || a.code(t) != "request_too_large" || len(calls(sim)) != asked {
						t.Errorf("%s %d chunked=%t: %v, %d asked", r.route, size, chunked, a, len(calls(sim))-asked)
					}
					continue
				}
				if err := a.complete(); err != nil {
					t.Errorf("%s %d chunked=%t: %v", r.route, size, chunked, err)
					continue
				}
				all := calls(sim)
				last := all[len(all)-1]
				if want := int64(len(body) - len(r.route) + len("m")); last.Size != want {
					t.Errorf("%s: the provider got %d bytes of %d", r.route, last.Size, want)
				}
				carriedBy(t, f.Gateway, a, r.carrier)
			}
		}
	}
}

// TestEnvoyManyStreams holds 2,000 streams open at once, a half by each carrier, and loses none.
func TestEnvoyManyStreams(t *testing.T) {
	const n = 2000
	sim, addr, gate := gated(t, simulator.Options{LogCalls: n + 10})
	f := behindEnvoy(t, fmt.Sprintf(loadPolicy, addr))
	c := newClient(t)
	var wg sync.WaitGroup
	answers := make(chan *answer, n)
	for i := range int64(n) {
		if i%100 == 0 { // all at once would be a storm, and on a slow machine the stage's limit its end
			gate.await(t, i)
		}
		wg.Go(func() {
			answers <- patient(t.Context(), c, f.Gateway, chatBody(bothRoutes[i%2].route, "hi", true, ""))
		})
	}
	gate.await(t, n)
	if open := f.Status(t).Exchanges.InFlight; open != n {
		t.Errorf("%d are open at once", open)
	}
	close(gate.open)
	wg.Wait()
	lost := 0
	for range n {
		if a := <-answers; a.complete() != nil {
			if lost++; lost < 5 {
				t.Errorf("a stream was lost: %v", a)
			}
		}
	}
	if lost > 0 || len(calls(sim)) != n {
		t.Errorf("%d lost, %d asked", lost, len(calls(sim)))
	}
	harness.Poll(t, "nothing open", func() error {
		if n := f.Status(t).Exchanges.InFlight; n != 0 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
}

// TestEnvoyKeepsItsLogs: what ends while the gateway is stopped is accounted for when it goes on, to the last stream.
func TestEnvoyKeepsItsLogs(t *testing.T) {
	const n = 500
	sim, addr, gate := gated(t, simulator.Options{LogCalls: n})
	f := behindEnvoy(t, fmt.Sprintf(loadPolicy, addr))
	t.Cleanup(func() { f.Signal(t, syscall.SIGCONT) })
	c := newClient(t)
	var begun []*http.Response
	for range n {
		resp, err := post(t.Context(), c, f.Gateway, chatBody("direct", "hi", true, ""))
		if err != nil {
			t.Fatal(err)
		}
		begun = append(begun, resp)
	}
	f.Pause(t)
	close(gate.open)
	for _, resp := range begun {
		if err := rest(resp).complete(); err != nil {
			t.Error(err)
		}
	}
	f.Signal(t, syscall.SIGCONT)
	for _, r := range f.records(t, n) {
		if r.Text("usage") != "reported" || r.Text("outcome") != "ok" {
			t.Errorf("%v", r)
		}
	}
	if len(calls(sim)) != n {
		t.Errorf("%d asked", len(calls(sim)))
	}
}

// TestEnvoyEndings: the record tells a client that left from a provider that broke off, whoever carries.
func TestEnvoyEndings(t *testing.T) {
	for _, r := range bothRoutes {
		t.Run(r.carrier, func(t *testing.T) {
			t.Parallel()
			sim, addr, gate := gated(t, simulator.Options{LogCalls: 100})
			f := behindEnvoy(t, fmt.Sprintf(loadPolicy, addr))
			c := newClient(t)
			ended := func(what, id, outcome string) {
				rec := f.Exchange(t, id)
				if rec.Text("outcome") != outcome || rec.Text("carried") != r.carrier || outcome == "client_gone" && rec.Number("attempts") != 1 {
					t.Errorf("%s: %v", what, rec)
				}
			}
			at := func(ending simulator.Ending) {
				harness.Poll(t, "the provider's word", func() error {
					if all := calls(sim); len(all) == 0 || all[len(all)-1].Ending != ending {
						return fmt.Errorf("%v", all)
					}
					return nil
				})
			}

			ctx, cancel := context.WithCancel(t.Context())
			resp, err := post(ctx, c, f.Gateway, chatBody(r.route+"-stall", "hi", true, ""))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(resp.Body, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			cancel()
			_ = resp.Body.Close()
			ended("the client left in the middle", resp.Header.Get("X-Sluice-Request-Id"), "client_gone")
			at(simulator.ClientGone)

			w := dial(t, f.Gateway)
			w.send(chatBody(r.route+"-hang", "hi", false, ""))
			at(simulator.Open)
			_ = w.conn.Close()
			at(simulator.ClientGone)
			harness.Poll(t, "the record of a client that left before the answer", func() error {
				if all := f.Err.Records("exchange"); len(all) != 2 || all[1].Text("outcome") != "client_gone" {
					return fmt.Errorf("%v", all)
				}
				return nil
			})

			resp, err = post(t.Context(), c, f.Gateway, chatBody(r.route+"-cut", "hi", true, ""))
			if err != nil {
				t.Fatal(err)
			}
			close(gate.open) // the client has the head
			a := rest(resp)
			if a.complete() == nil || a.status != http.StatusOK {
				t.Errorf("%v, want a broken stream", a)
			}
			ended("the provider broke off", a.id(), "interrupted")
		})
	}
}

// TestEnvoyKeepsTheOnlyHost: a model that always breaks off does not take its provider's only host from the other models.
func TestEnvoyKeepsTheOnlyHost(t *testing.T) {
	t.Parallel()
	_, addr := provider(t, simulator.Options{})
	f := behindEnvoy(t, fmt.Sprintf(loadPolicy, addr))
	c := newClient(t)
	for range 20 {
		if a := chat(t.Context(), c, f.Gateway, chatBody("direct-cut", "hi", true, "")); a.complete() == nil {
			t.Errorf("a stream that was cut: %v", a)
		}
	}
	for range 3 {
		a := chat(t.Context(), c, f.Gateway, chatBody("direct", "hi", true, ""))
		if err := a.complete(); err != nil {
			t.Error(err)
		}
		carriedBy(t, f.Gateway, a, "envoy")
	}
}

var askedFor = regexp.MustCompile(`question (\d+)\b`)

// TestEnvoyUsage holds 5,000 mixed requests against what the provider counted: what is reported is equal one by one, what is estimated is known and
// close in sum.
func TestEnvoyUsage(t *testing.T) {
	const n = 5000
	sim, addr := provider(t, simulator.Options{LogCalls: 2 * n})
	f := behindEnvoy(t, fmt.Sprintf(loadPolicy, addr))
	c := newClient(t)
	ids := make([]string, n)
	var wg sync.WaitGroup
	next := make(chan int)
	var mu sync.Mutex
	failed := map[string]int{}
	for range 8 {
		wg.Go(func() {
			for k := range next {
				id, err := mixedRequest(t, c, f.Gateway, k)
				if ids[k] = id; err != nil {
					mu.Lock()
					failed[err.Error()]++
					mu.Unlock()
				}
			}
		})
	}
	for k := range n {
		next <- k
	}
	close(next)
	wg.Wait()
	for err, times := range failed {
		t.Errorf("%d times: %s", times, err)
	}
	records := map[string]harness.Record{}
	harness.Poll(t, "every record", func() error {
		for _, r := range f.Err.Records("exchange") {
			records[r.Text("id")] = r
		}
		if len(records) != n {
			return fmt.Errorf("%d of %d", len(records), n)
		}
		return nil
	})
	counted := map[int]simulator.Call{}
	for _, call := range calls(sim) {
		m := askedFor.FindSubmatch(call.Body)
		if m == nil {
			t.Fatalf("a call of nobody: %s", call.Body)
		}
		k, _ := strconv.Atoi(string(m[1])) // digits by the expression
		counted[k] = call
	}
	kinds := map[string]int{}
	var estimated, real float64
	for k, id := range ids {
		r, call := records[id], counted[k]
		kind := r.Text("usage")
		kinds[r.Text("carried")+" "+kind+" "+r.Text("outcome")]++
		if r == nil {
			t.Fatalf("request %d has no record (%s)", k, id)
		}
		in, out := r.Number("tokens_in"), r.Number("tokens_out")
		switch kind {
		case "reported":
			if in != float64(call.TokensIn) || out != float64(call.TokensOut) || call.Ending != simulator.Completed {
				t.Errorf("request %d: reported %v and %v, the provider counted %d and %d: %v", k, in, out, call.TokensIn, call.TokensOut, r)
			}
		case "estimated":
			estimated, real = estimated+in+out, real+float64(call.TokensIn+call.TokensOut)
			if call.Ending == simulator.Completed && r.Text("outcome") == "ok" {
				t.Errorf("request %d was whole and is estimated: %v", k, r)
			}
		default: // a stream that broke off before its head had left Envoy is an error, and of an error a client has no usage
			if r.Number("status") != http.StatusBadGateway || r.Text("error") != "upstream_failed" || call.Ending != simulator.Cut {
				t.Errorf("request %d has usage %q: %v", k, kind, r)
			}
		}
	}
	t.Logf("%v; estimated %.0f of %.0f tokens", kinds, estimated, real)
	if off := math.Abs(estimated-real) / real; off > 0.05 {
		t.Errorf("estimates are %.1f %% off", 100*off)
	}
}

// mixedRequest makes the k-th request of its kind and returns its id.
func mixedRequest(t *testing.T, c *http.Client, g *harness.Gateway, k int) (string, error) {
	r := bothRoutes[k%2]
	prompt := fmt.Sprintf("question %d ", k) + strings.Repeat("word ", 8*(k%97)) // up to a page: what was asked outweighs what came before a break
	switch k / 2 % 10 {
	case 0, 1, 2:
		a := chat(t.Context(), c, g, chatBody(r.route, prompt, false, ""))
		return a.id(), a.complete()
	case 3, 4, 5:
		a := chat(t.Context(), c, g, chatBody(r.route, prompt, true, ""))
		return a.id(), a.complete()
	case 6, 7:
		a := chat(t.Context(), c, g, chatBody(r.route, prompt, true, `,"stream_options":{"include_usage":true}`))
		return a.id(), a.complete()
	case 8: // the provider breaks off
		a := chat(t.Context(), c, g, chatBody(r.route+"-cut", prompt, true, ""))
		if a.complete() == nil || a.status != http.StatusOK && (a.status != http.StatusBadGateway || a.mistake() != nil) {
			return a.id(), fmt.Errorf("a stream that was cut: %v", a)
		}
		return a.id(), nil
	default: // the client leaves
		resp, err := post(t.Context(), c, g, chatBody(r.route+"-stall", prompt, true, ""))
		if err != nil {
			return "", err
		}
		_, err = io.ReadFull(resp.Body, make([]byte, 3000))
		_ = resp.Body.Close()
		return resp.Header.Get("X-Sluice-Request-Id"), err
	}
}
