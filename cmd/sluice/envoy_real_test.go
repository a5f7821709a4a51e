//go:build real

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/tenants"
)

// realEnvoy puts the Envoy that scripts/fetch got, or $ENVOY_PATH, where serve looks for one.
func realEnvoy(t *testing.T) {
	t.Helper()
	if os.Getenv("ENVOY_PATH") != "" {
		return
	}
	dir := os.Getenv("SLUICE_CACHE")
	if dir == "" {
		dir = filepath.Join("..", "..", ".cache")
	}
	path, err := filepath.Abs(filepath.Join(dir, "envoy", "envoy", "_bin", "envoy"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("ENVOY_PATH", path)
}

// envoyPolicy has a route for each carrier; more goes into the provider, server into the server section.
func envoyPolicy(url, rule, more, server string) string {
	return fmt.Sprintf(`version: 1
providers:
  out: {dialect: openai, base_url: %q, keys: [{env: PROVIDER_KEY}]%s}
models:
  large: {provider: out, name: simulated-large}
  slow: {provider: out, name: "simulated-large+fault=delay=150ms"}
  broken: {provider: out, name: "simulated-large+fault=status=500"}
routes:
  direct: {carrier: envoy, rules: [{name: %q, use: [large]}]}
  inside: {rules: [{use: [large]}]}
  slow: {carrier: envoy, rules: [{use: [slow]}]}
  broken: {carrier: envoy, rules: [{use: [broken, large]}]}
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", headers: full%s}
`, url+"/v1", more, rule, server)
}

// lines returns what the access line of each exchange holds.
func (r *running) lines() []map[string]any {
	var all []map[string]any
	for line := range strings.Lines(r.log.String()) {
		var m map[string]any
		if json.Unmarshal([]byte(line), &m) == nil && m["msg"] == "exchange" {
			all = append(all, m)
		}
	}
	return all
}

// stream asks for a stream and returns how it ended: nil after its last event.
func (r *running) stream(model string) error {
	resp, err := http.Post("http://"+r.addr.data.String()+"/v1/chat/completions", "application/json",
		strings.NewReader(fmt.Sprintf(`{"model":%q,"stream":true,"messages":[{"role":"user","content":"hi"}]}`, model)))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != 200 || !bytes.HasSuffix(bytes.TrimSpace(b), []byte("[DONE]"))) {
		err = fmt.Errorf("%d %.200s", resp.StatusCode, b)
	}
	return err
}

// TestEnvoyServes: both carriers, a failure that passes from one to the other, keys, the records, and a clean end.
func TestEnvoyServes(t *testing.T) {
	realEnvoy(t)
	sim, url := upstream(t)
	key, err := tenants.NewKey("web")
	must(t, err)
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	r := serve(t, envoyPolicy(url, "the rule", "", ", auth: required")+
		fmt.Sprintf("auth: {pepper: {env: PEPPER}}\ntenants: {acme: {keys: [{id: web, hash: %q}]}}\n", tenants.Hash(canaryPepper, key)), "--plane", "envoy")
	if got := r.admin("/readyz"); !strings.HasPrefix(got, "200") {
		t.Errorf("ready, it says, and /readyz: %s", got)
	}
	var status struct {
		Envoys []struct {
			Connected bool
			Ready     int
			Types     map[string]struct{ Acked string }
		}
	}
	_, body, _ := strings.Cut(r.admin("/admin/status"), "\n")
	must(t, json.Unmarshal([]byte(body), &status))
	if len(status.Envoys) != 1 || !status.Envoys[0].Connected || status.Envoys[0].Ready != 1 || len(status.Envoys[0].Types) != 3 {
		t.Fatalf("envoys %+v", status.Envoys)
	}
	for kind, s := range status.Envoys[0].Types {
		if s.Acked == "" {
			t.Errorf("%s are not acknowledged", kind)
		}
	}
	for i, tc := range []struct {
		route, key, carried string
		status, asked       int
	}{
		{"direct", key, "envoy", 200, 1},
		{"inside", key, "executor", 200, 1},
		{"broken", key, "executor", 200, 3}, // twice the model, as the policy's default has it, then the next one
		{"direct", "", "executor", 401, 0},
		{"direct", swapped(key), "executor", 401, 0},
	} {
		before := len(sim.Log())
		status, header, body := r.ask(http.DefaultClient, tc.route, canaryPrompt, tc.key)
		if status != tc.status || header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %v %s", tc.route, status, header, body)
		}
		if n := len(sim.Log()) - before; n != tc.asked {
			t.Errorf("%s: the provider was asked %d times, want %d", tc.route, n, tc.asked)
		}
		r.until("its line", func() bool { return len(r.lines()) == i+1 })
		line := r.lines()[i]
		if line["carried"] != tc.carried || line["status"] != float64(tc.status) {
			t.Errorf("%s: line %v", tc.route, line)
		}
		if tc.status == 200 && (line["usage"] != "reported" || line["tokens_out"] == float64(0)) {
			t.Errorf("%s: usage in %v", tc.route, line)
		}
	}
	seen := r.admin("/admin/status")
	r.signals <- syscall.SIGTERM
	if code := r.ended(); code != 0 {
		t.Errorf("exit %d", code)
	}
	for _, secret := range []string{canaryProviderKey, canaryPepper, canaryPrompt, key} {
		if strings.Contains(r.log.String()+seen, secret) {
			t.Errorf("%q is in the log or the status", secret)
		}
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestEnvoyUpdates changes the policy 20 times under 1,000 requests and 50 streams that are open at any time: every answer comes whole, and what
// the old policies needed goes when nobody needs it any more.
func TestEnvoyUpdates(t *testing.T) {
	realEnvoy(t)
	_, url := upstream(t)
	const updates = 20
	r := serve(t, envoyPolicy(url, "rule 0", "", ""), "--plane", "envoy")
	var wg sync.WaitGroup
	var failed, answered atomic.Int64
	var first atomic.Pointer[string]
	note := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		first.CompareAndSwap(nil, &text)
		failed.Add(1)
	}
	done := make(chan struct{})
	over := func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	for range 50 {
		wg.Go(func() {
			for again := true; again; again = !over() {
				if err := r.stream("slow"); err != nil {
					note("a stream: %v", err)
				}
				answered.Add(1)
			}
		})
	}
	for range 4 {
		wg.Go(func() {
			for n := 0; n < 250 || !over(); n++ {
				if status, _, body, err := r.send(http.DefaultClient, "direct", "hi", ""); err != nil || status != 200 {
					note("%d %s %v", status, body, err)
				}
				answered.Add(1)
			}
		})
	}
	for i := 1; i <= updates; i++ {
		// Another limit of the connection is another cluster.
		text := strings.Replace(envoyPolicy(url, fmt.Sprint("rule ", i), "", ""), "direct: {", fmt.Sprintf("direct: {timeouts: {connect: %dms}, ", 2000+i), 1)
		r.write(text)
		r.signals <- syscall.SIGHUP
		want := fmt.Sprintf(`"generation": %d,`, i)
		r.until(want, func() bool { return strings.Contains(r.admin("/admin/status"), want) })
	}
	close(done)
	wg.Wait()
	if failed.Load() > 0 || answered.Load() < 1050 {
		t.Errorf("%d of %d answers failed, the first: %s", failed.Load(), answered.Load(), *first.Load())
	}
	r.until("every line", func() bool { return int64(len(r.lines())) == answered.Load() })
	carried := map[any]int{}
	for _, line := range r.lines() {
		carried[line["carried"]]++
	}
	t.Logf("carried %v", carried)
	if carried["envoy"] < len(r.lines())*9/10 {
		t.Errorf("carried %v: the updates made the executor carry", carried)
	}
	_, header, _ := r.ask(http.DefaultClient, "direct", "hi", "")
	if !strings.Contains(header.Get("X-Sluice-Reason"), fmt.Sprintf(`rule="rule %d"`, updates)) {
		t.Errorf("reason %s", header.Get("X-Sluice-Reason"))
	}
}

// TestEnvoyRefusesUpdate: a certificate that does not fit its key loads as a policy and is refused by Envoy as a listener. The old policy stays, with the
// line of the new one in the status, and a good one clears it.
func TestEnvoyRefusesUpdate(t *testing.T) {
	realEnvoy(t)
	_, url := upstream(t)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	writePair(t, in("a.pem"), in("a.key"), 1)
	writePair(t, in("b.pem"), in("b.key"), 2)
	r := serve(t, envoyPolicy(url, "first", "", ""), "--plane", "envoy")
	reason := func() string {
		_, h, _ := r.ask(http.DefaultClient, "direct", "hi", "")
		return h.Get("X-Sluice-Reason")
	}
	bad := envoyPolicy(url, "second", "", fmt.Sprintf(", tls: {cert: %q, key: %q}", in("a.pem"), in("b.key")))
	r.write(bad)
	r.until("the refusal", func() bool { return strings.Contains(r.admin("/admin/status"), "refused listeners") })
	status := r.admin("/admin/status")
	for _, want := range []string{`"generation": 0`, `"line": 13`, `"rejected"`} {
		if !strings.Contains(status, want) {
			t.Errorf("status without %s: %s", want, status)
		}
	}
	if got := r.admin("/metrics"); !strings.Contains(got, `sluice_policy_reloads_total{result="error"} 1`) {
		t.Errorf("metrics %s", got)
	}
	if got := r.admin("/readyz"); !strings.HasPrefix(got, "200") {
		t.Errorf("not ready by the old policy: %s", got)
	}
	if !strings.Contains(reason(), `rule="first"`) {
		t.Errorf("the refused policy is in force: %s", reason())
	}
	r.write(envoyPolicy(url, "third", "", ""))
	r.until("the third", func() bool { return strings.Contains(reason(), `rule="third"`) })
	r.until("no error", func() bool { return strings.Contains(r.admin("/admin/status"), `"last_error": null`) })
}

// TestEnvoyDrain: a stream that is open when the server is told to stop comes to its end; one more signal ends it at once.
func TestEnvoyDrain(t *testing.T) {
	realEnvoy(t)
	sim, url := upstream(t)
	for _, twice := range []bool{false, true} {
		t.Run(fmt.Sprintf("twice=%v", twice), func(t *testing.T) {
			sim.Reset()
			r := serve(t, envoyPolicy(url, "rule", "", ""), "--plane", "envoy")
			end := make(chan error, 1)
			go func() { end <- r.stream("slow") }()
			r.until("the stream at the provider", func() bool { return len(sim.Log()) == 1 })
			r.signals <- syscall.SIGTERM
			r.until("it stops", func() bool { return strings.Contains(r.log.String(), "stopping") })
			if twice {
				r.signals <- syscall.SIGTERM
			}
			if err := <-end; (err != nil) != twice {
				t.Errorf("the stream ended with %v", err)
			}
			if code := r.ended(); code != 0 {
				t.Errorf("exit %d", code)
			}
			if n := len(r.lines()); n != 1 {
				t.Errorf("%d lines, want 1:\n%s", n, r.log)
			}
		})
	}
}

// TestEnvoyPortTaken: what Envoy cannot listen on is told at the start, with the policy's line.
func TestEnvoyPortTaken(t *testing.T) {
	realEnvoy(t)
	_, url := upstream(t)
	taken := serve(t, policyFor(url, "rule", ""))
	file := filepath.Join(t.TempDir(), "policy.yaml")
	must(t, os.WriteFile(file, []byte(strings.Replace(envoyPolicy(url, "rule", "", ""), `listen: "127.0.0.1:0"`, fmt.Sprintf("listen: %q", taken.addr.data), 1)), 0o600))
	code, _, errs := runCLI([]string{"serve", "--plane", "envoy", "--config", file}, nil, map[string]string{"PROVIDER_KEY": "k"})
	if code != 2 || !strings.Contains(errs, "policy.yaml:13:") || !strings.Contains(errs, "ddress already in use") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// mutualPair writes a certificate that is its own authority, for 127.0.0.1 and for both sides.
func mutualPair(t *testing.T, cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	must(t, err)
	kd, err := x509.MarshalPKCS8PrivateKey(k)
	must(t, err)
	must(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kd}), 0o600))
}

// TestEnvoyElsewhere: an Envoy that somebody else starts, with nothing but addresses and mutual TLS between the two.
func TestEnvoyElsewhere(t *testing.T) {
	realEnvoy(t)
	_, url := upstream(t)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "a.pem"), filepath.Join(dir, "a.key")
	mutualPair(t, cert, key)
	var at [3]string
	for i := range at {
		fixed, release, err := envoy.Reserve("127.0.0.1:0")
		must(t, err)
		at[i] = fixed
		release() // this process listens there
	}
	r := serve(t, envoyPolicy(url, "rule", "", ", envoy: {binary: external}"), "--plane", "envoy",
		"--control", at[0], "--claim", at[1], "--edge", at[2], "--control-ca", cert, "--control-cert", cert, "--control-key", key)
	code, boot, errs := runCLI([]string{"bootstrap", "--node", "far", "--control", at[0], "--ca", cert, "--cert", cert, "--key", key}, nil, nil)
	if code != 0 {
		t.Fatal(errs)
	}
	path, _, err := envoy.Find(t.Context(), "")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		gone <- (&envoy.Process{Path: path, Bootstrap: []byte(boot), Concurrency: 1, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}).Run(ctx)
	}()
	defer func() { cancel(); <-gone }()
	r.until("the Envoy", func() bool { return strings.Contains(r.admin("/admin/status"), `"ready": 1`) })
	r.until("its listener", func() bool { _, _, _, err := r.send(http.DefaultClient, "direct", "hi", ""); return err == nil })
	for _, tc := range [][2]string{{"direct", "envoy"}, {"inside", "executor"}, {"broken", "executor"}} {
		before := len(r.lines())
		if status, _, body := r.ask(http.DefaultClient, tc[0], "hi", ""); status != 200 {
			t.Errorf("%s: %d %s", tc[0], status, body)
		}
		r.until("its line", func() bool { return len(r.lines()) > before })
		if line := r.lines()[before]; line["carried"] != tc[1] {
			t.Errorf("%s: %v", tc[0], line)
		}
	}
	if resp, err := http.Get("http://" + r.addr.data.String() + "/v1/models"); err != nil || resp.StatusCode != 200 {
		t.Errorf("what goes straight to the executor: %v %v", resp, err)
	} else {
		resp.Body.Close()
	}
}
