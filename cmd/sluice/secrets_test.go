package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/sluice-gateway/sluice/tenants"
)

// planted are secrets and texts of clients, one for each place where one can stand. None may come out anywhere but where it belongs.
type planted map[string]string

func (p planted) plant(where string) string {
	p[where] = "canary-" + strings.ReplaceAll(where, " ", "-") + "-6f1c"
	return p[where]
}

// leaks returns the places whose text, as it is or as it may be written, is in out.
func (p planted) leaks(out []byte) (found []string) {
	for where, text := range p {
		for _, form := range []string{text, url.QueryEscape(text), base64.StdEncoding.EncodeToString([]byte(text))[:len(text)], base64.RawURLEncoding.EncodeToString([]byte(text))} {
			if bytes.Contains(out, []byte(form)) {
				found = append(found, where)
				break
			}
		}
	}
	return found
}

// post sends a request with a canary in every header and field that a client can fill.
func (r *running) post(p planted, key, body string, more map[string]string) string {
	req, err := http.NewRequest("POST", "http://"+r.addr.data.String()+"/v1/chat/completions?q="+p.plant("query"), strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, name := range []string{"User-Agent", "X-Session-Id", "X-Data-Class", "Cookie", "Referer", "Forwarded", "X-Forwarded-For", "Tracestate", "Traceparent", "X-Sluice-Tenant", "Openai-Organization"} {
		req.Header.Set(name, p.plant("header "+name))
	}
	for name, value := range more {
		req.Header.Set(name, value)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return fmt.Sprint(resp.StatusCode, resp.Header, string(b))
}

// TestSecretsStay plants a canary in every secret and every field of a client's requests, and looks for them in all that comes out: logs, metrics,
// admin answers, errors, the ledger, the audit log, what is kept on disk and in the shared store.
func TestSecretsStay(t *testing.T) {
	m := miniredis.RunT(t)
	p := planted{"provider key": canaryProviderKey, "pepper": canaryPepper}
	password := p.plant("redis password")
	m.RequireUserAuth("gateway", password)
	_, upstream := upstream(t)
	mint := func(id string) (key, hash string) {
		key, err := tenants.NewKey(id)
		if err != nil {
			t.Fatal(err)
		}
		hash = tenants.Hash(canaryPepper, key)
		p["key of "+id], p["hash of "+id] = key[len(key)-49:], hash[len("hmac-sha256:"):]
		return key, hash
	}
	web, hash := mint("web")
	admin, adminHash := mint("ops")
	dir := t.TempDir()
	r := serve(t, policyFor(upstream, "the rule", ", auth: required")+fmt.Sprintf(`auth: {pepper: {env: PEPPER}, admin: [{id: ops, role: admin, hash: %q}], oidc: [{issuer: "http://127.0.0.1:1", audience: sluice, tenant: claims.org}]}
tenants: {acme: {limits: {requests: 100/m}, budget: {usd: 5, unknown_price: warn}, keys: [{id: web, hash: %q}]}}
state: {path: %q, redis: {url: "redis://gateway:%s@%s/0", timeout: 5s}}
`, adminHash, hash, dir, password, m.Addr()))

	out := new(bytes.Buffer)
	manage := func(method, path, body string) string {
		req, err := http.NewRequest(method, "http://"+r.addr.admin.String()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+admin)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var made struct{ Key string }
	if err := json.Unmarshal([]byte(manage("POST", "/admin/keys", `{"tenant":"acme","id":"made"}`)), &made); err != nil || made.Key == "" {
		t.Fatalf("%+v %v", made, err)
	}
	p["a key that was made"] = made.Key[len(made.Key)-49:]

	body := fmt.Sprintf(`{"model":"auto","user":%q,"metadata":{"a":%q},"messages":[{"role":"system","content":%q},{"role":"user","content":%q}],"stop":[%q]}`,
		p.plant("user"), p.plant("metadata"), p.plant("system"), p.plant("prompt"), p.plant("stop"))
	for _, key := range []string{web, made.Key} {
		if answer := r.post(p, key, body, nil); !strings.HasPrefix(answer, "200") {
			t.Errorf("%s", answer) // the simulated provider may repeat the prompt: that is the client's own
		}
	}
	token := "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"http://127.0.0.1:1","org":"`+p.plant("claim")+`"}`)) + "." + p.plant("signature")
	out.WriteString(r.post(p, token, body, nil))
	out.WriteString(r.post(p, p.plant("junk key"), body, nil))
	out.WriteString(r.post(p, "", body, map[string]string{"X-Api-Key": p.plant("x-api-key")}))
	out.WriteString(r.post(p, web, strings.Replace(body, `"auto"`, `"`+p.plant("model")+`"`, 1), nil))
	out.WriteString(r.post(p, web, body+`{"trailing":"`+p.plant("trailing")+`"}`, nil))
	out.WriteString(r.post(p, web, `{"model":"auto","messages":"`+p.plant("wrong type")+`"}`, nil))
	for _, path := range []string{"/metrics", "/admin/status", "/admin/keys", "/admin/budgets", "/admin/usage?raw=1&format=jsonl", "/admin/openapi.json", "/nothing/" + "here"} {
		out.WriteString(manage("GET", path, ""))
	}
	out.WriteString(manage("POST", "/admin/keys", `{"tenant":"`+p.plant("tenant of a new key")+`","id":"x"}`))
	out.WriteString(manage("DELETE", "/admin/keys/"+p.plant("tenant in a path")+"%0a/"+p.plant("id in a path")+"%0a", ""))
	out.WriteString(manage("POST", "/admin/keys", `{"tenant":"acme","id":"`+p.plant("wrong id")+`."}`))
	r.signals <- syscall.SIGTERM
	if code := r.ended(); code != 0 {
		t.Errorf("exit %d", code)
	}
	out.WriteString(r.log.String())
	inStore := map[string]bool{"hash of web": true, "hash of ops": true} // that is what the store is for
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, where := range p.leaks(b) {
			if !inStore[where] {
				t.Errorf("%s is in %s", where, d.Name())
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, where := range p.leaks([]byte(m.Dump())) {
		if !inStore[where] {
			t.Errorf("%s is in the shared store", where)
		}
	}
	for _, where := range p.leaks(out.Bytes()) {
		t.Errorf("%s came out", where)
	}
	if !strings.Contains(out.String(), `"audit"`) || !strings.Contains(out.String(), "insufficient_quota") && !strings.Contains(out.String(), "sluice_exchanges_total") {
		t.Error("what was looked through is not all there")
	}
}
