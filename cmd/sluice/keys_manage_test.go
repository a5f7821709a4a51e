package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/tenants"
)

// Without a gateway running, keys are managed in its store: what was rotated and revoked there is so the next time anybody looks.
func TestKeysInStore(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "policy.yaml")
	key, err := tenants.NewKey("web")
	if err != nil {
		t.Fatal(err)
	}
	policy := fmt.Sprintf(`version: 1
providers: {ext: {dialect: openai, base_url: "http://127.0.0.1:9/v1"}}
models: {m: {provider: ext, name: m}}
routes: {auto: {rules: [{use: [m]}]}}
auth: {pepper: {env: PEPPER}}
tenants: {acme: {keys: [{id: web, hash: %q, labels: {team: blue}}]}}
state: {path: state}
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0"}
`, tenants.Hash("pepper", key))
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := func(args ...string) (out string, code int) {
		var b bytes.Buffer
		w := &world{ctx: context.Background(), stdin: strings.NewReader(""), stdout: &b, stderr: &b, env: func(k string) (string, bool) { return "pepper", k == "PEPPER" }}
		code = run(append([]string{"keys"}, append(args, "--config", file)...), w)
		return b.String(), code
	}
	which := []string{"--tenant", "acme", "--id", "web"}
	out, code := keys(append([]string{"rotate", "--overlap", "1h", "--json"}, which...)...)
	var made struct{ Key string }
	if err := json.Unmarshal([]byte(out), &made); err != nil || code != 0 || made.Key == "" || made.Key == key {
		t.Fatalf("%d %s", code, out)
	}
	var list []tenants.Listed
	out, code = keys("list", "--json")
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list) != 2 {
		t.Fatalf("%d %s", code, out)
	}
	if list[0].Source != "policy" || list[0].Until.IsZero() || list[1].Source != "store" || list[1].Labels["team"] != "blue" || strings.Contains(out, "hmac") {
		t.Errorf("%s", out)
	}
	if out, code := keys(append([]string{"revoke"}, which...)...); code != 0 || !strings.Contains(out, "revoked acme/web") {
		t.Errorf("%d %s", code, out)
	}
	if out, code := keys(append([]string{"revoke"}, which...)...); code != 2 || !strings.Contains(out, "no such key") {
		t.Errorf("%d %s", code, out)
	}
	if out, _ := keys("list"); strings.Count(out, "revoked") != 1 || strings.Contains(out, "store") {
		t.Errorf("%s", out)
	}
	if out, code := keys("rotate", "--tenant", "nobody", "--id", "web"); code != 2 {
		t.Errorf("%d %s", code, out)
	}
}
