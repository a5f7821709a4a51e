package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sluice-gateway/sluice/cache"
	"github.com/sluice-gateway/sluice/ledger"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/tenants"
)

// document is the OpenAPI file as answers are held against it.
type document struct {
	*jsonschema.Compiler
	Paths map[string]map[string]struct {
		RequestBody *struct{} `json:"requestBody"`
		Responses   map[string]struct {
			Ref     string `json:"$ref"`
			Content map[string]any
		}
	}
	seen map[string]bool // method, path and status
}

func openDocument(t *testing.T) *document {
	t.Helper()
	d := &document{Compiler: jsonschema.NewCompiler(), seen: map[string]bool{}}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPI))
	if err == nil {
		err = errors.Join(d.AddResource("openapi.json", doc), json.Unmarshal(openAPI, d))
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// at validates JSON by the schema at a place of the document.
func (d *document) at(place, text string) error {
	s, err := d.Compile("openapi.json#" + place)
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

func escaped(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(s)
}

// hold holds one answer against the document.
func (d *document) hold(method, path, body string, status int, kind, answer string) error {
	method = strings.ToLower(method)
	op, ok := d.Paths[path][method]
	if !ok {
		return errors.New("the path does not take the method")
	}
	code := strconv.Itoa(status)
	d.seen[method+" "+path+" "+code] = true
	r, ok := op.Responses[code]
	if !ok {
		return fmt.Errorf("the status is not there: %s", answer)
	}
	at := "/paths/" + escaped(path) + "/" + method
	if body != "" && (status < 300) {
		if err := d.at(at+"/requestBody/content/application~1json/schema", body); err != nil {
			return fmt.Errorf("the request is good, and not by the document: %w", err)
		}
	}
	kind, _, _ = strings.Cut(kind, ";")
	at += "/responses/" + code
	if r.Ref != "" {
		at = strings.TrimPrefix(r.Ref, "#")
		r.Content = map[string]any{"application/json": nil}
	}
	if _, ok := r.Content[kind]; !ok {
		return fmt.Errorf("answers as %s", kind)
	}
	if kind != "application/json" {
		return nil
	}
	return d.at(at+"/content/application~1json/schema", answer)
}

// away is a store of keys and budgets, and a cache's, that fails.
type away struct{}

var errAway = errors.New("away")

func (away) Charge(context.Context, *tenants.Charge) (*tenants.Receipt, error) { return nil, errAway }
func (away) Register(context.Context, string) (*tenants.Register, error)       { return nil, errAway }
func (away) Amend(context.Context, func(*tenants.Register) error) error        { return errAway }

type noCache struct{}

func (noCache) Load(context.Context, cache.Key) (cache.Found, error)          { return cache.Found{}, errAway }
func (noCache) Save(context.Context, cache.Key, []byte, time.Duration) error  { return errAway }
func (noCache) Purge(context.Context, cache.Filter) (at time.Time, err error) { return at, errAway }

// TestOpenAPIAnswers: what the listener answers is what the document says, and whatever the document lists is answered.
func TestOpenAPIAnswers(t *testing.T) {
	l, err := ledger.Open(t.TempDir(), func(_ int, err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "the metrics") })
	d, w := openDocument(t), newWorld(t)
	w.Handler = Handler(Options{Gateway: w.gateway, Metrics: metrics, Ledger: l})
	gone := newWorld(t, func(o *proxy.Options) { o.Store, o.Shared = away{}, noCache{} })
	defer gone.gateway.Close()
	for _, tc := range []struct {
		role, method, path, at, body string
		status                       int
		without                      bool // the state and the ledger
	}{
		{"", "GET", "/livez", "", "", 200, false},
		{"", "GET", "/readyz", "", "", 200, false},
		{"viewer", "GET", "/metrics", "", "", 200, false},
		{"viewer", "GET", "/admin/openapi.json", "", "", 200, false},
		{"viewer", "GET", "/admin/status", "", "", 200, false},
		{"admin", "POST", "/admin/keys", "", `{"tenant":"acme","id":"batch","routes":["auto"],"models":["large"],"labels":{"a":"b"},"expires":"2999-01-01","limits":{"requests":"7/m","tokens":"1k/s","concurrent":2},"budget":{"usd":1.5,"per":"day","zone":"UTC","on_exceed":"warn","unknown_price":"refuse"}}`, 201, false},
		{"admin", "POST", "/admin/keys", "", `{"tenant":"acme","id":"plain","routes":null,"limits":null}`, 201, false},
		{"admin", "POST", "/admin/keys", "", `{"tenant":"acme","id":"-x"}`, 400, false},
		{"admin", "POST", "/admin/keys", "", `{"tenant":"nobody","id":"x"}`, 404, false},
		{"admin", "POST", "/admin/keys", "", `{"tenant":"acme","id":"web"}`, 409, false},
		{"admin", "POST", "/admin/keys", "", `{"tenant":"acme","id":"x"}`, 503, true},
		{"admin", "POST", "/admin/keys/{tenant}/{id}/rotate", "acme/web", `{"overlap":"1h"}`, 201, false},
		{"admin", "POST", "/admin/keys/{tenant}/{id}/rotate", "acme/web", "", 201, false},
		{"admin", "POST", "/admin/keys/{tenant}/{id}/rotate", "acme/web", `{"overlap":"soon"}`, 400, false},
		{"admin", "POST", "/admin/keys/{tenant}/{id}/rotate", "acme/none", "", 404, false},
		{"admin", "POST", "/admin/keys/{tenant}/{id}/rotate", "acme/gone", "", 409, false},
		{"admin", "POST", "/admin/keys/{tenant}/{id}/rotate", "acme/web", "", 503, true},
		{"viewer", "GET", "/admin/keys", "", "", 200, false},
		{"viewer", "GET", "/admin/budgets", "", "", 200, false},
		{"viewer", "GET", "/admin/budgets", "", "", 503, true},
		{"admin", "DELETE", "/admin/keys/{tenant}/{id}", "acme/batch", "", 200, false},
		{"admin", "DELETE", "/admin/keys/{tenant}/{id}", "acme/batch", "", 404, false},
		{"admin", "DELETE", "/admin/keys/{tenant}/{id}", "acme/web", "", 503, true},
		{"viewer", "GET", "/admin/usage", "?by=tenant", "", 200, false},
		{"viewer", "GET", "/admin/usage", "?format=jsonl&raw=1&full=1&since=24h", "", 200, false},
		{"viewer", "GET", "/admin/usage", "?by=colour", "", 400, false},
		{"viewer", "GET", "/admin/usage", "", "", 404, true},
		{"operator", "POST", "/admin/cache/purge", "", `{"tenant":"acme","route":"auto","model":"large"}`, 200, false},
		{"operator", "POST", "/admin/cache/purge", "", "", 200, false},
		{"operator", "POST", "/admin/cache/purge", "", `{"tenent":"acme"}`, 400, false},
		{"operator", "POST", "/admin/cache/purge", "", `{}`, 503, true},
		{"operator", "POST", "/admin/drain", "", "", 200, false},
		{"", "GET", "/readyz", "", "", 503, false},
	} {
		path, query := tc.path, tc.at
		if tenant, id, ok := strings.Cut(tc.at, "/"); ok {
			path, query = strings.NewReplacer("{tenant}", tenant, "{id}", id).Replace(path), ""
		}
		from := w
		if tc.without {
			from = gone
		}
		r := from.do(tc.role, tc.method, path+query, tc.body)
		if err := d.hold(tc.method, tc.path, tc.body, r.Code, r.Header().Get("Content-Type"), r.Body.String()); err != nil || r.Code != tc.status {
			t.Errorf("%s %s%s %s: %d, want %d: %v", tc.method, path, query, tc.body, r.Code, tc.status, err)
		}
	}
	bare := handler(gateway(t, ""), nil)
	var listed []string
	for path, methods := range d.Paths {
		for method, op := range methods {
			method = strings.ToUpper(method)
			for status := range op.Responses {
				listed = append(listed, strings.ToLower(method)+" "+path+" "+status)
			}
			if op.Responses["401"].Ref == "" { // the health checks ask for no key
				continue
			}
			r := w.do("", method, path, "")
			if err := d.hold(method, path, "", r.Code, r.Header().Get("Content-Type"), r.Body.String()); err != nil || r.Code != http.StatusUnauthorized {
				t.Errorf("%s %s without a key: %d %v", method, path, r.Code, err)
			}
			for _, header := range [][]string{{"Host", "evil.example.com"}, {"Sec-Fetch-Site", "cross-site"}} {
				r := do(bare, method, path, header...)
				if header[0] != "Host" && method == "GET" {
					continue // a page may ask, and cannot read the answer
				}
				if err := d.hold(method, path, "", r.Code, r.Header().Get("Content-Type"), r.Body.String()); err != nil || r.Code != http.StatusForbidden {
					t.Errorf("%s %s with %v: %d %v", method, path, header, r.Code, err)
				}
			}
		}
	}
	slices.Sort(listed)
	if d := cmp.Diff(listed, slices.Sorted(maps.Keys(d.seen))); d != "" {
		t.Errorf("-listed +answered:\n%s", d)
	}
}
