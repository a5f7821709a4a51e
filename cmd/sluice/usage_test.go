package main

import (
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-gateway/sluice/tenants"
)

// TestUsage asks a running gateway for its ledger, then reads its files: both say the same, and neither holds a secret.
func TestUsage(t *testing.T) {
	_, url := upstream(t)
	key, err := tenants.NewKey("web")
	must(t, err)
	admin, err := tenants.NewKey("ops")
	must(t, err)
	store := filepath.Join(t.TempDir(), "deep", "store")
	policy := strings.Replace(policyFor(url, "the rule", ", auth: required"), "name: simulated-large}", "name: simulated-large, price: {in: 2, out: 10}}", 1) +
		"auth: {pepper: {env: PEPPER}, admin: [{id: ops, role: viewer, hash: \"" + tenants.Hash(canaryPepper, admin) + "\"}]}\n" +
		"tenants: {acme: {keys: [{id: web, hash: \"" + tenants.Hash(canaryPepper, key) + "\"}]}}\nstate: {path: " + store + "}\n"
	r := serve(t, policy)
	for range 3 {
		if status, _, body := r.ask(http.DefaultClient, "auto", canaryPrompt, key); status != 200 {
			t.Fatal(body)
		}
	}
	r.write(strings.Replace(policy, `admin: "127.0.0.1:0"`, `admin: "`+r.addr.admin.String()+`"`, 1)) // where it is to be found
	env := map[string]string{"PROVIDER_KEY": canaryProviderKey, "PEPPER": canaryPepper}
	if code, _, stderr := runCLI([]string{"usage", "--config", r.file}, nil, env); code != exitBad || !strings.Contains(stderr, "SLUICE_ADMIN_KEY") {
		t.Errorf("without an admin key: %d %s", code, stderr)
	}
	env["SLUICE_ADMIN_KEY"] = admin
	ask := func(args ...string) string {
		code, stdout, stderr := runCLI(append([]string{"usage", "--config", r.file}, args...), nil, env)
		if code != exitOK || stderr != "" {
			t.Errorf("%v: %d %s", args, code, stderr)
		}
		return stdout
	}
	r.until("three rows", func() bool { return strings.Count(ask("--raw"), "\n") == 4 })
	sums, raw := ask("--by", "tenant,key,route,model,provider,usage"), ask("--raw", "--format", "jsonl", "--since", "1h")
	if !strings.HasPrefix(sums, "tenant,key,route,model,provider,usage,attempts,tokens_in,tokens_out,tokens_cached,micro_usd\nacme,web,auto,large,out,reported,3,") {
		t.Errorf("sums:\n%s", sums)
	}
	if !strings.Contains(raw, `"price":"policy"`) || strings.Contains(raw, `"micro_usd":null`) || strings.Count(raw, "\n") != 3 {
		t.Errorf("rows:\n%s", raw)
	}
	r.signals <- syscall.SIGTERM
	r.ended()
	if again := ask(); again != sums {
		t.Errorf("from the files:\n%s", again)
	}
	for _, secret := range []string{canaryProviderKey, canaryPepper, canaryPrompt, key, admin, "simulated answer"} {
		if strings.Contains(sums+raw, secret) {
			t.Errorf("%q is in the ledger", secret)
		}
	}
	if code, _, stderr := runCLI([]string{"usage", "--config", r.file, "--by", "colour"}, nil, env); code != exitBad || !strings.Contains(stderr, "colour") {
		t.Errorf("a wrong dimension: %d %s", code, stderr)
	}
}
