//go:build real

package envoyplane

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	groupv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/router/cluster_specifiers/priority_group/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/testkit"
	"github.com/sluice-gateway/sluice/internal/wire"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/proxy/extproc"
	"github.com/sluice-gateway/sluice/telemetry"
	"github.com/sluice-gateway/sluice/xds"
)

// matrixPolicy has a first target and a second one, each to be asked once.
const matrixPolicy = `version: 1
providers:
  first: {%s}
  second: {dialect: openai, base_url: "http://second.test:9000/v1", keys: [{env: SECOND_KEY}]}
models:
  small: {provider: first, name: small-1b}
  big: {provider: second, name: big-70b, price: {in: 2, out: 8}}
routes:
  auto:
    attempts: {per_model: 1}
    timeouts: {connect: 500ms, headers: 700ms, first_token: 700ms, idle: 700ms, answer: 1s, total: 3s}
    rules: [{use: [small, big]}]
`

const firstPool = `engine: vllm, endpoints: ["http://first.test:8000"]`

const (
	failing = "HTTP/1.1 %s\nContent-Type: application/json\n%s\n{\"error\":{\"message\":\"no\"}}\n"
	begun   = "HTTP/1.1 200 OK\nContent-Type: text/event-stream\n\ndata: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n"
	second  = "HTTP/1.1 200 OK\nContent-Type: %s\n\n%s"
	chat    = `{"id":"c","object":"chat.completion","created":1,"model":"big-70b","choices":[{"index":0,"message":{"role":"assistant","content":"second"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}` + "\n"
	chunks  = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"big-70b","choices":[{"index":0,"delta":{"role":"assistant","content":"second"},"finish_reason":null}]}` + "\n\n" +
		`data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"big-70b","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n"
)

// ending is how an exchange ends: "second" = a whole answer of the second target; else a status, or "cut", and the record's outcome.
type ending struct {
	client, outcome string
	attempts        string // cause of each, "ok" for success
}

var moved = func(cause string) ending { return ending{"second", "ok", cause + " ok"} }

// failures is the matrix of both reports on what a real Envoy did, for each carrier.
var failures = []struct {
	name     string
	first    string // script of the first target; "" = not asked
	provider string // of the first target; "" = firstPool
	stream   bool
	sick     bool
	built    func(*xds.Resources)
	stage    func(*extproc.Options)
	executor ending // carrier: executor
	envoy    ending // carrier: envoy
}{
	{name: "500", first: fmt.Sprintf(failing, "500 Internal Server Error", ""), executor: moved("status"), envoy: moved("status")},
	{name: "503", first: fmt.Sprintf(failing, "503 Service Unavailable", ""), executor: moved("status"), envoy: moved("status")},
	{name: "429 with Retry-After", first: fmt.Sprintf(failing, "429 Too Many Requests", "Retry-After: 7\n"), executor: moved("status"), envoy: moved("status")},
	{name: "429 in a stream", stream: true, first: fmt.Sprintf(failing, "429 Too Many Requests", "Retry-After: 7\n"), executor: moved("status"), envoy: moved("status")},
	{name: "refused", first: "!refuse\n", executor: moved("refused"), envoy: moved("refused")},
	{name: "no connection", first: "!dialhang\n", executor: moved("connect_timeout"), envoy: moved("connect_timeout")},
	{name: "reset", first: "!reset\n", executor: moved("reset"), envoy: moved("reset")},
	{name: "closed", first: "!cut\n", executor: moved("reset"), envoy: moved("reset")},
	{name: "silence before headers", first: "!hang\n", executor: moved("answer"), envoy: moved("answer")},
	{name: "silence before headers of a stream", stream: true, first: "!hang\n", executor: moved("headers"), envoy: ending{"504", "timeout", "headers"}},
	{name: "silence after headers", stream: true, first: begun + "!hang\n", executor: moved("first_token"), envoy: ending{"cut", "interrupted", "limit"}},
	{name: "cut after headers", stream: true, first: begun + "!cut\n", executor: moved("cut"), envoy: ending{"cut", "interrupted", "cut"}},
	{name: "reset after headers", stream: true, first: begun + "!reset\n", executor: moved("cut"), envoy: ending{"cut", "interrupted", "cut"}},
	{name: "DNS failure, no hosts", provider: `dialect: openai, base_url: "http://nowhere.invalid:81/v1"`, executor: moved("refused"), envoy: moved("refused")},
	{name: "unhealthy pool", sick: true, executor: ending{}, envoy: moved("refused")},
	{name: "breaker overflow", built: overflow, executor: ending{}, envoy: ending{"503", "overloaded", "refused"}},
	{name: "unknown cluster", stage: foreignCluster, executor: ending{}, envoy: ending{"503", "overloaded", "refused"}},
	{name: "metadata missing", built: noMetadata, executor: ending{}, envoy: moved("reset")},
	{name: "metadata malformed", built: wrongNamespace, executor: ending{}, envoy: moved("reset")},
}

// TestFailures: each failure ends in a complete answer of the next target or in one clean error, the record has the attempts, and nobody is asked more
// often than the plan says.
func TestFailures(t *testing.T) {
	envoy := Binary(t)
	var ran atomic.Int64
	t.Run("matrix", func(t *testing.T) {
		for _, f := range failures {
			for carrier, want := range map[string]ending{"executor": f.executor, "envoy": f.envoy} {
				if want == (ending{}) { // only a target that Envoy asks can fail like that
					continue
				}
				t.Run(f.name+"/"+carrier, func(t *testing.T) {
					t.Parallel()
					m := newMatrix(t, envoy, carrier, f.provider, f.first, f.stream, f.sick, f.built, f.stage)
					m.expect(want, f.first)
					ran.Add(1)
				})
			}
		}
	})
	t.Logf("%d cells of the matrix", ran.Load())
}

// matrix is one cell of the table.
type matrix struct {
	t      *testing.T
	ups    *testkit.Upstreams
	plane  *Plane
	names  map[string]string
	stream bool
}

func newMatrix(t *testing.T, envoy, carrier, provider, first string, stream, sick bool, built func(*xds.Resources), stage func(*extproc.Options)) *matrix {
	m := &matrix{t: t, names: map[string]string{}, stream: stream}
	network := testkit.NewNet()
	m.ups = testkit.NewUpstreams(network)
	d := newDoors(t, m.ups)
	m.ups.Turned, m.ups.Health, m.ups.Sick, m.ups.Linger = d.turn, "/health", sick, 100*time.Millisecond
	if provider == "" {
		provider = firstPool
	}
	text := fmt.Sprintf(matrixPolicy, provider)
	kind, body := "application/json", chat
	if stream {
		kind, body = "text/event-stream", chunks
	}
	scripts := map[string]string{"second.test:9000": fmt.Sprintf(second, kind, body)}
	if first != "" {
		scripts["first.test:8000"] = first
	}
	for _, host := range []string{"first.test:8000", "second.test:9000"} {
		if s := scripts[host]; s != "" {
			if err := m.ups.Script(host, []byte(s)); err != nil {
				t.Fatal(err)
			}
		}
		at := d.add(host)
		m.names[at] = host
		text = strings.ReplaceAll(text, host, at)
	}
	p := Compile(t, []byte(text))
	for _, r := range p.Routes {
		r.Carrier = carrier
	}
	m.plane = Start(t, Options{
		Policy: p, Envoy: envoy, Built: built, Stage: stage, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Dial: func(ctx context.Context, n, addr string) (net.Conn, error) {
			if host, ok := m.names[addr]; ok {
				addr = host
			}
			return network.Dial(ctx, n, addr)
		},
		Claim: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if len(m.ups.Seen()) == 0 {
					refused(m.plane, m.ups, m.names, r.Header.Get(wire.HeaderID))
				}
				next.ServeHTTP(w, r)
			})
		},
	})
	t.Cleanup(func() { m.plane.Stop(); network.Close() })
	return m
}

func (m *matrix) request() string {
	return fmt.Sprintf(`{"model":"auto","stream":%t,"messages":[{"role":"user","content":"hi"}]}`, m.stream)
}

// ask asks Envoy and says how it ended.
func (m *matrix) ask() (status int, body string, err error) {
	c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Post(m.plane.URL+"/v1/chat/completions", "application/json", strings.NewReader(m.request()))
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return r.StatusCode, string(b), err
}

func (m *matrix) expect(want ending, first string) {
	m.t.Helper()
	status, body, err := m.ask()
	r := m.plane.Settled(1)[0]
	got := fmt.Sprint(status)
	switch {
	case status == 200 && err == nil && strings.Contains(body, "second") && (!m.stream || strings.HasSuffix(body, "data: [DONE]\n\n")):
		got = "second"
	case status == 200 && err != nil:
		got = "cut"
	case status != r.Status || !cleanError(body, r.ErrorCode):
		m.t.Errorf("not one clean error: %d %q, %v; the record says %d %s", status, body, err, r.Status, r.ErrorCode)
	}
	if seen := (ending{got, r.Outcome, causes(r)}); seen != want {
		m.t.Errorf("%+v, want %+v\n%s", seen, want, body)
	}
	m.bounded(first)
	if n := len(m.plane.Records()); n != 1 {
		m.t.Errorf("%d records", n)
	}
	if c := m.plane.Stage.Counts(); c.Violations != 0 || c.Panics != 0 || c.Waiting != 0 {
		m.t.Errorf("%+v", c)
	}
}

// bounded: no upstream was asked more often than the plan says, which is once.
func (m *matrix) bounded(first string) {
	m.t.Helper()
	asked := map[string]int{}
	for _, s := range m.ups.Seen() {
		asked[s.Host]++
	}
	for host, n := range asked {
		if n > 1 {
			m.t.Errorf("%s was asked %d times", host, n)
		}
	}
	if first == "" && asked["first.test:8000"] > 0 {
		m.t.Errorf("the first target was asked: %v", slices.Collect(maps.Keys(asked)))
	}
}

// cleanError reports whether a body is one error of the API's form.
func cleanError(body, code string) bool {
	var e struct {
		Error struct {
			Message, Type string
			Code          string
		}
	}
	d := json.NewDecoder(strings.NewReader(body))
	return d.Decode(&e) == nil && e.Error.Message != "" && e.Error.Type != "" && e.Error.Code == code && !d.More()
}

func causes(r *telemetry.Record) string {
	var out []string
	for _, a := range r.Attempts {
		if a.Class == "" {
			out = append(out, "ok")
		} else {
			out = append(out, a.Cause)
		}
	}
	return strings.Join(out, " ")
}

// overflow lets the first target's cluster take no request at all.
func overflow(r *xds.Resources) {
	for _, c := range r.Clusters {
		if m := c.Message.(*clusterv3.Cluster); strings.HasPrefix(m.Name, "first-") {
			for _, th := range m.CircuitBreakers.Thresholds {
				th.MaxRequests, th.MaxPendingRequests = wrapperspb.UInt32(0), wrapperspb.UInt32(0)
			}
		}
	}
}

// foreignCluster names a cluster that Envoy does not have.
func foreignCluster(o *extproc.Options) {
	o.Clusters = func(string, *policies.Provider, time.Duration) (string, bool) { return "nobody", true }
}

// noMetadata has Envoy ignore every metadata of the stage.
func noMetadata(r *xds.Resources) {
	for _, l := range r.Listeners {
		for _, chain := range l.Message.(*listenerv3.Listener).FilterChains {
			for _, f := range chain.Filters {
				edit(f.GetTypedConfig(), func(h *hcmv3.HttpConnectionManager) {
					for _, f := range h.HttpFilters {
						if f.GetTypedConfig().MessageIs(&extprocv3.ExternalProcessor{}) {
							edit(f.GetTypedConfig(), func(p *extprocv3.ExternalProcessor) { p.MetadataOptions = nil })
						}
					}
				})
			}
		}
	}
}

// wrongNamespace has the route read the chain where something else stands.
func wrongNamespace(r *xds.Resources) {
	for _, c := range r.Routes {
		for _, h := range c.Message.(*routev3.RouteConfiguration).VirtualHosts {
			for _, route := range h.Routes {
				if p := route.GetRoute().GetInlineClusterSpecifierPlugin(); p != nil {
					edit(p.Extension.TypedConfig, func(g *groupv3.PriorityGroupClusterSpecifier) { g.OverrideMetadataNamespace = wire.MetadataUsage })
				}
			}
		}
	}
}

// edit changes a message in its wrapping.
func edit[T any, M interface {
	*T
	proto.Message
}](a *anypb.Any, f func(M)) {
	m := M(new(T))
	if err := a.UnmarshalTo(m); err != nil {
		panic(err)
	}
	f(m)
	if err := a.MarshalFrom(m); err != nil {
		panic(err)
	}
}

// TestClaims: what reaches the executor's socket without its exchange. An id that nobody knows and that was prepared is refused, one that was not is a
// fresh exchange, and a repeated one runs once.
func TestClaims(t *testing.T) {
	m := newMatrix(t, Binary(t), "envoy", "", "!delay 600ms\n"+fmt.Sprintf(failing, "500 Internal Server Error", ""), false, false, nil, nil)
	claim := func(header map[string]string) (int, string) {
		c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", m.plane.Params.Claim)
		}}}
		r, err := http.NewRequest(http.MethodPost, "http://executor/v1/chat/completions", bytes.NewReader([]byte(m.request())))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range header {
			r.Header.Set(k, v)
		}
		a, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		b, _ := io.ReadAll(a.Body)
		return a.StatusCode, string(b)
	}
	unknown := strings.Repeat("ab", 16)
	for name, h := range map[string]map[string]string{
		"unknown and prepared": {wire.HeaderID: unknown, wire.HeaderPrepared: "1"}, "malformed and prepared": {wire.HeaderID: "x", wire.HeaderPrepared: "1"},
		"none and prepared": {wire.HeaderPrepared: "1"},
	} {
		if code, body := claim(h); code != 503 || !cleanError(body, "exchange_lost") {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	if n := len(m.ups.Seen()) + len(m.plane.Records()); n != 0 {
		t.Fatalf("%d upstream requests and records of refused claims", n)
	}

	ended := make(chan string, 1)
	go func() {
		status, body, err := m.ask()
		ended <- fmt.Sprint(status, " ", strings.Contains(body, "second"), " ", err)
	}()
	for deadline := time.Now().Add(patience); len(m.ups.Seen()) == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	id := m.ups.Seen()[0].Header.Get(wire.HeaderID)
	if len(id) != 32 {
		t.Fatalf("the id is %q", id)
	}
	// Whoever knows the id gets here first takes the exchange; Envoy's own claim then is the late one, and nothing runs twice.
	code, body := claim(map[string]string{wire.HeaderID: id, wire.HeaderPrepared: "1"})
	if again, text := claim(map[string]string{wire.HeaderID: id, wire.HeaderPrepared: "1"}); again != 503 || !cleanError(text, "exchange_lost") {
		t.Errorf("the second claim: %d %s", again, text)
	}
	if code != 200 || !strings.Contains(body, "second") {
		t.Errorf("the first claim: %d %s", code, body)
	}
	if got := <-ended; got != "503 false <nil>" {
		t.Errorf("Envoy's client: %s", got)
	}
	m.bounded("asked")
	if r := m.plane.Settled(1); len(r) != 1 || causes(r[0]) != "reset ok" {
		t.Errorf("%d records; %s", len(r), causes(r[0]))
	}
	if code, body := claim(map[string]string{wire.HeaderID: unknown}); code != 502 && code != 503 { // a fresh exchange, whose targets have nothing more to say
		t.Errorf("a fresh exchange: %d %s", code, body)
	}
	if r := m.plane.Settled(2)[1]; len(r.Attempts) == 0 || fmt.Sprintf("%x", r.ID) == unknown {
		t.Errorf("%x %+v", r.ID, r.Attempts)
	}
}
