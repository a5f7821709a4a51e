//go:build real

package xds

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/wire"
	"github.com/sluice-gateway/sluice/policies"
)

// files puts certificates where a policy's files are, so that an Envoy can read them.
func files(t *testing.T) func(*policies.Policy, *Params) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, data := range map[string][]byte{cert: selfSigned().cert, key: selfSigned().key} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return func(p *policies.Policy, params *Params) {
		if p.Server.TLSCert != "" {
			p.Server.TLSCert, p.Server.TLSKey = cert, key
		}
		for _, pr := range p.Providers {
			if pr.CA != "" {
				pr.CA = cert
			}
		}
		params.SystemCA = cert
	}
}

// accepted reports what `envoy --mode validate` says of a configuration; "" when it accepts it.
func accepted(t reporter, envoy, dir string, config []byte) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "*.json")
	if err != nil {
		t.Fatalf("%v", err)
	}
	_, err = f.Write(config)
	if err != nil || f.Close() != nil {
		t.Fatalf("write %s: %v", f.Name(), err)
	}
	out, err := exec.Command(envoy, "--mode", "validate", "-c", f.Name(), "--log-level", "warning").CombinedOutput()
	if err != nil {
		return err.Error() + "\n" + string(out)
	}
	for line := range strings.Lines(string(out)) { // a warning that we do not know may be next year's error
		known := strings.Contains(line, "work-in-progress") || strings.Contains(line, "not covered by the threat model") || strings.Contains(line, "memory")
		if strings.Contains(line, "[warning]") && !known {
			t.Fatalf("Envoy warns: %s", line)
		}
	}
	return ""
}

func TestEnvoyAcceptsEveryPolicy(t *testing.T) {
	envoy, readable, dir := realEnvoy(t), files(t), t.TempDir()
	for name, src := range testPolicies(t) {
		t.Run(name, func(t *testing.T) {
			p := compiled(t, src)
			params := testParams(p)
			readable(p, &params)
			r, err := Build(p, params)
			if err != nil {
				t.Fatal(err)
			}
			config, err := Static(r, params)
			if err != nil {
				t.Fatal(err)
			}
			if said := accepted(t, envoy, dir, config); said != "" {
				t.Error(said)
			}
		})
	}
}

func TestEnvoyAcceptsBootstraps(t *testing.T) {
	envoy, dir := realEnvoy(t), t.TempDir()
	pair := filepath.Join(dir, "pair.pem")
	if err := os.WriteFile(pair, append(append([]byte{}, selfSigned().cert...), selfSigned().key...), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, params := range []Params{
		{Control: filepath.Join(dir, "control.sock"), Admin: filepath.Join(dir, "admin.sock")},
		{Control: "sluice.test:9443", Mutual: &Mutual{pair, pair, pair}, Admin: "127.0.0.1:0"},
		{Control: "[::1]:9443", Mutual: &Mutual{pair, pair, pair}},
	} {
		config, err := Bootstrap(params)
		if err != nil {
			t.Fatal(err)
		}
		if said := accepted(t, envoy, dir, config); said != "" {
			t.Errorf("control %s: %s", params.Control, said)
		}
	}
}

// TestEnvoyAcceptsAnyPolicy draws 20 policies.
func TestEnvoyAcceptsAnyPolicy(t *testing.T) {
	envoy, readable, dir := realEnvoy(t), files(t), t.TempDir()
	left := 20
	rapid.Check(t, func(t *rapid.T) {
		if left--; left < 0 {
			return
		}
		p := compiled(t, []byte(drawPolicy(t)))
		params := testParams(p)
		readable(p, &params)
		r, err := Build(p, params)
		if err != nil {
			t.Fatalf("%v", err)
		}
		config, err := Static(r, params)
		if err != nil {
			t.Fatalf("%v", err)
		}
		if said := accepted(t, envoy, dir, config); said != "" {
			left++ // let rapid make it smaller
			t.Fatalf("%s\n%s", said, config)
		}
	})
}

// running starts an Envoy with a configuration and ends it with the test.
func running(t *testing.T, config []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "envoy.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(realEnvoy(t), "-c", file, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
	c.Stdout, c.Stderr = t.Output(), t.Output()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
}

// TestEnvoySaysWho: every gRPC stream to the control plane holds the node's id, the stage's too.
func TestEnvoySaysWho(t *testing.T) {
	dir := t.TempDir()
	type call struct{ method, node string }
	calls := make(chan call, 64)
	l, err := net.Listen("unix", filepath.Join(dir, "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, str grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(str)
		md, _ := metadata.FromIncomingContext(str.Context())
		select {
		case calls <- call{method, strings.Join(md[wire.HeaderNode], ",")}:
		default:
		}
		return status.Error(codes.Unavailable, "not today")
	}))
	go s.Serve(l)
	t.Cleanup(s.Stop)

	params := Params{Control: l.Addr().String(), NodeID: "envoy-7"}
	config, err := Bootstrap(params)
	if err != nil {
		t.Fatal(err)
	}
	running(t, config)
	expect := func(method string) {
		t.Helper()
		for deadline := time.After(30 * time.Second); ; {
			select {
			case c := <-calls:
				if c.method != method {
					continue
				}
				if c.node != "envoy-7" {
					t.Errorf("%s is from %q, want envoy-7", c.method, c.node)
				}
				return
			case <-deadline:
				t.Fatalf("no call of %s", method)
			}
		}
	}
	expect("/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources")

	// The same control plane, now asked by the stage: it fails closed, in the API's form.
	p := compiled(t, testPolicies(t)["carried"])
	params, base := local(t, p, params, "http://127.0.0.1:1/")
	r, err := Build(p, params)
	if err != nil {
		t.Fatal(err)
	}
	if config, err = Static(r, params); err != nil {
		t.Fatal(err)
	}
	running(t, config)
	code, body, _ := ask(t, http.MethodPost, base+"/v1/chat/completions", `{"model":"auto"}`, nil)
	if code != 500 || body != `{"error":{"message":"The request could not be processed.","type":"server_error","param":null,"code":"internal_error"}}` {
		t.Errorf("a failed stage answers %d %s", code, body)
	}
	expect("/envoy.service.ext_proc.v3.ExternalProcessor/Process")
}

// local gives a policy a free port and an executor behind a socket.
func local(t *testing.T, p *policies.Policy, params Params, executor string) (Params, string) {
	t.Helper()
	dir := t.TempDir()
	at, release, err := envoy.Reserve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	out := testParams(p)
	files(t)(p, &out)
	out.Control, out.NodeID, out.Listen, out.Admin = params.Control, params.NodeID, at, filepath.Join(dir, "admin.sock")
	out.Claim, out.Edge = filepath.Join(dir, "claim.sock"), executor
	if !strings.HasPrefix(executor, "/") {
		out.Edge = filepath.Join(dir, "nobody.sock")
	}
	return out, "http://" + at
}

// ask makes a request as soon as the Envoy listens.
func ask(t *testing.T, method, url, body string, header http.Header) (int, string, http.Header) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		r, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range header {
			r.Header[k] = v
		}
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			continue
		}
		raw, err := io.ReadAll(a.Body)
		a.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		return a.StatusCode, string(raw), a.Header
	}
}

// TestEnvoyEdge: what the executor sees of a client's request, and what a client sees of Envoy.
func TestEnvoyEdge(t *testing.T) {
	at := filepath.Join(t.TempDir(), "edge.sock")
	l, err := net.Listen("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan *http.Request, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Clone(r.Context())
		w.Header().Set("x-sluice-model", "small")
		_, _ = io.WriteString(w, r.RequestURI)
	}))
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)

	p := compiled(t, testPolicies(t)["edge"])
	p.Server.TLSCert, p.Server.TLSKey = "", ""
	params, base := local(t, p, Params{Control: filepath.Join(t.TempDir(), "nobody.sock")}, at)
	r, err := Build(p, params)
	if err != nil {
		t.Fatal(err)
	}
	config, err := Static(r, params)
	if err != nil {
		t.Fatal(err)
	}
	running(t, config)
	forged := http.Header{
		"X-Sluice-Id": {"0123"}, "X-Sluice-Prepared": {"1"}, "X-Envoy-Max-Retries": {"9"}, "X-Envoy-Hedge-On-Per-Try-Timeout": {"true"},
		"X-Envoy-Upstream-Rq-Timeout-Ms": {"1"}, "X-Envoy-Original-Dst-Host": {"10.0.0.1:1"}, "X-Request-Id": {"mine"},
	}
	path := "/v1//x/%2E%2e/a%2Fb?q=1"
	code, body, header := ask(t, http.MethodPost, base+path, "{}", forged)
	if code != 200 || body != path {
		t.Errorf("the executor saw %d %s, want the client's own %s", code, body, path)
	}
	got := <-seen
	for name := range got.Header {
		lower := strings.ToLower(name)
		allowed := lower == "x-envoy-external-address"
		if (strings.HasPrefix(lower, wire.PrefixSluice) || strings.HasPrefix(lower, wire.PrefixEnvoy)) && !allowed {
			t.Errorf("the executor sees %s: %s", name, got.Header.Get(name))
		}
	}
	if got.Header.Get("X-Request-Id") != "mine" {
		t.Errorf("the client's request id became %q", got.Header.Get("X-Request-Id"))
	}
	if header.Get("Server") != "" || header.Get("X-Envoy-Upstream-Service-Time") != "" || header.Get("X-Sluice-Model") != "small" {
		t.Errorf("the client sees %v", header)
	}
	if code, body, header := ask(t, http.MethodGet, base+"/v1/models", "", http.Header{"under_score": {"1"}}); code != 400 || !strings.Contains(body, `"code":"invalid_request"`) || header.Get("Content-Type") != "application/json" {
		t.Errorf("a header with an underscore: %d %s %v", code, body, header)
	}
	s.Close()
	if code, body, _ := ask(t, http.MethodGet, base+"/v1/models", "", nil); code != 503 || !strings.Contains(body, `"code":"no_target_available"`) {
		t.Errorf("without an executor: %d %s", code, body)
	}
}
