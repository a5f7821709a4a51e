//go:build soak

package envoyplane

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/simulator"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/proxy/httpproxy"
	"github.com/sluice-gateway/sluice/router"
)

// bench is one fault's primary and fallback, and the route to them.
type bench struct {
	simulator.Scenario
	route       string
	main, spare *simulator.Server
}

// benches opens upstreams for every public fault, each twice (streaming and not), and writes the policy that routes to them.
func benches(t *testing.T) (all []*bench, policy string) {
	t.Helper()
	var ps, ms, rs strings.Builder
	for _, s := range append(simulator.Scenarios(), simulator.Scenario{Name: "s00"}) {
		if s.Name[0] != 's' {
			continue
		}
		for _, kind := range []string{"stream", "json"} {
			b := &bench{Scenario: s, route: s.Name + "-" + kind}
			open := func(spec string) (*simulator.Server, string) {
				sim := simulator.New(simulator.Options{Fault: func(*http.Request, string) string { return strings.Trim(simulator.Pace+","+spec, ",") }})
				web := httptest.NewServer(sim)
				t.Cleanup(web.Close)
				return sim, web.URL
			}
			var one, two string
			b.main, one = open(s.Spec)
			b.spare, two = open(s.Fallback)
			fmt.Fprintf(&ps, "  %s-one: {dialect: openai, base_url: %s/v1}\n  %s-two: {dialect: openai, base_url: %s/v1}\n", b.route, one, b.route, two)
			fmt.Fprintf(&ms, "  %s-main: {provider: %s-one, name: main, context: 8192}\n  %s-spare: {provider: %s-two, name: spare, context: 131072}\n", b.route, b.route, b.route, b.route)
			fmt.Fprintf(&rs, "  %s: {rules: [{use: [%s-main, %s-spare]}], timeouts: {headers: 5s, first_token: 8s, idle: 8s, answer: 10s}}\n", b.route, b.route, b.route)
			all = append(all, b)
		}
	}
	return all, "version: 1\nproviders:\n" + ps.String() + "models:\n" + ms.String() + "routes:\n" + rs.String()
}

// heard is an answer as a client reads it.
type heard struct {
	status               int
	text, model, code    string
	finished, done, told bool
	took                 time.Duration
}

func listen(url, route string, stream bool) (h heard, err error) {
	began := time.Now()
	resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(fmt.Sprintf(`{"model":%q,"stream":%t,"messages":[{"role":"user","content":"hi"}]}`, route, stream)))
	if err != nil {
		return h, err
	}
	defer resp.Body.Close()
	defer func() { h.took = time.Since(began) }()
	h.status = resp.StatusCode
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		b, err := io.ReadAll(resp.Body)
		h.done = true
		return h, errorsOf(err, h.event(b))
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case data == "[DONE]":
			h.done = true
		case ok:
			if err := h.event([]byte(data)); err != nil {
				return h, err
			}
		case strings.HasPrefix(lines.Text(), ": rescued"):
			h.told = true
		}
	}
	return h, lines.Err()
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *heard) event(data []byte) error {
	var v struct {
		Model   string
		Choices []struct {
			Message, Delta struct{ Content string }
			Finish         string `json:"finish_reason"`
		}
		Error *struct{ Code string }
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return fmt.Errorf("garbage %q: %w", data, err)
	}
	if v.Error != nil {
		h.code = v.Error.Code
		return nil
	}
	h.model = v.Model
	for _, c := range v.Choices {
		h.text += c.Message.Content + c.Delta.Content
		h.finished = h.finished || c.Finish != ""
	}
	return nil
}

// TestSoak is the suite of the sixteen public faults in real time, all at once, at their published timings, through a real Envoy (what the executor
// carries) and through the embedded plane.
func TestSoak(t *testing.T) {
	for _, plane := range []string{"embedded", "envoy"} {
		t.Run(plane, func(t *testing.T) {
			all, policy := benches(t)
			p := Compile(t, []byte(policy))
			url := ""
			if plane == "envoy" {
				url = Start(t, Options{Policy: p}).URL
			} else {
				h := httpproxy.New(proxy.NewGateway(p, proxy.Options{Router: router.New(router.Options{})}), nil)
				web := httptest.NewServer(h)
				t.Cleanup(web.Close)
				t.Cleanup(h.Close)
				url = web.URL
			}
			healthy := all[slices.IndexFunc(all, func(b *bench) bool { return b.Name == "s00" })]
			want, err := listen(url, healthy.route, true)
			if err != nil || len(want.text) < 100 {
				t.Fatalf("a healthy answer: %+v, %v", want, err)
			}
			var running sync.WaitGroup
			for _, b := range all {
				running.Go(func() { soak(t, b, url, want.text) })
			}
			running.Wait()
		})
	}
}

// soak plays one fault: three requests one after the other, or the twenty of an outage.
func soak(t *testing.T, b *bench, url, want string) {
	stream := strings.HasSuffix(b.route, "-stream")
	requests, apart := 3, 2*time.Second
	if b.Name == "s15" {
		requests, apart = 23, 4*time.Second
	}
	began, back := time.Now(), time.Duration(0)
	for i := range requests {
		time.Sleep(time.Until(began.Add(time.Duration(i) * apart)))
		at := time.Since(began)
		h, err := listen(url, b.route, stream)
		switch {
		case err != nil:
			t.Errorf("%s: %v", b.route, err)
		case b.Name == "s13":
			if h.status != 400 || h.code != "content_filter" || len(b.spare.Log()) != 0 {
				t.Errorf("%s: %+v, the fallback was asked %d times", b.route, h, len(b.spare.Log()))
			}
		case h.status != 200 || h.text != want || !h.finished || !h.done || h.code != "" || h.took > 15*time.Second:
			t.Errorf("%s: request %d: %+v", b.route, i+1, h)
		}
		if h.model == "main" && back == 0 {
			back = at
		}
	}
	if n := simulator.Most(b.main.Log(), 1500*time.Millisecond); n > 2 && b.Name != "s00" && b.Name != "s12" && b.Name != "s13" {
		t.Errorf("%s: %d primary attempts in 1.5 s", b.route, n)
	}
	if b.Name == "s15" && (back < time.Minute || back > 90*time.Second) {
		t.Errorf("%s: the primary answers again after %v", b.route, back)
	}
	t.Logf("%s: primary asked %d times, fallback %d times", b.route, len(b.main.Log()), len(b.spare.Log()))
}
