package policies

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const minimal = `version: 1
providers: {pool: {engine: llamacpp, endpoints: [http://127.0.0.1:8000]}}
models: {small: {provider: pool, name: small-1b}}
routes: {auto: {rules: [{use: [small]}]}}
`

func small(t testing.TB) *Policy {
	t.Helper()
	src, err := os.ReadFile("testdata/small.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return mustLoad(t, string(src))
}

func TestDefaults(t *testing.T) {
	p := mustLoad(t, minimal)
	r := p.Routes[0]
	if r.Timeouts != (Timeouts{2 * time.Second, 30 * time.Second, 30 * time.Second, 30 * time.Second, 5 * time.Minute, 10 * time.Minute}) {
		t.Errorf("timeouts %+v", r.Timeouts)
	}
	if r.Attempts.PerModel != 2 || r.Attempts.Total != 4 || len(r.Attempts.On) != 6 {
		t.Errorf("attempts %+v", r.Attempts)
	}
	if r.ByGain != (ByGain{Prefer: "cheap", Above: 0.12}) || !reflect.DeepEqual(r.Fallback, []string{"same_tier", "stronger"}) {
		t.Errorf("by_gain %+v, fallback %v", r.ByGain, r.Fallback)
	}
	if r.Carrier != "executor" || r.Rescue != "" || r.Keepalive != "committed" || r.Lossy != "warn" || r.Content != "off" {
		t.Errorf("route %+v", r)
	}
	s := p.Server
	want := Server{Listen: "127.0.0.1:8080", Admin: "127.0.0.1:8081", AuthNone: true, BodyLimit: 32 << 20, UploadLimit: 512 << 20, Headers: "full", EnvoyMode: "filter", EnvoyBinary: "auto"}
	if d := cmp.Diff(want, s); d != "" {
		t.Errorf("server (-want +got):\n%s", d)
	}
	if !p.Telemetry.AccessLog || p.Telemetry.Content != "off" || p.Telemetry.OTLPEndpoint != "" {
		t.Errorf("telemetry %+v", p.Telemetry)
	}
	m := p.Models["small"]
	if m.Can != nil || m.Price != nil || m.Context != 0 || m.Tier != "" || m.Provider.Cancel != "cancel" || m.Provider.Concurrent != 0 {
		t.Errorf("model %+v, provider %+v", m, m.Provider)
	}
}

func TestServerDefaults(t *testing.T) {
	tenants := `
auth: {pepper: {env: SLUICE_PEPPER}, admin: [{id: ops, role: viewer, hash: "hmac-sha256:` + strings.Repeat("a", 64) + `"}]}
tenants: {acme: {keys: [{id: web, hash: "hmac-sha256:` + strings.Repeat("0", 64) + `"}]}}
`
	for _, c := range []struct {
		name, add string
		none      bool
		headers   string
	}{
		{"loopback", "", true, "full"},
		{"IPv6 loopback", `server: {listen: "[::1]:1", admin: "localhost:2"}`, true, "full"},
		{"keys on loopback are asked for", tenants, false, "full"},
		{"none, said aloud", tenants + "server: {auth: none}", true, "full"},
		{"required, said aloud", "server: {auth: required}", false, "full"},
		{"open", tenants + `server: {listen: ":8080"}`, false, "basic"},
		{"open, full", tenants + `server: {listen: 0.0.0.0:8080, headers: full}`, false, "full"},
		{"open admin", tenants + `server: {admin: 0.0.0.0:8081}`, false, "full"},
	} {
		p := mustLoad(t, minimal+c.add)
		if p.Server.AuthNone != c.none || p.Server.Headers != c.headers {
			t.Errorf("%s: auth none %v, headers %s", c.name, p.Server.AuthNone, p.Server.Headers)
		}
	}
}

// TestFullLanguage holds the whole language of the contract to what this version does with it: each section is refused, reported or honoured.
func TestFullLanguage(t *testing.T) {
	src, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, ps := Parse("policy.yaml", src); len(ps) > 0 {
		t.Fatalf("the full language has problems: %v", ps)
	}
	_, ps := LoadBytes("policy.yaml", src, testOptions())
	var refused []string
	for _, p := range ps {
		refused = append(refused, p.Path)
	}
	want := []string{
		"auth.admin[0].hash", "tenants.acme.keys[0].hash",
	}
	if d := cmp.Diff(want, refused); d != "" {
		t.Errorf("refused (-want +got):\n%s", d)
	}
}

func TestNotices(t *testing.T) {
	p := mustLoad(t, `version: 1
providers:
  pool: {engine: llamacpp, endpoints: [http://127.0.0.1:8000], concurrent: 2, queue: {max: 1, wait: 1s}, gpu: {usd_per_hour: 2, count: 2}, on_cancel: cancel}
  out: {dialect: openai, base_url: http://127.0.0.1:9, concurrent: 2, on_cancel: drain}
  far: {dialect: openai, base_url: http://127.0.0.1:9, on_cancel: {drain: 2k}}
models: {small: {provider: pool, name: small-1b}}
tiers: [{name: cheap, models: [small]}]
routes:
  auto:
    match: ["a*"]
    lossy: reject
    rules: [{use: cheap}, {name: late, use: cheap}]
    rescue: verified
    escalate: {on: [empty]}
    cache: {exact: 1h}
    keepalive: early
    by_gain: {quality_value: 0.02}
    content: full
    timeouts: {idle: 2m, total: 1m}
  second:
    match: [ab]
    rules: [{use: cheap}]
    rescue: off
    keepalive: off
state: {path: /var/lib/sluice}
server: {concurrent: 5, memory: 1G, criticality: {header: x-priority}}
feedback: on
telemetry: {content: full, otlp: {endpoint: {env: NOT_SET}}}
`)
	if cost := p.Providers["pool"].GPUPerHour; cost != 4 {
		t.Errorf("pool costs %v an hour", cost)
	}
	var got []string
	for _, n := range p.Notices {
		got = append(got, n.Path)
	}
	want := []string{
		"routes.auto.lossy", "routes.auto.rules[1]",
		"routes.auto.content", "routes.auto.timeouts.idle", "routes.second.match[0]",
		"telemetry.content", "telemetry.otlp.endpoint",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("notices (-want +got):\n%s", d)
	}
}

func TestCarrier(t *testing.T) {
	for _, c := range []struct{ lines, carrier, why string }{
		{"", "executor", "the default"},
		{"carrier: executor", "executor", "carrier is written in the route"},
		{"carrier: envoy", "envoy", "carrier is written in the route"},
		{"carrier: envoy, rescue: verified", "executor", "rescue is written in the route"},
		{"carrier: envoy, rescue: off", "envoy", "carrier is written in the route"},
	} {
		p := mustLoad(t, strings.Replace(minimal, "[{use: [small]}]", "[{use: [small]}], "+c.lines, 1))
		plan, _, _ := p.Plan(p.Routes[0], p.Routes[0].Rules[0], Stakes{}, Bounds{Free: true}, Needs{}, nil, nil)
		if plan.Carrier != c.carrier || plan.Why != c.why {
			t.Errorf("%q: carried by %s (%s)", c.lines, plan.Carrier, plan.Why)
		}
	}
}

func TestVersion(t *testing.T) {
	version := func(src string) string { return mustLoad(t, src).Version }
	base := version(minimal)
	if len(base) != 16 {
		t.Errorf("version %q", base)
	}
	two := minimal + "  "
	same := map[string]string{
		"comment":    "# hello\n" + minimal + "# bye\n",
		"blank":      strings.ReplaceAll(minimal, "\n", "\n\n"),
		"quotes":     strings.Replace(minimal, "small-1b", `"small-1b"`, 1),
		"block form": strings.Replace(minimal, "routes: {auto: {rules: [{use: [small]}]}}", "routes:\n  auto:\n    rules:\n      - use:\n          - small", 1),
		"key order":  strings.Replace(minimal, "provider: pool, name: small-1b", "name: small-1b, provider: pool", 1),
		"line ends":  strings.ReplaceAll(minimal, "\n", "\r\n"),
		"BOM":        "\ufeff" + minimal,
		"trailing":   two,
	}
	for name, src := range same {
		if v := version(src); v != base {
			t.Errorf("%s changes the version: %s, was %s", name, v, base)
		}
	}
	routes := strings.Replace(minimal, "routes: {auto:", "routes: {b: {match: [x], rules: [{use: [small]}]}, auto:", 1)
	swapped := strings.Replace(minimal, "[{use: [small]}]}}", "[{use: [small]}]}, b: {match: [x], rules: [{use: [small]}]}}", 1)
	if version(routes) == version(swapped) {
		t.Error("the order of routes does not change the version")
	}
	if version(strings.Replace(minimal, "small-1b", "small-2b", 1)) == base {
		t.Error("another name does not change the version")
	}
}

func TestUnits(t *testing.T) {
	for in, want := range map[string]int{"0": 0, "1024": 1024, "32k": 32000, "1.5k": 1500, "1M": 1e6, "2m": 2e6} {
		if got, err := parseTokens(in); err != nil || got != want {
			t.Errorf("tokens %q = %d, %v", in, got, err)
		}
	}
	for in, want := range map[string]int64{"512": 512, "1k": 1024, "32M": 32 << 20, "1G": 1 << 30, "0.5k": 512} {
		if got, err := parseSize(in); err != nil || got != want {
			t.Errorf("size %q = %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "k", "1kb", "-1", "1.0001k", "1e3", "0x10", "1 k", "9999999999999999M", "1.2.3"} {
		if got, err := parseTokens(in); err == nil {
			t.Errorf("tokens %q = %d", in, got)
		}
		if got, err := parseSize(in); err == nil && in != "1.0001k" {
			t.Errorf("size %q = %d", in, got)
		}
	}
	for in, want := range map[string]string{"2027-01-01": "2027-01-02T00:00:00Z", "2027-01-01T10:00:00+02:00": "2027-01-01T08:00:00Z"} {
		if got, err := parseExpiry(in); err != nil || got.UTC().Format(time.RFC3339) != want {
			t.Errorf("expiry %q = %v, %v", in, got, err)
		}
	}
}

func TestURLs(t *testing.T) {
	for in, want := range map[string]string{
		"{engine: vllm, endpoints: [http://h:1]}":                                       "http://h:1/v1",
		"{engine: vllm, endpoints: [http://h:1/]}":                                      "http://h:1/v1",
		"{engine: vllm, endpoints: [http://h:1/v1/]}":                                   "http://h:1/v1",
		"{engine: vllm, endpoints: [http://h/api]}":                                     "http://h/api/v1",
		"{dialect: openai, base_url: https://h}":                                        "https://h/v1",
		"{dialect: openai, base_url: https://h/v1beta/openai/}":                         "https://h/v1beta/openai",
		"{preset: groq, keys: [{env: KEY}]}":                                            "https://api.groq.com/openai/v1",
		"{preset: azure, keys: [{env: KEY}], base_url: https://me.openai.azure.com/v1}": "https://me.openai.azure.com/v1",
		"{engine: vllm, endpoints: ['http://[::1]:80']}":                                "http://[::1]:80/v1",
	} {
		p := mustLoad(t, strings.Replace(minimal, "{engine: llamacpp, endpoints: [http://127.0.0.1:8000]}", in, 1))
		if got := p.Providers["pool"].Endpoints[0].String(); got != want {
			t.Errorf("%s: %s, expected %s", in, got, want)
		}
	}
}

func TestProblemsJoin(t *testing.T) {
	_, err := Load("nowhere.yaml", testOptions())
	if err == nil || !strings.Contains(err.Error(), "nowhere.yaml") {
		t.Errorf("missing file: %v", err)
	}
	o := testOptions()
	o.ReadFile = func(string) ([]byte, error) { return []byte("version: 3\nfoo: 1\n"), nil }
	_, err = Load("p.yaml", o)
	ps, ok := err.(Problems)
	if !ok || len(ps) < 2 || !strings.Contains(err.Error(), "more)") {
		t.Errorf("problems: %v", err)
	}
}

func TestOffline(t *testing.T) {
	src := strings.Replace(minimal, "8000]", "8000], keys: [{env: NOT_SET}, {file: nowhere}], ca: nowhere.pem", 1)
	o := testOptions()
	if _, ps := LoadBytes("p.yaml", []byte(src), o); len(ps) != 3 {
		t.Errorf("online: %v", ps)
	}
	o.Offline = true
	if _, ps := LoadBytes("p.yaml", []byte(src), o); len(ps) != 0 {
		t.Errorf("offline: %v", ps)
	}
}
