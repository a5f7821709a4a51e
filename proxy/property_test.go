package proxy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-gateway/sluice/internal/testkit"
	"github.com/sluice-gateway/sluice/telemetry"
)

// scenario is a random policy with random requests and upstreams, and what must hold of them, reckoned apart from the code under test.
type scenario struct {
	policy   string
	hosts    map[string]string // host -> provider
	up       []string          // hosts that accept connections
	answers  []string          // kinds of answers, used in turn
	requests []asked
	total    int // attempts.total
}

// asked is one request and what it may reach.
type asked struct {
	script  string
	allowed map[string]bool // providers
	most    int             // upstream requests
}

type drawnProvider struct {
	name, region string
	own          bool
	models       []string
}

type drawnBoundary struct {
	when string
	only []string // nil = own
}

// holds is what the boundary says of a request, from its definition alone.
func (b *drawnBoundary) holds(private bool) bool {
	switch b.when {
	case whenPrivate:
		return private
	case whenNever:
		return false
	}
	return true // always, and what cannot be evaluated
}

const (
	whenPrivate = `req.headers["x-data-class"] == "private"`
	whenNever   = `req.headers["x-data-class"] == "never"`
	whenError   = `int(req.headers["x-data-class"]) == 1`
)

func drawScenario(t *rapid.T) *scenario {
	s := &scenario{hosts: map[string]string{}}
	var b strings.Builder
	b.WriteString("version: 1\nserver: {auth: required}\nauth: {pepper: {env: SLUICE_PEPPER}}\nproviders:\n")
	var ps []drawnProvider
	for i := range rapid.IntRange(2, 4).Draw(t, "providers") {
		p := drawnProvider{name: fmt.Sprintf("p%d", i), own: i == 0 || rapid.Bool().Draw(t, "own"), region: rapid.SampledFrom([]string{"", "eu", "us"}).Draw(t, "region")}
		s.provider(t, &b, &p)
		for j := range rapid.IntRange(1, 2).Draw(t, "models") {
			p.models = append(p.models, fmt.Sprintf("m%d%d", i, j))
		}
		ps = append(ps, p)
	}
	b.WriteString("models:\n")
	var models []string
	for _, p := range ps {
		for _, m := range p.models {
			models = append(models, m)
			fmt.Fprintf(&b, "  %s: {provider: %s, name: %s-up, context: 8k}\n", m, p.name, m)
		}
	}
	tiers := drawTiers(t, &b, models)
	bounds := drawBoundaries(t, &b, ps)
	residency := rapid.SampledFrom([]string{"", "eu"}).Draw(t, "residency")
	s.route(t, &b, tiers, models, residency)
	pass := rapid.SampledFrom(ps).Draw(t, "passthrough")
	fmt.Fprintf(&b, "passthrough: {/v1/files: %s}\n", pass.name)
	fmt.Fprintf(&b, "tenants:\n  acme:\n    keys:\n      - {id: web, hash: %q, models: [%s]}\n", webHash, strings.Join(models, ", "))
	s.policy = b.String()
	s.answers = rapid.SliceOfN(rapid.SampledFrom(answerKinds), 1, 8).Draw(t, "answers")
	for range rapid.IntRange(1, 4).Draw(t, "requests") {
		s.requests = append(s.requests, s.request(t, ps, bounds, models, residency))
	}
	return s
}

func (s *scenario) provider(t *rapid.T, b *strings.Builder, p *drawnProvider) {
	region := ""
	if p.region != "" {
		region = ", region: " + p.region
	}
	hosts := []string{p.name + ".test:9000"}
	if p.own {
		if rapid.Bool().Draw(t, "two endpoints") {
			hosts = append(hosts, p.name+"b.test:9000")
		}
		engine := rapid.SampledFrom([]string{"vllm", "llamacpp", "ollama"}).Draw(t, "engine")
		fmt.Fprintf(b, "  %s: {engine: %s, endpoints: [http://%s]%s}\n", p.name, engine, strings.Join(hosts, ", http://"), region)
	} else {
		keys := rapid.SampledFrom([]string{"[{env: A}]", "[{env: A}, {env: B}]"}).Draw(t, "keys")
		fmt.Fprintf(b, "  %s: {dialect: openai, base_url: http://%s/v1, keys: %s%s}\n", p.name, hosts[0], keys, region)
	}
	for _, h := range hosts {
		s.hosts[h] = p.name
		if rapid.IntRange(0, 4).Draw(t, "up") > 0 {
			s.up = append(s.up, h)
		}
	}
}

func drawTiers(t *rapid.T, b *strings.Builder, models []string) []string {
	b.WriteString("tiers:\n")
	left, names := models, []string(nil)
	for i := 0; len(left) > 0; i++ {
		n := rapid.IntRange(1, len(left)).Draw(t, "tier size")
		names = append(names, fmt.Sprintf("t%d", i))
		fmt.Fprintf(b, "  - {name: t%d, models: [%s]}\n", i, strings.Join(left[:n], ", "))
		left = left[n:]
	}
	return names
}

func drawBoundaries(t *rapid.T, b *strings.Builder, ps []drawnProvider) []drawnBoundary {
	var bounds []drawnBoundary
	for i := range rapid.IntRange(0, 2).Draw(t, "boundaries") {
		d := drawnBoundary{when: rapid.SampledFrom([]string{"", whenPrivate, whenPrivate, whenNever, whenError}).Draw(t, "when")}
		only := "own"
		if rapid.Bool().Draw(t, "named") {
			for _, p := range ps {
				if rapid.Bool().Draw(t, p.name) {
					d.only = append(d.only, p.name)
				}
			}
			if d.only != nil {
				only = "[" + strings.Join(d.only, ", ") + "]"
			}
		}
		if i == 0 {
			b.WriteString("boundaries:\n")
		}
		fmt.Fprintf(b, "  - {name: b%d, only: %s", i, only)
		if d.when != "" {
			fmt.Fprintf(b, ", when: '%s'", d.when)
		}
		b.WriteString("}\n")
		bounds = append(bounds, d)
	}
	return bounds
}

func (s *scenario) route(t *rapid.T, b *strings.Builder, tiers, models []string, residency string) {
	b.WriteString("routes:\n  auto:\n    rules:\n")
	use := func() string {
		switch rapid.IntRange(0, 2).Draw(t, "use") {
		case 0:
			return "by_gain"
		case 1:
			return rapid.SampledFrom(tiers).Draw(t, "tier")
		}
		return "[" + strings.Join(rapid.SliceOfNDistinct(rapid.SampledFrom(models), 1, len(models), rapid.ID[string]).Draw(t, "list"), ", ") + "]"
	}
	if rapid.Bool().Draw(t, "first rule") {
		fmt.Fprintf(b, "      - {when: 'req.stream', use: %s}\n", use())
	}
	fmt.Fprintf(b, "      - {use: %s}\n", use())
	fall := rapid.Permutation([]string{"same_tier", "stronger", "weaker"}).Draw(t, "fallback")[:rapid.IntRange(1, 3).Draw(t, "fallbacks")]
	s.total = rapid.IntRange(1, 6).Draw(t, "total")
	per := rapid.IntRange(1, min(3, s.total)).Draw(t, "per model")
	fmt.Fprintf(b, "    fallback: [%s]\n    attempts: {per_model: %d, total: %d}\n", strings.Join(fall, ", "), per, s.total)
	b.WriteString("    timeouts: {headers: 10s, first_token: 10s, idle: 20s, answer: 60s, total: 95s}\n")
	if residency != "" {
		fmt.Fprintf(b, "    residency: [%s]\n", residency)
	}
}

func (s *scenario) request(t *rapid.T, ps []drawnProvider, bounds []drawnBoundary, models []string, residency string) asked {
	private := rapid.Bool().Draw(t, "private")
	model, direct := "auto", false
	if rapid.IntRange(0, 3).Draw(t, "direct") == 0 {
		model, direct = rapid.SampledFrom(models).Draw(t, "model"), true
	}
	shape := rapid.SampledFrom([]string{"unary", "unary", "stream", "stream", "responses", "form", "files", "embeddings"}).Draw(t, "shape")
	a := asked{most: s.total, allowed: map[string]bool{}}
	if direct {
		a.most, residency = 4, ""
	}
	if shape == "files" {
		a.most, residency = 1, ""
	}
	for _, p := range ps {
		ok := residency == "" || p.region == residency
		for _, b := range bounds {
			if b.holds(private) && !(b.only == nil && p.own || slices.Contains(b.only, p.name)) {
				ok = false
			}
		}
		a.allowed[p.name] = ok
	}
	head := "Authorization: Bearer " + webKey + "\n"
	if private {
		head += "X-Data-Class: private\n"
	}
	var lead string
	if leave := rapid.IntRange(-8, 4).Draw(t, "leave"); leave > 0 {
		lead = fmt.Sprintf("!leave %v\n", time.Duration(leave)*7*time.Second+500*time.Millisecond)
	}
	a.script = lead + shapes(shape, model, head)
	return a
}

// shapes writes a request.
func shapes(shape, model, head string) string {
	json := "Content-Type: application/json\n" + head + "\n"
	switch shape {
	case "unary":
		return "POST /v1/chat/completions\n" + json + `{"model":"` + model + `","messages":[{"role":"user","content":"hi"}]}` + "\n"
	case "stream":
		return "POST /v1/chat/completions\n" + json + `{"model":"` + model + `","stream":true,"messages":[{"role":"user","content":"hi"}]}` + "\n"
	case "responses":
		return "POST /v1/responses\n" + json + `{"model":"` + model + `","input":"hi"}` + "\n"
	case "embeddings":
		return "POST /v1/embeddings\n" + json + `{"model":"` + model + `","input":"hi"}` + "\n"
	case "form":
		return "POST /v1/audio/transcriptions\nContent-Type: multipart/form-data; boundary=XX\n" + head + "\n!crlf\n--XX\nContent-Disposition: form-data; name=\"model\"\n\n" + model + "\n--XX--\n"
	}
	return "GET /v1/files\n" + head + "\n"
}

const (
	webKey  = "slc_web_LLBJuDEZrG6JdLCeGVXB8G6DwyuWW3QrjkNxyZVCGTC3Yk5Nr"
	webHash = "hmac-sha256:96c26b34bc3e8fe63c72b5db52545ab8bb507cbe3d1025b36e814898c7f8a45b"
)

// answerKinds are what an upstream may do.
var answerKinds = []string{"ok", "ok", "429 1", "429 60", "500", "503", "401", "400", "context", "hang", "reset", "html", "empty", "error-event", "cut-early", "cut", "stall", "garbage"}

// say makes an answer of a kind that suits what was asked.
func say(kind string, r *testkit.Seen) string {
	stream := strings.Contains(string(r.Body), `"stream":true`)
	const json = "HTTP/1.1 200 OK\nContent-Type: application/json\n\n"
	const sse = "HTTP/1.1 200 OK\nContent-Type: text/event-stream\n\n"
	const first = `data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n"
	const text = `data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}` + "\n\n"
	const last = `data: {"id":"c","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n"
	code, arg, _ := strings.Cut(kind, " ")
	if r.Method == "GET" && code == "reset" {
		code = "cut" // net/http may send a GET once more when a kept connection breaks before the head; the played plane keeps none
	}
	switch code {
	case "429":
		return "HTTP/1.1 429 Too Many Requests\nContent-Type: application/json\nRetry-After: " + arg + "\n\n{\"error\":{\"message\":\"slow down\"}}\n"
	case "400", "401", "500", "503":
		return "HTTP/1.1 " + code + " X\nContent-Type: application/json\n\n{\"error\":{\"message\":\"no\",\"type\":\"x\"}}\n"
	case "context":
		return "HTTP/1.1 400 X\nContent-Type: application/json\n\n{\"error\":{\"message\":\"too long\",\"code\":\"context_length_exceeded\"}}\n"
	case "hang":
		return "!hang\n"
	case "reset":
		return "!reset\n"
	case "html":
		return "HTTP/1.1 200 OK\nContent-Type: text/html\n\n<html>\n"
	}
	if !stream {
		return unarySay(code, r.Target, json)
	}
	switch code {
	case "empty":
		return sse
	case "error-event":
		return sse + "data: {\"error\":{\"message\":\"no\",\"code\":500}}\n\n"
	case "cut-early":
		return sse + first + "!cut\n"
	case "cut":
		return sse + first + text + "!cut\n"
	case "stall":
		return sse + first + text + "!delay 15s\n: ping\n\n!hang\n"
	case "garbage":
		return sse + first + text + "data: {oops\n\n" + last
	}
	return sse + first + text + "!delay 3s\n" + last
}

func unarySay(code, target, json string) string {
	switch code {
	case "empty":
		return json
	case "cut", "cut-early":
		return json + "{\"id\":\"c\"\n!cut\n"
	case "stall":
		return json + "{\"id\":\"c\"\n!hang\n"
	case "garbage", "error-event":
		return json + "{\"id\":oops}\n"
	}
	switch {
	case strings.HasSuffix(target, "/embeddings"):
		return json + `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1]}],"usage":{"prompt_tokens":1,"total_tokens":1}}` + "\n"
	case strings.HasSuffix(target, "/completions"):
		return json + `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}` + "\n"
	}
	return json + "{\"id\":\"r\",\"text\":\"hello\"}\n"
}

// run plays the scenario through a plane and returns what it showed and what it broke.
func (s *scenario) run(t *testing.T, d driver, cut int) (shown testkit.Sections, broken []string) {
	w := newWorld(t, []byte(s.policy), cut)
	ups := testkit.NewUpstreams(w.net)
	next := 0
	ups.Serve(func(r *testkit.Seen) string {
		kind := s.answers[next%len(s.answers)]
		next++
		return say(kind, r)
	}, s.up...)
	plane := d.open(w)
	tr := &testkit.Transcript{}
	var answers []testkit.Answer
	var starts []time.Time
	var records []*telemetry.Record
	seen := 0
	for i, a := range s.requests {
		r, err := testkit.ParseRequest([]byte(a.script))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // virtual: so that each upstream request belongs to one of ours
		starts = append(starts, time.Now())
		answers = append(answers, plane.ask(r))
		records = w.settled(i + 1)
		for _, b := range testkit.Broken(&answers[i], records[i]) {
			broken = append(broken, fmt.Sprintf("request %d: %s", i+1, b))
		}
		asked := ups.Seen()[seen:]
		seen += len(asked)
		if len(asked) > a.most {
			broken = append(broken, fmt.Sprintf("request %d: %d upstream requests, the plan allows %d", i+1, len(asked), a.most))
		}
		for _, u := range asked {
			if p := s.hosts[u.Host]; !a.allowed[p] {
				broken = append(broken, fmt.Sprintf("request %d: %s got a request across a boundary", i+1, p))
			}
		}
	}
	plane.close()
	w.net.Close()
	ups.Wait()
	broken = append(broken, ups.Faults()...)
	if len(records) != len(s.requests) {
		broken = append(broken, fmt.Sprintf("%d records of %d requests", len(records), len(s.requests)))
	}
	for _, p := range w.gateway.Pools().Pools() {
		if f := p.Facts(); f.Inflight != 0 || f.Tokens != 0 {
			broken = append(broken, fmt.Sprintf("a pool's counters end at %d requests, %d tokens", f.Inflight, f.Tokens))
		}
	}
	return tr.Report(starts, answers, records, ups.Seen()), broken
}

// TestBoundariesHold runs random policies, requests and failures: nothing crosses a boundary, every request has one outcome and one record, no
// plan is exceeded, no counter leaks, and both planes show the same.
func TestBoundariesHold(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := drawScenario(rt)
		var first testkit.Sections
		for i, d := range drivers {
			cut := rapid.SampledFrom(d.cuts).Draw(rt, "cut")
			var got testkit.Sections
			var broken []string
			synctest.Test(t, func(t *testing.T) { got, broken = s.run(t, d, cut) })
			if len(broken) > 0 {
				rt.Fatalf("%s: %s\n%s", d.name, strings.Join(broken, "\n"), s.policy)
			}
			if i == 0 {
				first = got
			} else if diff := first.Diff(got); diff != "" {
				rt.Fatalf("%s differs from %s: %s\n%s", d.name, drivers[0].name, diff, s.policy)
			}
		}
	})
}
