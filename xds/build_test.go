package xds

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"pgregory.net/rapid"

	"github.com/sluice-gateway/sluice/internal/wire"
	"github.com/sluice-gateway/sluice/policies"
)

var update = flag.Bool("update", false, "write the golden files anew")

// canary is the value of every secret in these tests.
const canary = "canary-5d41402abc4b2a76"

// testPresets stand in for the providers' table.
var testPresets = map[string]policies.Preset{
	"known":     {Name: "known", Dialect: "openai", BaseURL: "https://api.example.com/v1", NeedsKey: true},
	"openai":    {Name: "openai", Dialect: "openai", BaseURL: "https://api.openai.com/v1", NeedsKey: true},
	"anthropic": {Name: "anthropic", Dialect: "openai", BaseURL: "https://api.anthropic.com/v1", NeedsKey: true},
}

// pair is a certificate that is its own authority, and its key, as PEM.
type pair struct{ cert, key []byte }

func newPair(ip net.IP, names ...string) (out pair) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: names, IPAddresses: []net.IP{ip}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return pair{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
}

var selfSigned = sync.OnceValue(func() pair { return newPair(net.IPv4(127, 0, 0, 1), "localhost") })

type reporter interface {
	Helper()
	Fatalf(string, ...any)
}

func compiled(t reporter, src []byte) *policies.Policy {
	t.Helper()
	p, ps := policies.LoadBytes("policy.yaml", src, policies.Options{
		Presets: testPresets,
		Env: func(name string) (string, bool) {
			if strings.HasPrefix(name, "OTEL_") {
				return "http://127.0.0.1:4317", true
			}
			return canary, true
		},
		ReadFile: func(name string) ([]byte, error) {
			if strings.HasPrefix(name, "/run/secrets") {
				return []byte(canary), nil
			}
			return selfSigned().cert, nil
		},
	})
	if len(ps) > 0 {
		t.Fatalf("policy: %v\n%s", ps, src)
	}
	return p
}

func testParams(p *policies.Policy) Params {
	params := Params{
		Control: "/run/sluice/control.sock", Claim: "/run/sluice/claim.sock", Edge: "/run/sluice/edge.sock", Admin: "/run/sluice/admin.sock",
		SystemCA: "/etc/ssl/certs/ca-certificates.crt", LogHeaders: []string{"retry-after", "x-ratelimit-remaining-requests"},
		Health: func(*policies.Provider) string { return "/health" },
		Refuse: func(p *policies.Provider) string {
			if p.Name == "refused" {
				return "the caller says so"
			}
			return ""
		},
		Usage: []UsageField{
			{wire.KeyInput, []string{"usage", "prompt_tokens"}}, {wire.KeyOutput, []string{"usage", "completion_tokens"}},
			{wire.KeyCached, []string{"usage", "prompt_tokens_details", "cached_tokens"}},
		},
	}
	if u, err := url.Parse(p.Telemetry.OTLPEndpoint); err == nil && u.Scheme != "" {
		if params.OTLP = u.JoinPath("/v1/traces"); u.Port() == "4317" {
			params.OTLP = &url.URL{Scheme: "grpc", Host: u.Host}
		}
	}
	return params
}

func built(t reporter, p *policies.Policy) *Resources {
	t.Helper()
	r, err := Build(p, testParams(p))
	if err != nil {
		t.Fatalf("build: %v", err)
	}
	return r
}

// testPolicies are the examples and testdata, by name.
func testPolicies(t *testing.T) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	for pattern, name := range map[string]func(string) string{
		"../examples/*/policy.yaml": func(f string) string { return filepath.Base(filepath.Dir(f)) },
		"testdata/*.yaml":           func(f string) string { return strings.TrimSuffix(filepath.Base(f), ".yaml") },
	} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no policies in %s: %v", pattern, err)
		}
		for _, f := range files {
			src, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			found[name(f)] = src
		}
	}
	return found
}

func TestGoldens(t *testing.T) {
	want := map[string]bool{}
	for name, src := range testPolicies(t) {
		r := built(t, compiled(t, src))
		for kind, list := range map[string][]Resource{"listeners": r.Listeners, "routes": r.Routes, "clusters": r.Clusters} {
			var out bytes.Buffer
			for _, res := range list {
				raw, err := JSON(res.Message)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&out, "// %s, from policy.yaml:%d:%d\n%s", res.Name, res.Origin.Line, res.Origin.Column, raw)
			}
			file := filepath.Join("testdata", "golden", name, kind+".json")
			want[file] = true
			golden(t, file, out.Bytes())
		}
	}
	err := filepath.WalkDir(filepath.Join("testdata", "golden"), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir() || want[path]:
			return err
		case *update:
			return os.Remove(path)
		}
		t.Errorf("%s belongs to no policy any more: go test ./xds -run Goldens -update", path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// check holds every resource to what no policy may change.
func check(t *rapid.T, p *policies.Policy, r *Resources) {
	all := slices.Concat(r.Listeners, r.Routes, r.Clusters)
	for _, res := range all {
		if err := valid(res.Message); err != nil {
			t.Fatalf("%s: %v", res.Name, err)
		}
		raw, err := JSON(res.Message)
		if err != nil {
			t.Fatalf("%s: %v", res.Name, err)
		}
		if bytes.Contains(raw, []byte(canary)) {
			t.Fatalf("%s holds a credential:\n%s", res.Name, raw)
		}
		walk(t, res.Message.ProtoReflect())
	}
	if len(r.Listeners) != 1 || len(r.Routes) != 1 {
		t.Fatalf("%d listeners and %d route configurations, want 1 and 1", len(r.Listeners), len(r.Routes))
	}
	names := map[string]bool{}
	for i, c := range r.Clusters {
		if i > 0 && r.Clusters[i-1].Name >= c.Name {
			t.Fatalf("clusters are not sorted: %s before %s", r.Clusters[i-1].Name, c.Name)
		}
		names[c.Name] = true
	}
	for at, name := range r.carriers {
		if !names[name] {
			t.Fatalf("%v is carried by %s, which is not there", at, name)
		}
	}
	again, err := Build(p, testParams(p))
	if err != nil {
		t.Fatalf("second build: %v", err)
	}
	for i, res := range slices.Concat(again.Listeners, again.Routes, again.Clusters) {
		if res.Hash != all[i].Hash || !proto.Equal(res.Message, all[i].Message) {
			t.Fatalf("%s differs between two builds", res.Name)
		}
	}
}

// forbidden fields break the chain or cut the executor, wherever they stand.
var forbidden = map[protoreflect.FullName]bool{
	"envoy.config.route.v3.RouteAction.hedge_policy":         true,
	"envoy.config.route.v3.VirtualHost.hedge_policy":         true,
	"envoy.config.route.v3.VirtualHost.retry_policy":         true,
	"envoy.config.route.v3.RetryPolicy.per_try_timeout":      true,
	"envoy.config.route.v3.RetryPolicy.per_try_idle_timeout": true,
	"envoy.config.route.v3.RouteAction.max_stream_duration":  true,
}

// walk visits every message, inside envelopes too.
func walk(t *rapid.T, m protoreflect.Message) {
	if envelope, ok := m.Interface().(*anypb.Any); ok {
		inner, err := envelope.UnmarshalNew()
		if err != nil {
			t.Fatalf("%v", err)
		}
		if err := valid(inner); err != nil {
			t.Fatalf("%s: %v", envelope.TypeUrl, err)
		}
		walk(t, inner.ProtoReflect())
		return
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if forbidden[f.FullName()] {
			t.Fatalf("%s is set", f.FullName())
		}
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { walk(t, v.Message()); return true })
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				walk(t, v.List().Get(i).Message())
			}
		case !f.IsMap() && !f.IsList() && f.Message() != nil:
			walk(t, v.Message())
		}
		return true
	})
}

func TestInvariants(t *testing.T) {
	for name, src := range testPolicies(t) {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				p := compiled(t, src)
				check(t, p, built(t, p))
			})
		})
	}
}

func TestAnyPolicyBuilds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := compiled(t, []byte(drawPolicy(t)))
		check(t, p, built(t, p))
	})
}

// drawPolicy writes a valid policy.
func drawPolicy(t *rapid.T) string {
	var b strings.Builder
	pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
	seconds := func(label string, most int) int { return rapid.IntRange(1, most).Draw(t, label) }
	n := rapid.IntRange(1, 4).Draw(t, "providers")
	b.WriteString("version: 1\nproviders:\n")
	for i := range n {
		if rapid.Bool().Draw(t, "own") {
			fmt.Fprintf(&b, "  p%d: {engine: %s, endpoints: [", i, pick("engine", "vllm", "ollama", "openai"))
			for e := range rapid.IntRange(1, 3).Draw(t, "endpoints") {
				fmt.Fprintf(&b, "%q, ", fmt.Sprintf("%s://%s:%d%s", pick("scheme", "http", "https"), pick("host", "10.0.0.1", "[fd00::1]", "gpu.test"), 8000+e, pick("base", "", "/v1", "/x")))
			}
			b.WriteString("]")
		} else {
			fmt.Fprintf(&b, "  p%d: {dialect: openai, base_url: %q", i, pick("base", "https://a.test/v1", "http://b.test:81", "https://10.0.0.9:8443/api", "https://c.test:8443/v1"))
			b.WriteString(pick("ca", "", ", ca: ca.pem") + pick("proxy", "", "", ", proxy: \"http://proxy.test:3128\""))
		}
		fmt.Fprintf(&b, "%s, trace_context: %s}\n", pick("keys", "", ", keys: [{env: KEY}]"), pick("trace", "true", "false"))
	}
	b.WriteString("models:\n")
	for i := range n {
		fmt.Fprintf(&b, "  m%d: {provider: p%d, name: m%s}\n", i, i, pick("can", "", ", can: [embeddings]", ", can: [chat, tools]"))
	}
	b.WriteString("tiers:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {name: t%d, models: [m%d]}\n", i, i)
	}
	b.WriteString("routes:\n")
	for i := range rapid.IntRange(1, 3).Draw(t, "routes") {
		fmt.Fprintf(&b, "  r%d: {rules: [{use: %s}], carrier: %s, fallback: %s, timeouts: {connect: %ds, answer: %ds, total: %ds}}\n", i,
			pick("use", "by_gain", "t0", "[m0]"), pick("carrier", "envoy", "envoy", "executor"), pick("fallback", "[]", "[stronger]", "[same_tier, weaker]"),
			seconds("connect", 10), seconds("answer", 600), seconds("total", 3600))
	}
	fmt.Fprintf(&b, "server: {listen: %q, envoy: {mode: %s}, body_limit: %dk}\n",
		pick("listen", "127.0.0.1:8080", "localhost:9000", "[::1]:8080"), pick("mode", "filter", "filter", "edge"), seconds("limit", 65536))
	return b.String()
}

func TestOrigins(t *testing.T) {
	r := built(t, compiled(t, testPolicies(t)["carried"]))
	got := map[string]policies.Position{}
	for _, c := range r.Clusters {
		name, _, _ := strings.Cut(c.Name, "-")
		got[name] = c.Origin
	}
	got["listener"], got["routes"] = r.Listeners[0].Origin, r.Routes[0].Origin
	want := map[string]policies.Position{
		"pool": {Line: 4, Column: 3}, "house": {Line: 5, Column: 3}, "named": {Line: 6, Column: 3}, "routes": {Line: 16, Column: 3}, "listener": {Line: 26, Column: 1},
		wire.ClusterExecutor: {}, wire.ClusterEdge: {},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("origins (-want +got):\n%s", diff)
	}
}

func TestCarriers(t *testing.T) {
	r := built(t, compiled(t, testPolicies(t)["carried"]))
	seen := map[string]bool{}
	for _, test := range []struct {
		provider string
		limit    time.Duration
		want     bool
	}{
		{"pool", 2 * time.Minute, true}, {"pool", 8 * time.Minute, true}, {"pool", 30 * time.Minute, true},
		{"house", 2 * time.Minute, true}, {"house", 8 * time.Minute, true}, {"house", 30 * time.Minute, false},
		{"pool", time.Minute, false}, {"nobody", 8 * time.Minute, false},
	} {
		name, ok := r.Cluster(test.provider, test.limit)
		if ok != test.want || ok && (seen[name] || !strings.HasPrefix(name, test.provider+"-")) {
			t.Errorf("Cluster(%s, %s) = %q, %t, want %t and a name of its own", test.provider, test.limit, name, ok, test.want)
		}
		seen[name] = true
		for _, c := range r.Clusters {
			if m := c.Message.(*clusterv3.Cluster); ok && c.Name == name && (m.AltStatName != test.provider || m.ConnectTimeout.AsDuration() != map[string]time.Duration{"pool": 3 * time.Second, "house": time.Second}[test.provider]) {
				t.Errorf("%s has the statistics' name %q and connects within %s", name, m.AltStatName, m.ConnectTimeout.AsDuration())
			}
		}
	}
}

func TestUncarried(t *testing.T) {
	r := built(t, compiled(t, testPolicies(t)["uncarried"]))
	want := map[string]string{
		"proxied": "it is reached through a proxy", "mixed": "its endpoints mix http and https", "refused": "the caller says so",
		"names": "its endpoints have names: Envoy can be held to the picked one only by its IP address",
	}
	if diff := cmp.Diff(want, r.Uncarried); diff != "" {
		t.Errorf("uncarried (-want +got):\n%s", diff)
	}
	for _, name := range []string{"one", "six"} {
		if _, ok := r.Cluster(name, 10*time.Minute); !ok {
			t.Errorf("%s has no cluster", name)
		}
	}
	if _, ok := r.Cluster("banned", 10*time.Minute); ok {
		t.Error("a provider outside of a boundary that always holds has a cluster")
	}
}

// TestPaths: what goes through the stage, and that nothing else does.
func TestPaths(t *testing.T) {
	policiesByName := testPolicies(t)
	for name, want := range map[string][]string{
		"carried":    {"prepared", "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "straight"},
		"uncarried":  {"prepared", "/v1/embeddings", "straight"},
		"edge":       {"straight"},
		"quickstart": {"straight"},
	} {
		var got []string
		r := built(t, compiled(t, policiesByName[name]))
		for _, route := range r.Routes[0].Message.(*routev3.RouteConfiguration).VirtualHosts[0].Routes {
			got = append(got, route.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: routes (-want +got):\n%s", name, diff)
		}
	}
}

// TestListenerStays: what reloads is not in the listener, whose change would cut streams.
func TestListenerStays(t *testing.T) {
	src := testPolicies(t)["carried"]
	before := built(t, compiled(t, src))
	for _, edit := range [][2]string{{"carrier: envoy", "carrier: executor"}, {"10.0.0.11", "10.0.0.13"}, {"total: 30m", "total: 40m"}, {"models: [mid, big]", "models: [mid]"}} {
		after := built(t, compiled(t, bytes.ReplaceAll(src, []byte(edit[0]), []byte(edit[1]))))
		if before.Listeners[0].Hash != after.Listeners[0].Hash {
			t.Errorf("%q to %q changes the listener", edit[0], edit[1])
		}
	}
	comment := built(t, compiled(t, append([]byte("# another line\n"), src...)))
	for i, c := range comment.Clusters {
		if c.Name != before.Clusters[i].Name || c.Hash != before.Clusters[i].Hash {
			t.Errorf("a comment changes %s", c.Name)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	p := compiled(t, testPolicies(t)["carried"])
	for name, test := range map[string]struct {
		edit func(*Params)
		want string
	}{
		"no authorities":         {func(p *Params) { p.SystemCA = "" }, "policy.yaml:6:3: provider named: no bundle"},
		"TCP without TLS":        {func(p *Params) { p.Edge = "10.0.0.1:9000" }, "needs mutual TLS"},
		"no port":                {func(p *Params) { p.Claim = "nowhere" }, `sluice_executor: address "nowhere"`},
		"listening on a name":    {func(p *Params) { p.Listen = "gateway.test:80" }, "policy.yaml:26:1: listen: gateway.test is a name"},
		"a usage without a path": {func(p *Params) { p.Usage = []UsageField{{"input", []string{"usage"}}} }, "path of input"},
	} {
		params := testParams(p)
		test.edit(&params)
		if _, err := Build(p, params); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
}

func TestBootstrap(t *testing.T) {
	for name, test := range map[string]struct {
		params Params
		want   string // in the error; "" = a golden file
	}{
		"socket":   {Params{Control: "/run/sluice/control.sock", Admin: "/run/sluice/admin.sock"}, ""},
		"remote":   {Params{Control: "sluice.example.com:9443", Mutual: &Mutual{"ca.pem", "envoy.pem", "envoy.key"}, NodeID: "edge-1", Admin: "127.0.0.1:9901", Heap: 1 << 30}, ""},
		"address":  {Params{Control: "[fd00::7]:9443", Mutual: &Mutual{"ca.pem", "envoy.pem", "envoy.key"}}, ""},
		"open":     {Params{Control: "/run/c.sock", Admin: "0.0.0.0:9901"}, "whoever reaches"},
		"named":    {Params{Control: "/run/c.sock", Admin: "admin.test:9901"}, "whoever reaches"},
		"unproved": {Params{Control: "sluice.example.com:9443"}, "mutual TLS"},
		"nowhere":  {Params{}, "want a socket's absolute path or host:port"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Bootstrap(test.params)
			switch {
			case test.want != "":
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want %q", err, test.want)
				}
			case err != nil:
				t.Error(err)
			default:
				golden(t, filepath.Join("testdata", "bootstrap", name+".json"), got)
			}
		})
	}
}
