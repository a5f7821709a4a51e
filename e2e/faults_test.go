//go:build real

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/simulator"
)

// fault is a way to fail, and how the record and /metrics name it.
type fault struct {
	name, spec, class string
	asked             int // times that the faulty provider is asked before the plan moves on
}

// before are the faults that a client must not see: a transient failure is asked once more; silence, a lack of capacity and
// throttling without a near reset are not.
var before = []fault{
	{"429", "status=429", "throttle", 1},
	{"429, reset near", "status=429,retry-after=1", "throttle", 2},
	{"500", "status=500", "transient", 2},
	{"503", "status=503", "transient", 2},
	{"hang", "hang", "timeout", 1},
	{"hang after the head", "hang-after-headers", "timeout", 1},
	{"reset", "reset", "transient", 2},
	{"error event first", "error-event", "", 2},
	{"empty", "empty", "stream_broken", 2},
	{"html", "html", "stream_broken", 2},
	{"comments for ever", "comments,delay=10ms", "timeout", 1},
}

// after are the faults behind the second content event of a stream.
var after = []fault{
	{name: "cut", spec: "cut=2"},
	{name: "error event", spec: "error-event=2"},
	{name: "garbage", spec: "garbage=3"},
	{name: "silence", spec: "stall=2"},
	{name: "end without a finish", spec: "end=2"},
}

// faultPolicy gives each fault a provider, a model and a route of its own: what one does to breakers and credentials says nothing of the others.
// Each route falls back to the model good, which has time enough on a slow machine too.
func faultPolicy(addr string, faults []fault) string {
	var providers, models, routes strings.Builder
	for i, f := range faults {
		fmt.Fprintf(&providers, "  bad%d: {dialect: openai, base_url: \"http://%s/v1\"}\n", i, addr)
		fmt.Fprintf(&models, "  bad%d: {provider: bad%d, name: \"bad%d+fault=events=6,%s\"}\n", i, i, i, f.spec)
		fmt.Fprintf(&routes, "  route%d:\n    rules: [{use: [bad%d, good]}]\n    timeouts: {headers: 4s, first_token: 5s, idle: 4s, answer: 5s}\n", i, i)
	}
	return fmt.Sprintf("version: 1\nproviders:\n  good: {dialect: openai, base_url: \"http://%s/v1\"}\n%smodels:\n  good: {provider: good, name: good}\n%sroutes:\n%s",
		addr, providers.String(), models.String(), routes.String())
}

// TestFaultsBeforeTheFirstByte: whatever a provider does before it has said anything real, the client gets a whole answer from the next target,
// the provider is asked no more often than the plan says, and the record knows.
func TestFaultsBeforeTheFirstByte(t *testing.T) {
	t.Parallel()
	sim, addr := provider(t, simulator.Options{})
	for _, stream := range []bool{false, true} {
		g := serve(t, faultPolicy(addr, before)) // fresh breakers and credentials
		c := newClient(t)
		t.Run(map[bool]string{false: "json", true: "stream"}[stream], func(t *testing.T) {
			for i, f := range before {
				t.Run(f.name, func(t *testing.T) {
					t.Parallel()
					prompt := fmt.Sprintf("%s %t", f.name, stream)
					a := chat(t.Context(), c, g, chatBody(fmt.Sprintf("route%d", i), prompt, stream, ""))
					if err := a.complete(); err != nil {
						t.Fatal(err)
					}
					if text, _, _ := a.content(); !strings.Contains(text, "[simulated answer of good]") {
						t.Errorf("the answer is not the next target's: %q", text)
					}
					if got := a.header.Get("X-Sluice-Model"); got != "good" {
						t.Errorf("x-sluice-model %q, want good", got)
					}
					checkAsked(t, sim.Log(), prompt, f.asked)
					r := g.Exchange(t, a.id())
					if r.Text("outcome") != "ok" || r.Text("model") != "good" || int(r.Number("attempts")) != f.asked+1 {
						t.Errorf("record %v, want outcome ok, model good, %d attempts", r, f.asked+1)
					}
					bad := fmt.Sprintf(`provider="bad%d"`, i)
					if n := g.Metric(t, "sluice_attempts_total", bad); int(n) != f.asked {
						t.Errorf("%v attempts in /metrics, want %d", n, f.asked)
					}
					if n := g.Metric(t, "sluice_attempts_total", bad, fmt.Sprintf("class=%q", f.class)); f.class != "" && int(n) != f.asked {
						t.Errorf("%v attempts of class %s in /metrics, want %d", n, f.class, f.asked)
					}
				})
			}
		})
	}
}

// checkAsked counts the faulty provider's calls with the prompt.
func checkAsked(t *testing.T, calls []simulator.Call, prompt string, want int) {
	t.Helper()
	n := 0
	for _, c := range calls {
		if strings.HasPrefix(c.Model, "bad") && strings.Contains(string(c.Body), `"`+prompt+`"`) {
			n++
		}
	}
	if n != want {
		t.Errorf("the faulty provider was asked %d times, want %d", n, want)
	}
}

// TestFaultsAfterTheFirstByte: what was said stays said, then one error event, no [DONE], and a body that ends as HTTP bodies do.
func TestFaultsAfterTheFirstByte(t *testing.T) {
	t.Parallel()
	_, addr := provider(t, simulator.Options{})
	g := serve(t, faultPolicy(addr, after))
	c := newClient(t)
	for i, f := range after {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			a := chat(t.Context(), c, g, chatBody(fmt.Sprintf("route%d", i), f.name, true, ""))
			if a.status != http.StatusOK || a.err != nil {
				t.Fatalf("want a 200 that ends cleanly: %v", a)
			}
			text, whole, mistake := a.content()
			if text == "" || whole || mistake != "error stream_interrupted" {
				t.Errorf("text %q, whole %t, mistake %q; want text, and error stream_interrupted", text, whole, mistake)
			}
			body := string(a.body)
			if n := strings.Count(body, `"error"`); n != 1 {
				t.Errorf("%d error events, want 1:\n%s", n, body)
			}
			if strings.Contains(body, "[DONE]") || !strings.HasSuffix(body, "}\n\n") {
				t.Errorf("the stream must end with the error event:\n%s", body)
			}
			if r := g.Exchange(t, a.id()); r.Text("outcome") != "interrupted" {
				t.Errorf("record %v, want outcome interrupted", r)
			}
		})
	}
}

// TestPlanUsedUp: when nobody answers, the client gets one error in OpenAI's form with the status that fits.
func TestPlanUsedUp(t *testing.T) {
	t.Parallel()
	_, addr := provider(t, simulator.Options{})
	for _, tc := range []struct {
		spec, code string
		status     int
		limit      string
	}{
		{"status=500", "upstream_failed", 502, "1m"}, {"status=429", "rate_limit_exceeded", 429, "1m"}, {"hang", "upstream_timeout", 504, "500ms"}, {"status=401", "upstream_auth_failed", 502, "1m"},
	} {
		t.Run(tc.spec, func(t *testing.T) {
			t.Parallel()
			g := serve(t, fmt.Sprintf(`version: 1
providers:
  p: {dialect: openai, base_url: "http://%[1]s/v1"}
models:
  m: {provider: p, name: "m+fault=%[2]s"}
routes:
  r: {rules: [{use: [m]}], timeouts: {headers: %[3]s, first_token: %[3]s, answer: %[3]s}}
`, addr, tc.spec, tc.limit))
			for _, stream := range []bool{false, true} {
				a := chat(t.Context(), newClient(t), g, chatBody("r", "x", stream, ""))
				if a.status != tc.status || a.code(t) != tc.code {
					// The first failure may have opened a breaker or parked the credential: then the second answer says that.
					if !stream || a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
						t.Errorf("stream %t: %v, want %d %s", stream, a, tc.status, tc.code)
					}
				}
				g.Exchange(t, a.id())
			}
			harness.Poll(t, "no exchange in flight", func() error {
				if n := g.Status(t).Exchanges.InFlight; n != 0 {
					return fmt.Errorf("%d", n)
				}
				return nil
			})
		})
	}
}
