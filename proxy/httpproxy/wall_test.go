package httpproxy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
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

// wallPolicy has two tenants that share everything that they can: route, models, conversation's header. Each has a route and limits of its own.
const wallPolicy = `version: 1
providers:
  pool: {engine: vllm, endpoints: ["UP"]}
  ext: {dialect: openai, base_url: "UP/v1"}
models:
  small: {provider: pool, name: small}
  big: {provider: ext, name: big, price: {in: 1, out: 10}}
tiers:
  - {name: cheap, models: [small]}
  - {name: strong, models: [big]}
routes:
  auto:
    rules: [{name: for alpha, when: 'key.labels["team"] == "alpha"', use: strong}, {name: else, use: cheap}]
    session: {header: x-session-id, sticky: 1h, direction: up}
    fallback: [same_tier]
    cache: {exact: 1h}
  route-of-alpha: {rules: [{use: strong}]}
  route-of-beta: {rules: [{use: cheap}]}
auth: {pepper: {env: PEPPER}}
server: {auth: required, headers: full}
tenants:
  alpha:
    keys: [{id: web, hash: "HASH-alpha", routes: [auto, route-of-alpha], labels: {team: alpha}}]
    limits: {requests: 20/d}
    budget: {usd: 0.01}
  beta:
    keys: [{id: web, hash: "HASH-beta", routes: [auto, route-of-beta], labels: {team: beta}}]
    limits: {requests: 50/d}
    budget: {usd: 1000}
`

// wall is two tenants at one gateway, and what each may see.
type wall struct {
	t       *rapid.T
	handler *httpproxy.Handler
	gateway *proxy.Gateway
	keys    map[string]string // by tenant
	left    map[string]int    // requests by their own count

	mu     sync.Mutex
	asking string         // the tenant on whose behalf the upstream is asked now
	owner  map[int]string // of each answer that the upstream has made
	fail   bool           // the upstream fails, and says what it was asked
	emits  []string
}

var others = map[string]string{"alpha": "beta", "beta": "alpha"}

// upstream answers with a serial number that nobody else's answer has, and repeats what it was asked.
func (w *wall) upstream(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	defer w.mu.Unlock()
	if strings.Contains(string(body), "canary-"+others[w.asking]) {
		w.t.Errorf("asked for %s with %s", w.asking, body)
	}
	if w.fail {
		rw.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(rw, `{"error":{"message":%q,"type":"invalid_request_error","code":"c"}}`, "bad: "+string(body))
		return
	}
	n := len(w.owner)
	w.owner[n] = w.asking
	text := fmt.Sprintf("serial-%d-end", n)
	if strings.Contains(string(body), `"stream":true`) {
		rw.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(rw, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q},\"finish_reason\":null}]}\n\n", text)
		_, _ = io.WriteString(rw, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(rw, `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}`, text)
}

func (w *wall) do(tenant, method, path, body string) *httptest.ResponseRecorder {
	w.mu.Lock()
	w.asking = tenant
	w.mu.Unlock()
	r := httptest.NewRequest(method, "http://sluice"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+w.keys[tenant])
	r.Header.Set("X-Session-Id", "the same conversation")
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	w.hold(tenant, rec)
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
		digits, _, _ := strings.Cut(part, "-end")
		if n, err := strconv.Atoi(digits); err != nil || w.owner[n] != tenant {
			w.t.Fatalf("%s got the answer %q of %s", tenant, digits, w.owner[n])
		}
	}
	for _, r := range w.emits {
		if strings.Contains(r, "canary-") {
			w.t.Fatalf("a record holds a prompt: %s", r)
		}
	}
	w.emits = w.emits[:0]
}

// ask asks as a tenant and holds what its own history alone decides: its limit, its budget, its conversation's model.
func (w *wall) ask(t *rapid.T) {
	tenant := rapid.SampledFrom([]string{"alpha", "beta"}).Draw(t, "tenant")
	said := rapid.SampledFrom([]string{"the same question", "canary-" + tenant}).Draw(t, "said")
	stream := rapid.Bool().Draw(t, "stream")
	rec := w.do(tenant, "POST", "/v1/chat/completions", fmt.Sprintf(`{"model":"auto","temperature":0,"max_tokens":20,"stream":%t,"messages":[{"role":"user","content":%q}]}`, stream, said))
	if w.left[tenant] == 0 {
		if rec.Code != http.StatusTooManyRequests {
			t.Fatalf("%s is beyond its limit: %d %s", tenant, rec.Code, rec.Body)
		}
		return
	}
	w.left[tenant]--
	if got := rec.Header().Get("X-Ratelimit-Remaining-Requests"); got != fmt.Sprint(w.left[tenant]) {
		t.Fatalf("%s has %s left, by its own count %d: %d %s", tenant, got, w.left[tenant], rec.Code, rec.Body)
	}
	if tenant == "beta" && rec.Code != http.StatusOK && rec.Code != http.StatusBadRequest {
		t.Fatalf("beta has money and requests left: %d %s", rec.Code, rec.Body)
	}
	if m := rec.Header().Get("X-Sluice-Model"); rec.Code == http.StatusOK && m != map[string]string{"alpha": "big", "beta": "small"}[tenant] {
		t.Fatalf("%s is answered by %s: %s", tenant, m, rec.Header().Get("X-Sluice-Reason"))
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
	rapid.Check(t, func(rt *rapid.T) {
		w := &wall{t: rt, keys: map[string]string{}, left: map[string]int{"alpha": 20, "beta": 50}, owner: map[int]string{}}
		up := httptest.NewServer(http.HandlerFunc(w.upstream))
		defer up.Close()
		src := strings.ReplaceAll(wallPolicy, "UP", up.URL)
		for tenant := range others {
			key, err := tenants.NewKey("web")
			if err != nil {
				rt.Fatal(err)
			}
			w.keys[tenant] = key
			src = strings.ReplaceAll(src, "HASH-"+tenant, tenants.Hash("pepper", key))
		}
		p, ps := policies.LoadBytes("policy.yaml", []byte(src), policies.Options{Env: func(string) (string, bool) { return "pepper", true }})
		if len(ps) > 0 {
			rt.Fatal(ps)
		}
		w.gateway = proxy.NewGateway(p, proxy.Options{Router: router.New(router.Options{}), Emit: func(r *telemetry.Record) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.emits = append(w.emits, fmt.Sprintf("%+v", *r))
		}})
		w.handler = httpproxy.New(w.gateway, nil)
		defer w.handler.Close()
		rt.Repeat(map[string]func(*rapid.T){"ask": w.ask, "ask again": w.ask, "ask once more": w.ask, "list": w.list, "trespass": w.trespass, "break": w.toggle, "rotate": w.rotate})
	})
}
