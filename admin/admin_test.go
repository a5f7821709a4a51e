package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/tenants"
)

const (
	pepper      = "canary-pepper"
	providerKey = "canary-provider-key"
)

func gateway(t *testing.T, more string, options ...func(*proxy.Options)) *proxy.Gateway {
	t.Helper()
	env := map[string]string{"PEPPER": pepper, "KEY": providerKey}
	p, ps := policies.LoadBytes("policy.yaml", []byte(`version: 1
providers:
  pool: {engine: vllm, endpoints: ["http://127.0.0.1:9", "http://127.0.0.1:10"], region: eu}
  out: {dialect: openai, base_url: https://llm.example.com/v1, keys: [{env: KEY}]}
models:
  small: {provider: pool, name: s}
  large: {provider: out, name: l}
routes:
  auto: {rules: [{use: [small, large]}]}
`+more), policies.Options{Env: func(k string) (string, bool) { v, ok := env[k]; return v, ok }})
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	o := proxy.Options{Router: router.New(router.Options{})}
	for _, set := range options {
		set(&o)
	}
	return proxy.NewGateway(p, o)
}

func handler(g *proxy.Gateway, failed *LoadError) http.Handler {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("the metrics")) })
	return Handler(Options{Gateway: g, Metrics: metrics, Version: "v9", Reload: func() *LoadError { return failed }})
}

func do(h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:8081"+path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestPaths(t *testing.T) {
	h := handler(gateway(t, ""), nil)
	for _, tc := range []struct {
		method, path string
		header       []string
		status       int
		body         string
	}{
		{"GET", "/livez", nil, 200, "ok"},
		{"GET", "/readyz", nil, 200, "ok"},
		{"HEAD", "/metrics", nil, 200, ""},
		{"GET", "/metrics", nil, 200, "the metrics"},
		{"POST", "/metrics", nil, 405, "GET"},
		{"GET", "/admin/drain", nil, 405, "POST"},
		{"GET", "/admin/usage", nil, 404, "no_ledger"},
		{"GET", "/admin/nothing", nil, 404, "unknown_path"},
		{"GET", "/v1/models", nil, 404, "unknown_path"},
		{"GET", "/debug/pprof/", nil, 200, "goroutine"},
		{"GET", "/debug/pprof/cmdline", nil, 200, ""},
		{"GET", "/admin/status", []string{"Host", "evil.example.com"}, 403, "localhost"},
		{"GET", "/admin/status", []string{"Host", "localhost:8081"}, 200, "v9"},
		{"GET", "/admin/status", []string{"Host", "[::1]:8081"}, 200, "v9"},
		{"POST", "/admin/drain", []string{"Origin", "https://evil.example.com"}, 403, ""},
		{"POST", "/admin/drain", []string{"Sec-Fetch-Site", "cross-site"}, 403, ""},
		{"GET", "/readyz", nil, 200, "ok"}, // no page could drain it
		{"POST", "/admin/drain", nil, 200, `"draining": true`},
		{"GET", "/readyz", nil, 503, "draining"},
		{"GET", "/livez", nil, 200, "ok"},
	} {
		w := do(h, tc.method, tc.path, tc.header...)
		if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.body) {
			t.Errorf("%s %s %v: %d %s", tc.method, tc.path, tc.header, w.Code, w.Body)
		}
	}
}

func TestRoles(t *testing.T) {
	keys, list := map[string]string{"none": "", "wrong": "nonsense"}, ""
	for _, role := range []string{"viewer", "operator", "admin"} {
		k, err := tenants.NewKey(role)
		if err != nil {
			t.Fatal(err)
		}
		keys[role] = k
		list += fmt.Sprintf("    - {id: %s, role: %s, hash: %q}\n", role, role, tenants.Hash(pepper, k))
	}
	client, err := tenants.NewKey("web")
	if err != nil {
		t.Fatal(err)
	}
	keys["client"] = client
	more := fmt.Sprintf("auth:\n  pepper: {env: PEPPER}\n  admin:\n%stenants: {acme: {keys: [{id: web, hash: %q}]}}\nserver: {admin: \"0.0.0.0:8081\", auth: required}\n", list, tenants.Hash(pepper, client))
	h := handler(gateway(t, more), &LoadError{Message: "the last error", File: "policy.yaml", Line: 14, Column: 7, At: time.Unix(0, 0).UTC()})
	for _, tc := range []struct {
		method, path                                 string
		none, wrong, client, viewer, operator, admin int
	}{
		{"GET", "/livez", 200, 200, 200, 200, 200, 200},
		{"GET", "/readyz", 200, 200, 200, 200, 200, 200},
		{"GET", "/metrics", 401, 401, 401, 200, 200, 200},
		{"GET", "/admin/status", 401, 401, 401, 200, 200, 200},
		{"GET", "/admin/keys", 401, 401, 401, 200, 200, 200},
		{"GET", "/admin/usage", 401, 401, 401, 404, 404, 404},
		{"GET", "/nothing", 401, 401, 401, 404, 404, 404},
		{"GET", "/debug/pprof/", 401, 401, 401, 403, 403, 200},
		{"POST", "/admin/cache/purge", 401, 401, 401, 403, 200, 200},
		{"POST", "/admin/drain", 401, 401, 401, 403, 200, 200},
	} {
		for who, want := range map[string]int{"none": tc.none, "wrong": tc.wrong, "client": tc.client, "viewer": tc.viewer, "operator": tc.operator, "admin": tc.admin} {
			header := []string{"Host", "gateway.internal"}
			if keys[who] != "" {
				header = append(header, "Authorization", "Bearer "+keys[who])
			}
			w := do(h, tc.method, tc.path, header...)
			if w.Code != want {
				t.Errorf("%s %s as %s: %d, want %d: %s", tc.method, tc.path, who, w.Code, want, w.Body)
			}
			secrets := []string{pepper, providerKey, "hmac-sha256"}
			for _, k := range keys {
				if k != "" {
					secrets = append(secrets, k)
				}
			}
			for _, s := range secrets {
				if strings.Contains(w.Body.String(), s) {
					t.Errorf("%s %s as %s shows %q: %s", tc.method, tc.path, who, s, w.Body)
				}
			}
		}
	}
	var got struct {
		Version string
		Policy  struct {
			File, Hash string
			LastError  LoadError `json:"last_error"`
		}
		Providers map[string]struct {
			Kind        string
			Endpoints   []struct{ URL, State string }
			Healthy     int
			Credentials int
		}
		Breakers  []any
		Envoys    []any
		Exchanges struct{ InFlight, Total int }
	}
	w := do(h, "GET", "/admin/status", "Authorization", "Bearer "+keys["viewer"])
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Version != "v9" || got.Policy.LastError.Line != 14 || len(got.Policy.Hash) != 16 || got.Breakers == nil || got.Envoys == nil {
		t.Errorf("status %+v", got)
	}
	if p := got.Providers["pool"]; p.Kind != "own" || len(p.Endpoints) != 2 || p.Healthy != 2 || p.Endpoints[0].State != "unknown" {
		t.Errorf("pool %+v", p)
	}
	if p := got.Providers["out"]; p.Kind != "external" || p.Credentials != 1 {
		t.Errorf("out %+v", p)
	}
}
