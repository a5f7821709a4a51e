//go:build real

package e2e

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/simulator"
	"github.com/sluice-gateway/sluice/xds"
)

// reloads is what the edits of envoyReloadPolicy change. Streams are those of the provider at held.
type reloads struct{ addr, held, provider, model, connect, server string }

// envoyReloadPolicy has what an edit can change at an Envoy: clusters by provider and connect, the route and the listener by server.
func envoyReloadPolicy(o reloads) string {
	return fmt.Sprintf(`version: 1
providers:
  p:
    dialect: openai
    base_url: "http://%s/v1"
%s  held: {dialect: openai, base_url: "http://%s/v1"}
models:
  m: {provider: p, name: %s}
  long: {provider: held, name: long}
routes:
  direct: {carrier: envoy, timeouts: {connect: %s}, rules: [{use: [m]}]}
  direct-long: {carrier: envoy, rules: [{use: [long]}]}
  by-hand: {rules: [{use: [m]}]}
  by-hand-long: {rules: [{use: [long]}]}
server:
  {listen: "127.0.0.1:0", admin: "127.0.0.1:0", headers: full%s}
telemetry: {access_log: on}
`, o.addr, o.provider, cmp.Or(o.held, o.addr), o.model, o.connect, o.server)
}

// TestEnvoyUpdatesUnderLoad changes clusters, the route and the listener twenty times under 1,000 requests and 50 streams that are open from before the
// first change until after the last one, carried by Envoy and by the executor: all come whole, each asked upstream once. Every second cluster has a name
// for its host, which Envoy must look up: a cluster that is still at that is not warm, and must not be named to anybody.
func TestEnvoyUpdatesUnderLoad(t *testing.T) {
	t.Parallel()
	_, addr := provider(t, simulator.Options{})
	_, held, gate := gated(t, simulator.Options{})
	hosts := [2]string{addr, strings.Replace(addr, "127.0.0.1", "localhost", 1)}
	policy := func(i int) string {
		return envoyReloadPolicy(reloads{addr: hosts[i%2], held: held, model: fmt.Sprintf("version%d", i), connect: fmt.Sprintf("%dms", 3000+i%3), server: fmt.Sprintf(", body_limit: %dM", 8+i/5)})
	}
	f := behindEnvoy(t, policy(0))
	c := newClient(t)
	routes := []string{"direct", "by-hand"}

	streams := make(chan *answer, 50)
	var open sync.WaitGroup
	for i := range 50 {
		open.Go(func() { streams <- patient(t.Context(), c, f.Gateway, chatBody(routes[i%2]+"-long", "hi", true, "")) })
	}
	gate.await(t, 50)
	l := startLoad(t, 4, func(k int64) error {
		return chat(t.Context(), c, f.Gateway, chatBody(routes[k%2], "hi", k%4 < 2, "")).complete()
	})
	for i := 1; i <= 20; i++ {
		l.more(t, 20)
		f.reload(t, policy(i), i)
		a := chat(t.Context(), c, f.Gateway, chatBody(routes[i%2], "which", false, ""))
		if text, _, _ := a.content(); !strings.Contains(text, fmt.Sprintf("[simulated answer of version%d]", i)) {
			t.Errorf("after update %d: %v", i, a)
		}
	}
	if len(streams) > 0 {
		t.Errorf("%d streams ended during the updates: %v", len(streams), <-streams)
	}
	l.more(t, max(1, 1000-l.answered.Load()))
	close(gate.open)
	open.Wait()
	for range 50 {
		if a := <-streams; a.complete() != nil {
			t.Errorf("a stream was lost: %v", a)
		}
	}
	l.check(t)
	carried := map[string]int{}
	for _, r := range f.records(t, int(l.answered.Load())+20+50) {
		if carried[r.Text("carried")]++; r.Text("outcome") != "ok" || r.Number("attempts") != 1 {
			t.Errorf("record %v", r)
		}
	}
	if carried["envoy"] < 500 || carried["executor"] < 500 {
		t.Errorf("carried %v", carried)
	}
}

// reload replaces the policy and waits until it is in force.
func (f *fleet) reload(t *testing.T, policy string, generation int) {
	t.Helper()
	f.Replace(t, policy)
	f.Signal(t, syscall.SIGHUP)
	harness.Poll(t, fmt.Sprintf("generation %d", generation), func() error {
		if s := f.Status(t).Policy; s.Generation != generation || s.LastError != nil {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

// records are the exchanges' records, of which there are so many at least: those that Envoy carries come with its log, after their answers.
func (f *fleet) records(t *testing.T, n int) (all []harness.Record) {
	t.Helper()
	harness.Poll(t, "every record", func() error {
		if all = f.Err.Records("exchange"); len(all) < n {
			return fmt.Errorf("%d of %d", len(all), n)
		}
		return nil
	})
	return all
}

// envoys reads what /admin/status says of Envoys.
func (f *fleet) envoys(t *testing.T) []xds.NodeStatus {
	t.Helper()
	var s struct{ Envoys []xds.NodeStatus }
	if err := json.Unmarshal([]byte(harness.Get(t, f.Admin+"/admin/status")), &s); err != nil {
		t.Fatal(err)
	}
	return s.Envoys
}

// TestEnvoyRefusesAnUpdate makes edits that this gateway takes for good and only an Envoy can refuse, of a cluster and of the listener. (An edit
// that spoils a route is not known: TestRefusedRoute of envoyplane spoils one itself.) Under load the old policy stays, nothing is lost, and the log, a
// metric and the status name the line.
func TestEnvoyRefusesAnUpdate(t *testing.T) {
	t.Parallel()
	_, addr := provider(t, simulator.Options{LogCalls: 200})
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	cert, key := newPair(t, "a")
	other, _ := newPair(t, "b")
	write(t, in("cert.pem"), other)
	write(t, in("key.pem"), key)
	write(t, in("ca.pem"), cert+"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n") // Go takes the first one and is content
	good := reloads{addr: addr, model: "good", connect: "3s"}
	f := behindEnvoy(t, envoyReloadPolicy(good))
	c := newClient(t)
	l := startLoad(t, 2, func(k int64) error {
		a := chat(t.Context(), c, f.Gateway, chatBody([]string{"direct", "by-hand"}[k%2], "hi", k%4 < 2, ""))
		if text, _, _ := a.content(); !strings.Contains(text, "[simulated answer of good]") {
			return fmt.Errorf("an answer of a refused policy: %v", a)
		}
		return a.complete()
	})
	for i, tc := range []struct {
		kind string
		line int
		with reloads
	}{
		{"clusters", 3, reloads{addr: addr, model: "bad", connect: "3s", provider: fmt.Sprintf("    ca: %q\n", in("ca.pem"))}},
		{"listeners", 15, reloads{addr: addr, model: "bad", connect: "3s", server: fmt.Sprintf(", tls: {cert: %q, key: %q}", in("cert.pem"), in("key.pem"))}},
	} {
		policy := envoyReloadPolicy(tc.with)
		if tc.kind == "clusters" { // an authority is asked for where there is TLS
			policy = strings.Replace(policy, "http://", "https://", 1)
		}
		l.more(t, 50)
		f.Replace(t, policy)
		f.Signal(t, syscall.SIGHUP)
		var said harness.Record
		harness.Poll(t, "the refusal of "+tc.kind, func() error {
			if e := f.Status(t).Policy.LastError; e == nil || e.Line != tc.line || !strings.Contains(e.Message, "refused "+tc.kind) || e.File != f.File {
				return fmt.Errorf("last_error %+v", e)
			}
			return nil
		})
		if s := f.Status(t).Policy; s.Generation != 0 {
			t.Errorf("%s: generation %d", tc.kind, s.Generation)
		}
		if n := f.Metric(t, "sluice_policy_reloads_total", `result="error"`); n != float64(i+1) || f.Metric(t, "sluice_policy_last_reload_success") != 0 {
			t.Errorf("%s: %v reloads with an error", tc.kind, n)
		}
		harness.Poll(t, "the log's line of "+tc.kind, func() error {
			for _, r := range f.Err.Records("envoy refused an update: its last accepted configuration stays") {
				said = r
			}
			if said.Text("type") != tc.kind || said.Number("line") != float64(tc.line) || said.Text("detail") == "" {
				return fmt.Errorf("%v", said)
			}
			return nil
		})
		seen := false
		for _, n := range f.envoys(t) {
			r := n.Types[tc.kind].Rejected
			seen = seen || r != nil && r.Origin.Line == tc.line && r.Message == said.Text("detail")
		}
		if !seen {
			t.Errorf("%s: envoys %+v", tc.kind, f.envoys(t))
		}
		l.more(t, 50)
		f.reload(t, envoyReloadPolicy(good), 0) // it was in force all along
	}
	l.check(t)
	for _, r := range f.records(t, int(l.answered.Load())) {
		if r.Text("outcome") != "ok" || r.Number("attempts") != 1 {
			t.Errorf("record %v", r)
		}
	}
}

// newPair makes a certificate that is its own authority, and its key, in PEM.
func newPair(t *testing.T, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}}
	der, err2 := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	kd, err3 := x509.MarshalPKCS8PrivateKey(k)
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kd}))
}
