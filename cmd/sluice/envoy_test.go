package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/xds"
)

const carriedPolicy = `version: 1
providers:
  out: {dialect: openai, base_url: https://api.example.com/v1, keys: [{env: PROVIDER_KEY}]}
models:
  large: {provider: out, name: large}
routes:
  auto: {carrier: envoy, timeouts: {total: 20m}, rules: [{use: [large]}]}
`

func writePolicy(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	must(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestBootstrap(t *testing.T) {
	file := writePolicy(t, carriedPolicy)
	code, out, errs := runCLI([]string{"bootstrap", "--config", file, "--node", "edge-7", "--control", "/run/sluice/control.sock"}, nil, nil)
	if code != 0 || !json.Valid([]byte(out)) || !strings.Contains(out, `"id": "edge-7"`) || !strings.Contains(errs, "--drain-time-s 1260 ") {
		t.Errorf("exit %d\n%s\n%s", code, out, errs)
	}
	for _, tc := range []struct{ args, want string }{
		{"bootstrap", "--control"},
		{"bootstrap --control sluice.test:9443", "mutual TLS"},
		{"bootstrap --control nowhere", "want a socket's absolute path or host:port"},
		{"bootstrap --control /c.sock --admin 0.0.0.0:1", "loopback"},
		{"bootstrap --control /c.sock --config " + writePolicy(t, "version: 1\n"), "providers"},
		{"serve --plane envoy --config " + file + " --control 127.0.0.1:9443", errRemote.Error()},
		{"serve --config " + file + " --state x", errEnvoyFlags.Error()},
	} {
		code, out, errs := runCLI(strings.Fields(tc.args), nil, map[string]string{"PROVIDER_KEY": "k"})
		if code != 2 || out != "" || !strings.Contains(errs, tc.want) {
			t.Errorf("%s: exit %d, %q, %q", tc.args, code, out, errs)
		}
	}
}

func TestXDS(t *testing.T) {
	file := writePolicy(t, carriedPolicy)
	code, out, errs := runCLI([]string{"xds", file}, nil, map[string]string{"PROVIDER_KEY": canaryProviderKey})
	var got struct {
		Clusters, Routes, Listeners []struct {
			Name, Version string
			Line          int
			Resource      map[string]any
		}
	}
	if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil || errs != "" {
		t.Fatalf("exit %d, %v, %s", code, err, errs)
	}
	if len(got.Clusters) != 4 || len(got.Routes) != 1 || len(got.Listeners) != 1 {
		t.Errorf("%d clusters, %d routes, %d listeners", len(got.Clusters), len(got.Routes), len(got.Listeners))
	}
	for _, c := range got.Clusters {
		if strings.HasPrefix(c.Name, "out-") && (c.Line != 3 || c.Version == "" || c.Resource["name"] != c.Name) {
			t.Errorf("cluster %+v", c)
		}
	}
	if strings.Contains(out, canaryProviderKey) {
		t.Error("a key is in a resource")
	}
	if code, out, errs := runCLI([]string{"xds", file, "--static"}, nil, nil); code != 0 || !strings.Contains(out, `"static_resources"`) || errs != "" {
		t.Errorf("static: exit %d, %s", code, errs)
	}
	if code, _, errs := runCLI([]string{"xds", file, "--edge", "sluice.test:1"}, nil, nil); code != 2 || !strings.Contains(errs, "mutual TLS") {
		t.Errorf("an address without certificates: exit %d, %s", code, errs)
	}
}

// TestPlaneParams: where things listen, and what is told to Envoys.
func TestPlaneParams(t *testing.T) {
	p, ps := policies.LoadBytes("policy.yaml", []byte(carriedPolicy+"server: {listen: '127.0.0.1:0'}\ntelemetry: {otlp: {endpoint: 'http://127.0.0.1:4317'}}\n"), (&world{env: func(string) (string, bool) { return "k", true }}).options(false))
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	params, err := planeParams(p, envoyFlags{}, "/run/sluice")
	must(t, err)
	if params.Control != "/run/sluice/control.sock" || params.Mutual != nil || params.OTLP.String() != "grpc://127.0.0.1:4317" || len(params.Usage) != 3 {
		t.Errorf("%+v", params)
	}
	if _, port, err := net.SplitHostPort(params.Listen); err != nil || port == "0" {
		t.Errorf("listen %s", params.Listen)
	}
	o := envoyFlags{Control: "sluice.test:9443", Claim: "sluice.test:9444", Edge: "sluice.test:9445", Bind: "127.0.0.1", CA: "ca.pem", Cert: "cert.pem", Key: "key.pem"}
	params, err = planeParams(p, o, "/run/sluice")
	must(t, err)
	if params.Claim != o.Claim || *params.Mutual != (xds.Mutual{CA: "ca.pem", Cert: "cert.pem", Key: "key.pem"}) {
		t.Errorf("%+v", params)
	}
	dir := t.TempDir()
	o.CA, o.Cert, o.Key = filepath.Join(dir, "a.pem"), filepath.Join(dir, "a.pem"), filepath.Join(dir, "a.key")
	writePair(t, o.Cert, o.Key, 1)
	l, err := o.open("sluice.test:0")
	must(t, err)
	defer l.Close()
	if host, _, _ := net.SplitHostPort(l.Addr().String()); host != "127.0.0.1" {
		t.Errorf("listens on %s", l.Addr())
	}
}

func TestShareProcessors(t *testing.T) {
	for _, c := range []struct {
		has   int
		mode  string
		tuned bool
		want  int
	}{{1, "filter", false, 1}, {2, "filter", false, 1}, {3, "filter", false, 2}, {8, "filter", false, 4}, {8, "edge", false, 8}, {8, "filter", true, 8}} {
		n := c.has
		shareProcessors(&world{env: func(k string) (string, bool) { return "8", c.tuned && k == "GOMAXPROCS" }, threads: func(to int) int {
			was := n
			if to > 0 {
				n = to
			}
			return was
		}}, c.mode)
		if n != c.want {
			t.Errorf("%d processors, mode %s, tuned %v: %d threads, want %d", c.has, c.mode, c.tuned, n, c.want)
		}
	}
	shareProcessors(&world{env: func(string) (string, bool) { return "", false }}, "filter") // a process that is not ours alone
}

func TestStateFolder(t *testing.T) {
	dir, private, err := stateFolder("")
	must(t, err)
	defer os.RemoveAll(dir)
	if info, err := os.Stat(dir); err != nil || !private || info.Mode().Perm() != 0o700 {
		t.Errorf("%s %v %v", dir, info, err)
	}
	given := filepath.Join(t.TempDir(), "a", "b")
	if dir, private, err := stateFolder(given); err != nil || private || dir != given {
		t.Errorf("%s %v %v", dir, private, err)
	}
	if _, _, err := stateFolder(filepath.Join(t.TempDir(), strings.Repeat("x", 100))); err == nil {
		t.Error("a path that is too long is taken")
	}
}
