package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/tenants"
)

// world is an admin listener with a key of each role, and an audit log.
type world struct {
	http.Handler
	gateway *proxy.Gateway
	log     *bytes.Buffer
	dir     string
	keys    map[string]string // admin keys by role
	web     string            // the tenant's key that the policy declares
	book    func() *tenants.Book
}

// find says whose a key is, or why it is refused.
func (w *world) find(key string) string {
	k, err := w.book().Authenticate(http.Header{"X-Api-Key": {key}}, time.Now())
	if err != nil {
		return err.Code
	}
	return k.Tenant.Name + "/" + k.ID
}

func (w *world) key(t *testing.T, key string) *policies.Key {
	t.Helper()
	k, err := w.book().Authenticate(http.Header{"X-Api-Key": {key}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newWorld(t *testing.T, options ...func(*proxy.Options)) *world {
	t.Helper()
	w := &world{log: new(bytes.Buffer), dir: t.TempDir(), keys: map[string]string{}}
	mint := func(id string) (key, hash string) {
		key, err := tenants.NewKey(id)
		if err != nil {
			t.Fatal(err)
		}
		return key, tenants.Hash(pepper, key)
	}
	var admins []string
	for _, role := range []string{"viewer", "operator", "admin"} {
		key, hash := mint(role)
		w.keys[role] = key
		admins = append(admins, fmt.Sprintf("{id: %s, role: %s, hash: %q}", role, role, hash))
	}
	var hash string
	w.web, hash = mint("web")
	_, gone := mint("gone")
	g := gateway(t, fmt.Sprintf(`auth: {pepper: {env: PEPPER}, admin: [%s]}
tenants:
  acme: {budget: {usd: 5, per: day}, keys: [{id: web, hash: %q, routes: [auto], labels: {team: blue}, budget: {usd: 1}}, {id: gone, hash: %q, expires: 2020-01-01}]}
  other: {}
`, strings.Join(admins, ", "), hash, gone), options...)
	audit, err := OpenAudit(w.dir, slog.New(slog.NewTextHandler(w.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = audit.Close() })
	w.Handler = Handler(Options{Gateway: g, Metrics: http.NotFoundHandler(), Audit: audit})
	w.gateway = g
	w.book = func() *tenants.Book { return g.Snapshot().Book }
	return w
}

func (w *world) do(role, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:8081"+path, strings.NewReader(body))
	if role != "" {
		r.Header.Set("Authorization", "Bearer "+w.keys[role])
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec
}

func keyOf(t *testing.T, r *httptest.ResponseRecorder) string {
	t.Helper()
	var got struct{ Key string }
	if err := json.Unmarshal(r.Body.Bytes(), &got); err != nil || r.Code != http.StatusCreated || got.Key == "" {
		t.Fatalf("%d %s", r.Code, r.Body)
	}
	return got.Key
}

func TestKeysLife(t *testing.T) {
	w := newWorld(t)
	made := keyOf(t, w.do("admin", "POST", "/admin/keys", `{"tenant":"acme","id":"batch","routes":["auto"],"models":["large"],"labels":{"a":"b"},"expires":"2999-01-01"}`))
	if got := w.find(made); got != "acme/batch" {
		t.Errorf("a new key is %s", got)
	}
	old := w.web
	w.web = keyOf(t, w.do("admin", "POST", "/admin/keys/acme/web/rotate", `{"overlap":"1h"}`))
	if w.find(old) != "acme/web" || w.find(w.web) != "acme/web" {
		t.Error("both are good while they overlap")
	}
	last := keyOf(t, w.do("admin", "POST", "/admin/keys/acme/web/rotate", `{"overlap":"0s"}`))
	if w.find(old) != "invalid_api_key" || w.find(w.web) != "invalid_api_key" || w.find(last) != "acme/web" {
		t.Errorf("%s %s %s", w.find(old), w.find(w.web), w.find(last))
	}
	if r := w.do("admin", "DELETE", "/admin/keys/acme/batch", ""); r.Code != http.StatusOK || w.find(made) != "invalid_api_key" {
		t.Errorf("%d, %s", r.Code, w.find(made))
	}
	again := keyOf(t, w.do("admin", "POST", "/admin/keys", `{"tenant":"acme","id":"batch"}`))
	if w.find(again) != "acme/batch" || w.find(made) != "invalid_api_key" {
		t.Error("an id that is free again brought an old key back")
	}
	if r := w.do("admin", "DELETE", "/admin/keys/acme/web", ""); r.Code != http.StatusOK || w.find(last) != "invalid_api_key" || w.find(old) != "invalid_api_key" {
		t.Errorf("%d", r.Code)
	}
	list := w.do("viewer", "GET", "/admin/keys", "").Body.String()
	for _, want := range []string{`"batch"`, `"store"`, `"policy"`, `"revoked": true`} {
		if !strings.Contains(list, want) {
			t.Errorf("no %s in %s", want, list)
		}
	}
	for _, secret := range []string{made, again, last, pepper, "hmac-sha256"} {
		if strings.Contains(list, secret) || strings.Contains(w.log.String(), secret) {
			t.Errorf("a secret is shown: %s", secret)
		}
	}
}

func TestKeysRefuse(t *testing.T) {
	w := newWorld(t)
	for _, tc := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"POST", "/admin/keys", `{"tenant":"acme","id":"web"}`, 409, "key_taken"},
		{"POST", "/admin/keys", `{"tenant":"nobody","id":"web"}`, 404, "tenant_not_found"},
		{"POST", "/admin/keys", `{"tenant":"acme","id":"a b"}`, 400, "invalid_id"},
		{"POST", "/admin/keys", `{"tenant":"acme","id":"x","routes":["nowhere"]}`, 400, "invalid_scope"},
		{"POST", "/admin/keys", `{"tenant":"acme","id":"x","expires":"soon"}`, 400, "invalid_expires"},
		{"POST", "/admin/keys", `{"tenant":"acme","id":"x","expires":"2020-01-01"}`, 400, "invalid_expires"},
		{"POST", "/admin/keys", `{"tenant":"acme","id":"-x"}`, 400, "invalid_id"},
		{"POST", "/admin/keys", `{"tenant":"acme","id":"x","role":"admin"}`, 400, "invalid_body"},
		{"POST", "/admin/keys", `{"tenant":"acme","id":"x","limits":{"requests":"many"}}`, 400, "invalid_quota"},
		{"POST", "/admin/keys", `{"tenant":"acme","id":"x","budget":{"per":"day"}}`, 400, "invalid_quota"},
		{"POST", "/admin/keys", `{"tenant":"acme","id":"x","budget":{"usd":1,"on_exceed":"lowest_tier"}}`, 400, "invalid_quota"},
		{"POST", "/admin/keys", `{"tenant":"acme","id":"x"}{}`, 400, "invalid_body"},
		{"POST", "/admin/keys", strings.Repeat("[", 1<<20), 400, "invalid_body"},
		{"POST", "/admin/keys/acme/web/rotate", `{"overlap":"-1h"}`, 400, "invalid_overlap"},
		{"POST", "/admin/keys/acme/none/rotate", ``, 404, "key_not_found"},
		{"POST", "/admin/keys/acme/gone/rotate", ``, 409, "key_expired"},
		{"DELETE", "/admin/keys/acme/none", ``, 404, "key_not_found"},
		{"DELETE", "/admin/keys/other/web", ``, 404, "key_not_found"},
		{"PUT", "/admin/keys", ``, 405, "method_not_allowed"},
	} {
		r := w.do("admin", tc.method, tc.path, tc.body)
		if r.Code != tc.status || !strings.Contains(r.Body.String(), `"`+tc.code+`"`) {
			t.Errorf("%s %s %.60s: %d %s", tc.method, tc.path, tc.body, r.Code, r.Body)
		}
	}
}

// Every endpoint needs its role, whatever is asked of it.
func TestEveryEndpointNeedsItsRole(t *testing.T) {
	w := newWorld(t)
	ranks := []string{"", "viewer", "operator", "admin"}
	for _, e := range (&server{o: Options{Metrics: http.NotFoundHandler()}}).endpoints() {
		for rank, role := range ranks {
			r := w.do(role, e.method, strings.NewReplacer("{tenant}", "acme", "{id}", "none").Replace(e.path), "")
			switch {
			case role == "" && r.Code != http.StatusUnauthorized,
				role != "" && tenants.Role(rank) < e.role && r.Code != http.StatusForbidden,
				role != "" && tenants.Role(rank) >= e.role && (r.Code == http.StatusForbidden || r.Code == http.StatusUnauthorized):
				t.Errorf("%s %s as %q: %d", e.method, e.path, role, r.Code)
			}
			if strings.HasPrefix(e.path, "/debug/pprof/") && rank == 2 {
				break // an admin would get a profile of half a minute
			}
		}
	}
}

func TestAudit(t *testing.T) {
	w := newWorld(t)
	w.do("admin", "POST", "/admin/keys", `{"tenant":"acme","id":"x"}`)
	w.do("viewer", "DELETE", "/admin/keys/acme/x", "")
	w.do("", "POST", "/admin/drain", "")
	w.do("viewer", "GET", "/admin/keys", "")
	w.do("admin", "DELETE", "/admin/keys/acme/%0aforged", "")
	b, err := os.ReadFile(filepath.Join(w.dir, auditFile))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(b)) {
		var e auditEntry
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Time.IsZero() {
			t.Fatalf("%q: %v", line, err)
		}
		got = append(got, fmt.Sprint(e.By, " ", e.Role, " ", e.Method, " ", e.Path, " ", e.Target, " ", e.Status))
	}
	want := []string{
		"admin admin POST /admin/keys acme/x 201",
		"viewer viewer DELETE /admin/keys/{tenant}/{id}  403",
		" none POST /admin/drain  401",
		"admin admin DELETE /admin/keys/{tenant}/{id} acme/? 404",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestBudgets(t *testing.T) {
	w := newWorld(t)
	var got struct {
		Budgets  []tenants.Account
		Degraded bool
	}
	r := w.do("viewer", "GET", "/admin/budgets", "")
	if err := json.Unmarshal(r.Body.Bytes(), &got); err != nil || r.Code != http.StatusOK {
		t.Fatalf("%d %s", r.Code, r.Body)
	}
	if len(got.Budgets) != 2 || got.Degraded {
		t.Fatalf("%s", r.Body)
	}
	a, k := got.Budgets[0], got.Budgets[1]
	if a.Of != "tenant" || a.Name != "acme" || a.Limit != 5e6 || a.Per != "day" || a.Exhausted || k.Of != "key" || k.Name != "acme/web" || k.Limit != 1e6 || k.Per != "month" {
		t.Errorf("%s", r.Body)
	}
}

// The document describes what there is: every endpoint but the profiles, and nothing else.
func TestOpenAPI(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]struct {
			Role      string `json:"x-role"`
			Responses map[string]any
		}
	}
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	want := []string{"get /livez ", "get /readyz "}
	for _, e := range (&server{o: Options{Metrics: http.NotFoundHandler()}}).endpoints() {
		if !strings.HasPrefix(e.path, "/debug/") {
			want = append(want, strings.ToLower(e.method)+" "+e.path+" "+e.role.String())
		}
	}
	var got []string
	for path, methods := range doc.Paths {
		for m, op := range methods {
			got = append(got, m+" "+path+" "+op.Role)
			if len(op.Responses) == 0 {
				t.Errorf("%s %s has no answer", m, path)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// A key of the store has the limits and the budget that it was made with, also after it was replaced.
func TestKeyQuotas(t *testing.T) {
	w := newWorld(t)
	made := keyOf(t, w.do("admin", "POST", "/admin/keys", `{"tenant":"acme","id":"batch","limits":{"requests":"7/m","concurrent":2},"budget":{"usd":1.5,"per":"day"}}`))
	next := keyOf(t, w.do("admin", "POST", "/admin/keys/acme/batch/rotate", ""))
	plain := keyOf(t, w.do("admin", "POST", "/admin/keys", `{"tenant":"acme","id":"plain","limits":null}`))
	for _, key := range []string{made, next} {
		k := w.key(t, key)
		if k.Limits == nil || *k.Limits != (policies.Limits{Requests: policies.Rate{Count: 7, Window: time.Minute}, Concurrent: 2}) || k.Budget == nil || k.Budget.MicroUSD != 1_500_000 || k.Budget.Per != "day" {
			t.Errorf("%+v %+v", k.Limits, k.Budget)
		}
	}
	if k := w.key(t, plain); k.Limits != nil || k.Budget != nil {
		t.Errorf("%+v %+v", k.Limits, k.Budget)
	}
	if list := w.do("viewer", "GET", "/admin/keys", "").Body.String(); !strings.Contains(list, `"7/m"`) || !strings.Contains(list, `"usd": 1.5`) {
		t.Error(list)
	}
	if budgets := w.do("viewer", "GET", "/admin/budgets", "").Body.String(); !strings.Contains(budgets, `"acme/batch"`) || !strings.Contains(budgets, "1500000") {
		t.Error(budgets)
	}
}

// The audit log says what was purged, by names of the policy only.
func TestPurgeIsAudited(t *testing.T) {
	w := newWorld(t)
	for _, tc := range []struct{ body, want string }{
		{`{}`, "everything"}, {`{"tenant":"acme","route":"auto"}`, "tenant=acme route=auto"}, {`{"tenant":"canary","model":"canary"}`, "tenant=? model=?"}, {`{"tenent":"acme"}`, ""},
	} {
		w.do("operator", "POST", "/admin/cache/purge", tc.body)
		b, err := os.ReadFile(filepath.Join(w.dir, auditFile))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		var e auditEntry
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &e); err != nil || e.Target != tc.want || e.By == "" {
			t.Errorf("%s: %s %v", tc.body, lines[len(lines)-1], err)
		}
	}
}
