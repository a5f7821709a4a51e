package simulator

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// asked posts a chat request with a spec and returns the answer's status; 0 is a connection that broke before one.
func (r *rig) asked(spec string) int {
	r.t.Helper()
	return r.post("/v1/chat/completions", unstreamed, faultHeader, spec).status
}

// TestSchedules plays calls one second apart: each fault is in force for the calls that its schedule names.
func TestSchedules(t *testing.T) {
	for _, c := range []struct {
		spec string
		want []int
	}{
		{"status=500,once=2", []int{500, 500, 200, 200}},
		{"status=503,for=2s", []int{503, 503, 200, 200}},
		{"status=503,after=1s,for=2s", []int{200, 503, 503, 200, 200}},
		{"status=503,flap=2s", []int{503, 503, 200, 200, 503, 503, 200}},
		{"status=503,share=50", []int{200, 503, 200, 503, 200, 503}},
		{"status=500|502|503", []int{500, 502, 503, 500}},
		{"status=503,once=2;status=429,once;events=3", []int{503, 503, 429, 200, 200}},
		{"s03", []int{500, 200}},
		{"f11,once;status=404", []int{503, 503, 503, 0, 404}}, // a scenario's own parts are tried in turn
		{"f08-100", []int{500, 502, 503, 529, 500}},
	} {
		t.Run(c.spec, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := overPipes(t, Options{})
				r.client.Timeout = 100 * time.Millisecond
				for i, want := range c.want {
					if got := r.asked(c.spec); got != want {
						t.Errorf("call %d: status %d, want %d", i+1, got, want)
					}
					time.Sleep(time.Second - time.Duration(max(0, 1-min(want, 1)))*r.client.Timeout) // virtual
				}
			})
		})
	}
}

// TestShareIsEven holds a share to its number, spread over the calls.
func TestShareIsEven(t *testing.T) {
	r := overTCP(t, Options{})
	for range 2 {
		failed := 0
		for range 100 {
			if r.asked("status=503,share=7") == 503 {
				failed++
			}
		}
		if failed != 7 {
			t.Errorf("%d of 100 calls failed, want 7", failed)
		}
	}
}

// TestScenariosParse holds every scenario to the language, and its name to be no other word of it.
func TestScenariosParse(t *testing.T) {
	for _, s := range Scenarios() {
		for spec := range strings.SplitSeq(unfold(s.Name), ";") {
			if _, err := parseFault(spec); err != nil {
				t.Errorf("%s: %v", s.Name, err)
			}
		}
		if _, err := parseFault(s.Fallback); err != nil {
			t.Errorf("%s, fallback: %v", s.Name, err)
		}
		for _, row := range faultRows {
			if row.name == s.Name {
				t.Errorf("the scenario %s has the name of a word", s.Name)
			}
		}
	}
}

func prefilled(prefix string) string {
	return `{"model":"m","stream":true,"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"` + prefix + `"}]}`
}

// TestPrefill holds an assistant's message at the end to what the call's way with it is: the rest of the same text, the whole text, or a 400.
func TestPrefill(t *testing.T) {
	r := overTCP(t, Options{})
	whole := fold(t, r.post("/v1/chat/completions", streamed, faultHeader, "events=20")).text[0]
	for at := range whole {
		f := fold(t, r.post("/v1/chat/completions", prefilled(strings.ReplaceAll(whole[:at], `"`, `\"`)), faultHeader, "events=20"))
		if at > 0 && f.text[0] != whole[at:] {
			t.Fatalf("after %q: %q", whole[:at], f.text[0])
		}
	}
	if f := fold(t, r.post("/v1/chat/completions", prefilled("[sim"), faultHeader, "events=20,prefill=ignore")); f.text[0] != whole {
		t.Errorf("ignored: %q", f.text[0])
	}
	if a := r.post("/v1/chat/completions", prefilled("[sim"), faultHeader, "prefill=reject"); a.status != 400 || !strings.Contains(a.body, "prefill") {
		t.Errorf("rejected: %+v", a)
	}
	other := strings.Replace(streamed, `"m"`, `"n+fault=voice=m"`, 1)
	if f := fold(t, r.post("/v1/chat/completions", other, faultHeader, "events=20")); f.text[0] != whole {
		t.Errorf("another model with the same voice: %q", f.text[0])
	}
}

// TestRawFaults are the ones that an HTTP server would not let happen.
func TestRawFaults(t *testing.T) {
	r := overTCP(t, Options{})
	if a := r.post("/v1/chat/completions", unstreamed, faultHeader, "short-length"); a.err != nil || a.status != 200 || strings.HasSuffix(a.body, "}") {
		t.Errorf("short-length: %+v", a)
	}
	if a := r.post("/v1/chat/completions", streamed, faultHeader, "cut=3,torn"); a.err == nil || !strings.HasSuffix(a.body, "\xe2\x82") {
		t.Errorf("torn: %+v", a)
	}
	for spec, want := range map[string]string{"no-usage": `"total_tokens"`, "zero-usage": `"total_tokens":0`} {
		a := r.post("/v1/chat/completions", unstreamed, faultHeader, spec)
		if got := strings.Contains(a.body, want); got != (spec == "zero-usage") {
			t.Errorf("%s: %s", spec, a.body)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		r := overPipes(t, Options{})
		r.client.Timeout = time.Minute
		if a := r.post("/v1/chat/completions", streamed, faultHeader, "dribble=10s"); a.err == nil || a.status != 0 {
			t.Errorf("dribble: %+v", a)
		}
		synctest.Wait()
		if a := r.post("/v1/chat/completions", streamed, faultHeader, "drip=10s"); a.err == nil || a.status != 200 || len(a.body) < 5 || len(a.body) > 7 {
			t.Errorf("drip: %+v", a)
		}
	})
}

// TestTotals sums what the log holds.
func TestTotals(t *testing.T) {
	r := overTCP(t, Options{})
	r.asked("events=4")
	r.asked("status=503")
	r.asked("cut")
	got := r.do(t.Context(), "GET", "/_sim/totals", "").body
	want := `{"m":{"calls":3,"statuses":{"200":2,"503":1},"endings":{"completed":2,"cut":1},"tokens_in":`
	if !strings.HasPrefix(got, want) || r.sim.Totals()["m"].TokensOut < 4 {
		t.Errorf("%s\nwant %s", got, want)
	}
}
