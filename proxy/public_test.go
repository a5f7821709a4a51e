package proxy_test

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/internal/simulator"
	"github.com/sluice-gateway/sluice/internal/testkit"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/telemetry"
)

// publicPolicy is a primary with a fault and a fallback, which speak with one voice: what a client gets must be that text, whoever says it.
const publicPolicy = `version: 1
providers:
  one: {dialect: openai, base_url: http://one.test:9000/v1}
  two: {dialect: openai, base_url: http://two.test:9000/v1}
models:
  main: {provider: one, name: "main", context: 8192}
  spare: {provider: two, name: "spare", context: 131072}
tiers: [{name: t, models: [main, spare]}]
routes:
  auto: {rules: [{use: t}], timeouts: {headers: 5s, first_token: 8s, idle: 8s, answer: 10s}}
`

// public is the lab of one fault of the suite.
type public struct {
	*lab
	main, spare *simulator.Server
}

func newPublic(t *testing.T, d driver, fault, fallback string) *public {
	return newPublicOf(t, d, publicPolicy, fault, fallback)
}

func newPublicOf(t *testing.T, d driver, policy, fault, fallback string) *public {
	l := newLabOf(t, policy, d)
	return &public{l, l.provider("one.test:9000", faulty(slower(fault))), l.provider("two.test:9000", faulty(slower(fallback)))}
}

// slower adds the suite's pace to each part of a spec.
func slower(spec string) string {
	parts := strings.Split(spec, ";")
	for i, p := range parts {
		parts[i] = simulator.Pace + "," + p
	}
	return strings.Join(parts, ";")
}

// faulty are options of a provider whose every call meets the fault.
func faulty(spec string) simulator.Options {
	return simulator.Options{Fault: func(*http.Request, string) string { return spec }, LogCalls: 10_000}
}

// whole is the text of an answer that nothing befell.
func whole(t *testing.T) (text string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPublic(t, drivers[0], "", "")
		a := p.plane.ask(chat(t, false, ""))
		text = read(t, &a).text
		p.close()
	})
	return text
}

// TestPublicFaults is the suite of the sixteen public faults, at their published timings, streaming and not, in both planes: each answer is whole and exactly the one that
// a healthy provider gives.
func TestPublicFaults(t *testing.T) {
	want := whole(t)
	for _, c := range []struct {
		name            string
		asked, fallback [2]int        // calls of primary and fallback: streaming, not
		from            time.Duration // the answer takes at least so long
		model           [2]string     // that answered, as the client is told
		rescued         bool          // a stream
	}{
		{"s01", [2]int{2, 2}, [2]int{0, 0}, 2 * time.Second, [2]string{"main", "main"}, false},
		{"s02", [2]int{1, 1}, [2]int{1, 1}, 0, [2]string{"spare", "spare"}, false},
		{"s03", [2]int{2, 2}, [2]int{0, 0}, 0, [2]string{"main", "main"}, false},
		{"s04", [2]int{2, 2}, [2]int{1, 1}, 0, [2]string{"spare", "spare"}, false},
		{"s05", [2]int{2, 2}, [2]int{0, 0}, 0, [2]string{"main", "main"}, false},
		{"s06", [2]int{1, 1}, [2]int{1, 1}, 5 * time.Second, [2]string{"spare", "spare"}, false},
		{"s07", [2]int{1, 1}, [2]int{1, 1}, 8 * time.Second, [2]string{"spare", "spare"}, false},
		{"s08", [2]int{2, 2}, [2]int{1, 1}, 0, [2]string{"main", "spare"}, true},
		{"s09", [2]int{1, 1}, [2]int{1, 1}, 8 * time.Second, [2]string{"main", "spare"}, true},
		{"s10", [2]int{2, 2}, [2]int{1, 1}, 0, [2]string{"main", "spare"}, true},
		{"s11", [2]int{1, 1}, [2]int{0, 0}, 0, [2]string{"main", "main"}, false},
		{"s12", [2]int{1, 1}, [2]int{1, 1}, 0, [2]string{"spare", "spare"}, false},
		{"s14", [2]int{2, 2}, [2]int{1, 1}, 0, [2]string{"main", "spare"}, true},
		{"s16", [2]int{2, 2}, [2]int{1, 1}, 0, [2]string{"spare", "spare"}, false},
	} {
		s := published(t, c.name)
		for k := range 4 {
			d, stream, k := drivers[k/2], k%2 == 0, k%2
			t.Run(fmt.Sprintf("%s %s, %s, stream %t", s.Name, s.Says, d.name, stream), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newPublic(t, d, s.Spec, s.Fallback)
					a := p.plane.ask(chat(t, stream, ""))
					r := p.settled(1)[0]
					got := read(t, &a)
					if a.Status != 200 || a.End != "" || got.text != want || got.finish != "stop" || !got.done || got.code != "" || r.Outcome != "ok" {
						t.Fatalf("no whole answer: %q finish %q done %t code %q, outcome %s\nwant %q\n%s", got.text, got.finish, got.done, got.code, r.Outcome, want, testkit.Record(r))
					}
					main, spare := p.main.Log(), p.spare.Log()
					if len(main) != c.asked[k] || len(spare) != c.fallback[k] {
						t.Errorf("the primary was asked %d times, the fallback %d times, want %d and %d\n%s", len(main), len(spare), c.asked[k], c.fallback[k], testkit.Record(r))
					}
					if n := simulator.Most(main, 1500*time.Millisecond); n > 2 {
						t.Errorf("%d primary attempts in 1.5 s", n)
					}
					if a.Took < c.from || a.Took >= 15*time.Second {
						t.Errorf("the answer took %v", a.Took)
					}
					if got.model != c.model[k] || len(got.models) != 1 {
						t.Errorf("the client is told the models %v, want %s", got.models, c.model[k])
					}
					if rescued := c.rescued && stream; got.rescued != rescued || r.Rescued != rescued {
						t.Errorf("rescued: comment %t, record %t, want %t", got.rescued, r.Rescued, rescued)
					}
					p.accounts(r, &got)
					p.close()
				})
			})
		}
	}
}

// accounts holds what the record says of money to what the providers say that they did.
func (p *public) accounts(r *telemetry.Record, got *said) {
	p.t.Helper()
	if n := len(p.main.Log()) + len(p.spare.Log()); n != len(r.Attempts) {
		p.t.Errorf("%d upstream requests, %d attempts in the record", n, len(r.Attempts))
	}
	i := 0
	calls := append(p.main.Log(), p.spare.Log()...)
	slices.SortStableFunc(calls, func(a, b simulator.Call) int { return a.Started.Compare(b.Started) })
	for _, c := range calls {
		a := &r.Attempts[i]
		i++
		if a.UsageKind == llm.UsageReported && (int64(a.Usage.Input) != int64(c.TokensIn) || int64(a.Usage.Output) != int64(c.TokensOut)) {
			p.t.Errorf("attempt %d: the record has %+v, the provider %d in and %d out", i, a.Usage, c.TokensIn, c.TokensOut)
		}
		if c.TokensOut == 0 && a.Usage.Output != 0 {
			p.t.Errorf("attempt %d is billed for %d tokens and made none", i, a.Usage.Output)
		}
	}
	if got.out >= 0 && got.out != 60 {
		p.t.Errorf("the client is told of %d tokens of 60", got.out)
	}
}

func published(t testing.TB, name string) simulator.Scenario {
	t.Helper()
	all := simulator.Scenarios()
	i := slices.IndexFunc(all, func(s simulator.Scenario) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("there is no scenario %s", name)
	}
	return all[i]
}

// TestPublicFilter: a content filter's verdict is the client's, with the provider's reason, and nobody else is asked.
func TestPublicFilter(t *testing.T) {
	for _, stream := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := newPublic(t, drivers[0], "s13", "")
			a := p.plane.ask(chat(t, stream, ""))
			if got := read(t, &a); a.Status != 400 || got.code != "content_filter" || !bytes.Contains(a.Body, []byte("triggering content management policy")) {
				t.Errorf("%s", a.String())
			}
			if len(p.main.Log()) != 1 || len(p.spare.Log()) != 0 {
				t.Errorf("the primary was asked %d times, the fallback %d times", len(p.main.Log()), len(p.spare.Log()))
			}
			p.close()
		})
	}
}

// TestPublicOutage is sixty seconds of 503 with twenty requests four seconds apart: each is answered, the primary is not hammered, and it has its traffic
// back within 30 s of its recovery.
func TestPublicOutage(t *testing.T) {
	want := whole(t)
	for _, stream := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := newPublic(t, drivers[0], "s15", "")
			start := time.Now()
			var back time.Duration
			for i := range 25 { // five more than published: to see the primary back
				if d := time.Until(start.Add(time.Duration(i) * 4 * time.Second)); d > 0 {
					time.Sleep(d) // virtual
				}
				at := time.Since(start)
				a := p.plane.ask(chat(t, stream, ""))
				got := read(t, &a)
				if a.Status != 200 || got.text != want || a.Took > 15*time.Second {
					t.Errorf("request %d: %s", i+1, a.String())
				}
				if got.model == "main" && back == 0 {
					back = at
				} else if got.model != "main" && back > 0 {
					t.Errorf("request %d: the fallback answers again at %v", i+1, at)
				}
			}
			main := p.main.Log()
			if n := simulator.Most(main, 1500*time.Millisecond); n > 2 {
				t.Errorf("%d primary attempts in 1.5 s", n)
			}
			if back < time.Minute || back > 90*time.Second {
				t.Errorf("the primary answers again after %v", back)
			}
			failed := 0
			for _, c := range main {
				if c.Status == 503 {
					failed++
				}
			}
			if failed > 12 {
				t.Errorf("%d attempts in a minute of outage", failed)
			}
			p.close()
		})
	}
}

// TestPublicProbes: under concurrent load an open breaker lets one probe through at a time.
func TestPublicProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublic(t, drivers[0], "status=503,for=60s,headers-delay=1s", "")
		y := p.offer(5, 90*time.Second, func(int) *testkit.Request { return chat(t, true, "") })
		if n := y.count(func(a *testkit.Answer) bool { return a.Status == 200 }); n != len(y.answers) {
			t.Errorf("%d of %d requests were answered", n, len(y.answers))
		}
		main := p.main.Log()
		opened := main[0].Started.Add(4 * time.Second) // what was on its way when the breaker opened has ended
		probes := 0
		for i, c := range main {
			if c.Status != 503 || c.Started.Before(opened) {
				continue
			}
			probes++
			for _, d := range main[i+1:] {
				if d.Started.Before(c.Ended) {
					t.Errorf("a second probe began %v after the first", d.Started.Sub(c.Started))
				}
			}
		}
		if probes < 2 || probes > 6 {
			t.Errorf("%d probes in a minute", probes)
		}
		p.close()
	})
}
