package httpproxy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/proxy/httpproxy"
	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/telemetry"
	"github.com/sluice-gateway/sluice/tenants"
)

// wallPolicy has two tenants that share everything that they can: routes, models, the name of a conversation, questions. On the route shared the same model answers
// both, so that nothing but the tenant tells their recorded answers apart. Each has a route and limits of its own.
const wallPolicy = `version: 1
providers:
  pool: {engine: vllm, endpoints: ["UP"]}
  ext: {dialect: openai, base_url: "UP/v1"}
models:
  small: {provider: pool, name: small}
  big: {provider: ext, name: big, price: {in: 1, out: 10}}
  mini: {provider: pool, name: mini, can: [embeddings]}
tiers:
  - {name: cheap, models: [small]}
  - {name: strong, models: [big]}
routes:
  auto:
    rules: [{name: for alpha, when: 'key.labels["team"] == "alpha"', use: strong}, {name: else, use: cheap}]
    session: {header: x-session-id, sticky: 1h, direction: up}
    fallback: [same_tier]
    cache: {exact: 1h}
  shared: {rules: [{use: [big]}], cache: {exact: 1h, semantic: {model: mini, ttl: 1h, timeout: 1m}}, attempts: {total: 1}}
  route-of-alpha: {rules: [{use: strong}]}
  route-of-beta: {rules: [{use: cheap}]}
auth: {pepper: {env: PEPPER}}
server: {auth: required, headers: full}
tenants:
  alpha:
    keys: [{id: web, hash: "HASH-alpha", routes: [auto, shared, route-of-alpha], labels: {team: alpha}}]
    limits: {requests: 12/d}
    budget: {usd: 0.01}
  beta:
    keys: [{id: web, hash: "HASH-beta", routes: [auto, shared, route-of-beta], labels: {team: beta}}]
    limits: {requests: 40/d}
    budget: {usd: 1000}
`

// wall is two tenants at one gateway, and what each may see.
type wall struct {
	t       *rapid.T
	handler *httpproxy.Handler
	gateway *proxy.Gateway
	sink    *telemetry.Sink
	keys    map[string]string // by tenant
	left    map[string]int    // requests by their own count
	both    int               // how often both have asked at once
	seen    map[string]int    // what has happened at all, over every run

	mu     sync.Mutex
	asking string            // the tenant on whose behalf alone the upstream is asked now; "" = both
	owner  map[string]string // of each answer that the upstream has made, by its number: who had it first
	serial int
	meet   *meeting // where the upstream answers only when it is asked by both
	fail   bool     // the upstream fails, and says what it was asked
	emits  []string
}

// meeting holds an upstream's answers back until it is asked by both tenants. It is over too when one of them has an answer without the upstream's.
type meeting struct {
	coming atomic.Int32
	over   chan struct{}
	once   sync.Once
}

func (m *meeting) end() { m.once.Do(func() { close(m.over) }) }

func (m *meeting) come() {
	if m.coming.Add(-1) == 0 {
		m.end()
	}
	select {
	case <-m.over:
	case <-time.After(20 * time.Second): // one of them waits for the other's answer: it will be told apart by its number
	}
}

var others = map[string]string{"alpha": "beta", "beta": "alpha"}

// upstream answers with a serial number that nobody else's answer has, and repeats what it was asked.
func (w *wall) upstream(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	m := w.meet
	w.mu.Unlock()
	if m != nil && !strings.HasSuffix(r.URL.Path, "/embeddings") {
		m.come()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asking != "" && strings.Contains(string(body), "canary-"+others[w.asking]) {
		w.t.Errorf("asked for %s with %s", w.asking, body)
	}
	if strings.HasSuffix(r.URL.Path, "/embeddings") { // every question is as like as can be
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, `{"data":[{"embedding":[1,0]}],"usage":{"prompt_tokens":3}}`)
		return
	}
	w.serial++
	text := fmt.Sprintf("serial-%d-end", w.serial)
	if w.fail {
		rw.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(rw, `{"error":{"message":%q,"type":"invalid_request_error","code":"c"}}`, "bad: "+text+" "+string(body))
		return
	}
	if strings.Contains(string(body), `"stream":true`) {
		rw.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(rw, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q},\"finish_reason\":null}]}\n\n", text)
		_, _ = io.WriteString(rw, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(rw, `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}`, text)
}

// do asks on behalf of one tenant alone.
func (w *wall) do(tenant, method, path, body string) *httptest.ResponseRecorder {
	w.mu.Lock()
	w.asking = tenant
	w.mu.Unlock()
	rec := w.send(tenant, method, path, body)
	w.hold(tenant, rec)
	return rec
}

func (w *wall) send(tenant, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://sluice"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+w.keys[tenant])
	r.Header.Set("X-Session-Id", "the same conversation")
	r.Header.Set("User-Agent", "canary-"+tenant)
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec
}

// hold holds an answer against the wall: no canary, route or answer of the other's is in it.
func (w *wall) hold(tenant string, rec *httptest.ResponseRecorder) {
	text := fmt.Sprint(rec.Header(), rec.Body)
	for _, not := range []string{"canary-" + others[tenant], "route-of-" + others[tenant], "team-" + others[tenant]} {
		if strings.Contains(text, not) {
			w.t.Fatalf("%s sees %s: %s", tenant, not, text)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, part := range strings.Split(text, "serial-")[1:] {
		n, _, _ := strings.Cut(part, "-end")
		if w.owner[n] == "" {
			w.owner[n] = tenant
		}
		if w.owner[n] != tenant {
			w.t.Fatalf("%s got the answer %s of %s", tenant, n, w.owner[n])
		}
	}
	for _, r := range w.emits {
		if strings.Contains(r, "canary-") {
			w.t.Fatalf("a record holds a prompt: %s", r)
		}
	}
	w.emits = w.emits[:0]
	w.seen[fmt.Sprint(rec.Code)]++
	if rec.Code == http.StatusBadRequest && strings.Contains(text, "serial-") {
		w.seen["an upstream's error"]++
	}
	if rec.Header().Get("X-Sluice-Likeness") != "" {
		w.seen["a like question"]++
	}
	w.seen["cache "+rec.Header().Get("X-Sluice-Cache")]++
	if strings.Contains(rec.Header().Get("X-Sluice-Reason"), "session=kept") {
		w.seen["kept"]++
	}
}

// ask asks as a tenant and holds what its own history alone decides: its limit, its budget, its conversation's model.
func (w *wall) ask(t *rapid.T) {
	tenant := rapid.SampledFrom([]string{"alpha", "beta"}).Draw(t, "tenant")
	route := rapid.SampledFrom([]string{"auto", "shared"}).Draw(t, "route")
	said := rapid.SampledFrom([]string{"the same question", "please, the same question", "canary-" + tenant}).Draw(t, "said")
	stream := rapid.Bool().Draw(t, "stream")
	w.counts(tenant, route, w.do(tenant, "POST", "/v1/chat/completions", question(route, said, stream)))
}

func question(route, said string, stream bool) string {
	return fmt.Sprintf(`{"model":%q,"temperature":0,"max_tokens":20,"stream":%t,"messages":[{"role":"user","content":%q}]}`, route, stream, said)
}

// counts holds an answer to what the tenant itself has done.
func (w *wall) counts(tenant, route string, rec *httptest.ResponseRecorder) {
	if w.left[tenant] == 0 {
		if rec.Code != http.StatusTooManyRequests {
			w.t.Fatalf("%s is beyond its limit: %d %s", tenant, rec.Code, rec.Body)
		}
		return
	}
	w.left[tenant]--
	if got := rec.Header().Get("X-Ratelimit-Remaining-Requests"); got != fmt.Sprint(w.left[tenant]) {
		w.t.Fatalf("%s has %s left, by its own count %d: %d %s", tenant, got, w.left[tenant], rec.Code, rec.Body)
	}
	if tenant == "beta" && rec.Code != http.StatusOK && rec.Code != http.StatusBadRequest {
		w.t.Fatalf("beta has money and requests left: %d %s", rec.Code, rec.Body)
	}
	if m := rec.Header().Get("X-Sluice-Model"); route == "auto" && rec.Code == http.StatusOK && m != map[string]string{"alpha": "big", "beta": "small"}[tenant] {
		w.t.Fatalf("%s is answered by %s: %s", tenant, m, rec.Header().Get("X-Sluice-Reason"))
	}
}

// together has both ask the same at the same time, what nobody has asked before: each waits for its own answer.
func (w *wall) together(*rapid.T) {
	w.both++
	m := &meeting{over: make(chan struct{})}
	m.coming.Store(2)
	w.mu.Lock()
	w.asking, w.meet = "", m
	w.mu.Unlock()
	said := fmt.Sprint("both ask for the time ", w.both)
	tenants := [...]string{"alpha", "beta"}
	var answers [len(tenants)]*httptest.ResponseRecorder
	var wg sync.WaitGroup
	for i, tenant := range tenants {
		wg.Go(func() {
			answers[i] = w.send(tenant, "POST", "/v1/chat/completions", question("shared", said, false))
			m.end()
		})
	}
	wg.Wait()
	w.mu.Lock()
	w.meet = nil
	w.mu.Unlock()
	for i, tenant := range tenants {
		w.hold(tenant, answers[i])
		w.counts(tenant, "shared", answers[i])
	}
	if m.coming.Load() == 0 {
		w.seen["together"]++
	}
}

// metrics holds what the operator's page shows: names of the policy, nothing that a tenant has written.
func (w *wall) metrics(*rapid.T) {
	rec := httptest.NewRecorder()
	w.sink.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	page := rec.Body.String()
	for _, not := range []string{"canary-", "serial-", "same conversation", "same question", "nowhere", "slc_"} {
		if strings.Contains(page, not) {
			w.t.Fatalf("%q in the metrics:\n%s", not, page)
		}
	}
	if strings.Contains(page, `route="shared"`) {
		w.seen["metrics"]++
	}
}

func (w *wall) list(t *rapid.T) {
	tenant := rapid.SampledFrom([]string{"alpha", "beta"}).Draw(t, "tenant")
	if rec := w.do(tenant, "GET", "/v1/models", ""); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "route-of-"+tenant) {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
}

func (w *wall) trespass(t *rapid.T) {
	tenant := rapid.SampledFrom([]string{"alpha", "beta"}).Draw(t, "tenant")
	name := "route-of-" + others[tenant]
	got := w.do(tenant, "POST", "/v1/chat/completions", fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"x"}]}`, name))
	none := w.do(tenant, "POST", "/v1/chat/completions", `{"model":"nowhere","messages":[{"role":"user","content":"x"}]}`)
	if got.Code != http.StatusNotFound || got.Body.String() != none.Body.String() {
		t.Fatalf("another's route: %d %s; none: %s", got.Code, got.Body, none.Body)
	}
}

func (w *wall) toggle(t *rapid.T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = !w.fail
}

// rotate gives a tenant a new key; the old one is good no more, and the other's is untouched.
func (w *wall) rotate(t *rapid.T) {
	tenant := rapid.SampledFrom([]string{"alpha", "beta"}).Draw(t, "tenant")
	old := w.keys[tenant]
	key, err := w.gateway.Ring().Rotate(context.Background(), w.gateway.Snapshot().Policy, tenant, "web", 0, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.keys[tenant] = old
	if rec := w.do(tenant, "GET", "/v1/models", ""); rec.Code != http.StatusUnauthorized {
		t.Fatalf("a replaced key: %d", rec.Code)
	}
	w.keys[tenant] = key
}

// TestTenantWall lets two tenants do what they like in any order: no byte of one is at the other, and nothing that one does moves what the other gets.
func TestTenantWall(t *testing.T) {
	seen := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		w := &wall{t: rt, keys: map[string]string{}, left: map[string]int{"alpha": 12, "beta": 40}, owner: map[string]string{}, seen: seen}
		up := httptest.NewServer(http.HandlerFunc(w.upstream))
		defer up.Close()
		defer w.open(up.URL)()
		rt.Repeat(map[string]func(*rapid.T){"ask": w.ask, "ask again": w.ask, "ask once more": w.ask, "together": w.together, "list": w.list, "trespass": w.trespass,
			"break": w.toggle, "rotate": w.rotate, "metrics": w.metrics})
	})
	for _, what := range []string{"200", "404", "429", "an upstream's error", "cache hit", "a like question", "kept", "together", "metrics"} {
		if seen[what] == 0 {
			t.Errorf("%s has never been: %v", what, seen)
		}
	}
}

// open opens the gateway before the upstream. The function that it returns closes it.
func (w *wall) open(upstream string) func() {
	src := strings.ReplaceAll(wallPolicy, "UP", upstream)
	for tenant := range others {
		key, err := tenants.NewKey("web")
		if err != nil {
			w.t.Fatal(err)
		}
		w.keys[tenant] = key
		src = strings.ReplaceAll(src, "HASH-"+tenant, tenants.Hash("pepper", key))
	}
	p, ps := policies.LoadBytes("policy.yaml", []byte(src), policies.Options{Env: func(string) (string, bool) { return "pepper", true }})
	if len(ps) > 0 {
		w.t.Fatal(ps)
	}
	var err error
	if w.sink, err = telemetry.New(context.Background(), telemetry.Options{}); err != nil {
		w.t.Fatal(err)
	}
	w.gateway = proxy.NewGateway(p, proxy.Options{Router: router.New(router.Options{}), Emit: func(r *telemetry.Record) {
		w.sink.Emit(r)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.emits = append(w.emits, fmt.Sprintf("%+v", *r))
	}})
	w.handler = httpproxy.New(w.gateway, nil)
	return func() {
		w.handler.Close()
		_ = w.sink.Shutdown(context.Background()) // there is no collector
	}
}
