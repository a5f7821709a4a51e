//go:build real

package e2e

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	v1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/simulator"
)

// collector is an OTLP sink that keeps what it is sent.
type collector struct {
	tracepb.UnimplementedTraceServiceServer
	mu   sync.Mutex
	all  []*v1.Span
	text strings.Builder
}

func (c *collector) Export(_ context.Context, r *tracepb.ExportTraceServiceRequest) (*tracepb.ExportTraceServiceResponse, error) {
	c.keep(r)
	return &tracepb.ExportTraceServiceResponse{}, nil
}

func (c *collector) keep(m proto.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.WriteString(prototext.Format(m))
	r, ok := m.(*tracepb.ExportTraceServiceRequest)
	if !ok {
		return
	}
	for _, rs := range r.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			c.all = append(c.all, ss.Spans...)
		}
	}
}

// metricsIn gives the second Export its receiver.
type metricsIn struct {
	metricspb.UnimplementedMetricsServiceServer
	c *collector
}

func (m metricsIn) Export(_ context.Context, r *metricspb.ExportMetricsServiceRequest) (*metricspb.ExportMetricsServiceResponse, error) {
	m.c.keep(r)
	return &metricspb.ExportMetricsServiceResponse{}, nil
}

func collectGRPC(t *testing.T) (*collector, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, s := &collector{}, grpc.NewServer()
	tracepb.RegisterTraceServiceServer(s, c)
	metricspb.RegisterMetricsServiceServer(s, metricsIn{c: c})
	go func() { _ = s.Serve(l) }() // ends with Stop
	t.Cleanup(s.Stop)
	return c, "http://" + l.Addr().String()
}

func collectHTTP(t *testing.T) (*collector, string) {
	t.Helper()
	c := &collector{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kinds := map[string]proto.Message{"/v1/traces": &tracepb.ExportTraceServiceRequest{}, "/v1/metrics": &metricspb.ExportMetricsServiceRequest{}}
		m := kinds[r.URL.Path]
		b, err := io.ReadAll(r.Body)
		if m == nil || err != nil || proto.Unmarshal(b, m) != nil {
			http.Error(w, "no export", http.StatusBadRequest)
			return
		}
		c.keep(m)
	}))
	t.Cleanup(s.Close)
	return c, s.URL
}

// Canaries: each is something that nobody may find where it does not belong.
const (
	canaryPrompt   = "canary-prompt-4711"
	canaryPepper   = "canary-pepper-4711"
	canaryProvider = "sk-canaryprovider4711aaaabbbbcccc"
	canaryMessage  = "canary-upstream-message-4711" // what a failing upstream says
	canaryModel    = "canary-model-4711"            // a name that a client made up
	canaryPath     = "canary-path-4711"
	canaryHeader   = "canary-header-4711"
	answerText     = "[simulated answer of"
)

const tracePolicy = `version: 1
providers:
  pool: {engine: openai, endpoints: ["http://%s"]}
  external: {dialect: openai, base_url: "http://%s/v1", keys: [{env: CANARY_PROVIDER_KEY}]}
models:
  small: {provider: pool, name: broken}
  big: {provider: external, name: whole, price: {in: 2, out: 8}}
  refused: {provider: external, name: refused}
  wrong: {provider: external, name: wrong}
routes:
  auto: {rules: [{name: both, use: [small, big]}], attempts: {per_model: 1}}
  refused: {rules: [{use: [refused]}]}
  wrong: {rules: [{use: [wrong]}]}
auth: {pepper: {env: SLUICE_PEPPER}}
tenants:
  acme: {keys: [{id: web, hash: %q}]}
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", auth: required, headers: full}
telemetry: {access_log: on, otlp: {endpoint: {env: CANARY_OTLP}}}
`

// misbehave makes the models of tracePolicy fail, with words that hold what must not get out.
func misbehave(_ *http.Request, model string) string {
	switch model {
	case "broken":
		return "status=500,message=" + canaryMessage + " " + canaryProvider
	case "refused":
		return "status=401,message=Incorrect API key provided: " + canaryProvider
	case "wrong":
		return "status=400,message=Bad with " + canaryProvider + " in it"
	}
	return ""
}

// TestTrace reads a request with one failed attempt back from a collector, over both protocols, and looks for canaries everywhere.
func TestTrace(t *testing.T) {
	t.Parallel()
	for protocol, collect := range map[string]func(*testing.T) (*collector, string){"grpc": collectGRPC, "http/protobuf": collectHTTP} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			sink, endpoint := collect(t)
			pool, poolAddr := provider(t, simulator.Options{Fault: misbehave})
			external, externalAddr := provider(t, simulator.Options{Fault: misbehave, Key: canaryProvider})
			key, hash := harness.NewKey(t, binary(), canaryPepper, "acme", "web")
			g := harness.Serve(t, binary(), fmt.Sprintf(tracePolicy, poolAddr, externalAddr, hash),
				"SLUICE_PEPPER="+canaryPepper, "CANARY_PROVIDER_KEY="+canaryProvider, "CANARY_OTLP="+endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol)

			const traceID, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
			c := newClient(t)
			a := chat(t.Context(), c, g, chatBody("auto", canaryPrompt, true, `,"temperature":0.5,"max_tokens":64,"metadata":{"x":"`+canaryPrompt+`"}`),
				"Authorization", "Bearer "+key, "traceparent", "00-"+traceID+"-"+parent+"-01", "tracestate", "vendor=1", "user-agent", canaryHeader)
			if err := a.complete(); err != nil {
				t.Fatal(err)
			}
			seen := provoke(t, c, g, key)
			pages := []string{harness.Get(t, g.Admin+"/metrics"), harness.Get(t, g.Admin+"/admin/status"), harness.Get(t, g.Admin+"/admin/keys")}
			g.Exchange(t, a.id())
			g.Signal(t, syscall.SIGTERM) // flushes
			if code := g.Exit(t); code != 0 {
				t.Errorf("exit code %d", code)
			}

			sink.mu.Lock()
			defer sink.mu.Unlock()
			attempt := checkTree(t, sink.all, traceID, parent)
			checkParents(t, pool.Log(), external.Log(), traceID, attempt)
			if !strings.Contains(sink.text.String(), "gen_ai.client.token.usage") {
				t.Error("no metrics over OTLP")
			}
			secret := key[strings.LastIndexByte(key, '_')+1:]
			for _, place := range []struct{ name, text string }{
				{"spans and metrics", sink.text.String()}, {"the log", g.Err.String() + g.Out.String()}, {"/metrics", pages[0]}, {"/admin/status", pages[1]}, {"/admin/keys", pages[2]},
			} {
				for _, canary := range []string{canaryPrompt, canaryPepper, canaryProvider, canaryMessage, canaryModel, canaryPath, canaryHeader, answerText, secret, hash, key[:len(key)-4]} {
					if strings.Contains(place.text, canary) {
						t.Errorf("%s holds %s:\n%s", place.name, canary, around(place.text, canary))
					}
				}
			}
			for _, canary := range []string{canaryPepper, canaryProvider, canaryMessage, secret, hash} {
				if strings.Contains(seen, canary) {
					t.Errorf("an error that a client saw holds %s:\n%s", canary, around(seen, canary))
				}
			}
		})
	}
}

// provoke makes every kind of error with canaries in the request, and returns heads and bodies of what came back.
func provoke(t *testing.T, c *http.Client, g *harness.Gateway, key string) string {
	t.Helper()
	bearer := []string{"Authorization", "Bearer " + key, "user-agent", canaryHeader}
	var seen strings.Builder
	for _, tc := range []struct {
		body   string
		header []string
		status int
	}{
		{chatBody("auto", canaryPrompt, false, ""), []string{"Authorization", "Bearer " + key[:len(key)-1]}, 401},
		{chatBody("auto", canaryPrompt, false, ""), []string{"Authorization", "Bearer sk-" + canaryHeader}, 401},
		{chatBody(canaryModel, canaryPrompt, false, ""), bearer, 404},
		{chatBody("auto", canaryPrompt, false, "")[:60] + "\"" + canaryPrompt, bearer, 400},
		{`{"model":"auto","` + canaryPrompt + `":1,"` + canaryPrompt + `":2}`, bearer, 400},
		{chatBody("wrong", canaryPrompt, true, ""), bearer, 400},
		{chatBody("refused", canaryPrompt, false, ""), bearer, 502},
	} {
		a := chat(t.Context(), c, g, tc.body, tc.header...)
		if a.status != tc.status {
			t.Errorf("%.200s: %v, want %d", tc.body, a, tc.status)
		}
		fmt.Fprintf(&seen, "%v %s\n", a.header, a.body)
	}
	req, err := http.NewRequestWithContext(t.Context(), canaryMethod, g.URL+"/"+canaryPath+"?q="+canaryPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return seen.String()
}

const canaryMethod = "CANARY"

// checkTree checks the spans of the trace and returns the id of the failed attempt's span.
func checkTree(t *testing.T, spans []*v1.Span, traceID, parent string) (failed string) {
	t.Helper()
	byName := map[string]*v1.Span{}
	for _, s := range spans {
		if hex.EncodeToString(s.TraceId) != traceID {
			continue
		}
		if byName[s.Name] != nil {
			t.Errorf("two spans %s", s.Name)
		}
		byName[s.Name] = s
	}
	required := []struct {
		name, parent string
		kind         v1.Span_SpanKind
		attributes   []string
	}{
		{"POST /v1/chat/completions", "", v1.Span_SPAN_KIND_SERVER, []string{"http.request.method", "http.route", "http.response.status_code", "url.path", "sluice.route"}},
		{"chat small", "POST /v1/chat/completions", v1.Span_SPAN_KIND_CLIENT, []string{
			"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.request.temperature", "gen_ai.request.max_tokens", "gen_ai.response.id",
			"gen_ai.response.model", "gen_ai.response.finish_reasons", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "sluice.route", "sluice.rule",
		}},
		{"attempt small", "chat small", v1.Span_SPAN_KIND_CLIENT, []string{"server.address", "server.port", "http.response.status_code", "error.type"}},
		{"attempt big", "chat small", v1.Span_SPAN_KIND_CLIENT, []string{"server.address", "server.port", "http.response.status_code"}},
	}
	for _, r := range required {
		s := byName[r.name]
		if s == nil {
			t.Fatalf("no span %q, only %v", r.name, names(byName))
		}
		want := parent
		if r.parent != "" {
			want = hex.EncodeToString(byName[r.parent].SpanId)
		}
		if got := hex.EncodeToString(s.ParentSpanId); got != want || s.Kind != r.kind {
			t.Errorf("%s: parent %s and kind %s, want %s and %s", r.name, got, s.Kind, want, r.kind)
		}
		var has []string
		for _, kv := range s.Attributes {
			has = append(has, kv.Key)
			if strings.HasPrefix(kv.Key, "gen_ai.usage.") && r.name != "chat small" {
				t.Errorf("%s holds %s: tokens would be counted twice", r.name, kv.Key)
			}
		}
		for _, k := range r.attributes {
			if !slices.Contains(has, k) {
				t.Errorf("%s lacks %s; it has %v", r.name, k, has)
			}
		}
		if s.StartTimeUnixNano == 0 || s.EndTimeUnixNano < s.StartTimeUnixNano {
			t.Errorf("%s: from %d to %d", r.name, s.StartTimeUnixNano, s.EndTimeUnixNano)
		}
	}
	if len(byName) != len(required) {
		t.Errorf("%d spans, want %d: %v", len(byName), len(required), names(byName))
	}
	return hex.EncodeToString(byName["attempt small"].SpanId)
}

func names(m map[string]*v1.Span) []string {
	var all []string
	for name := range m {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// checkParents: the own pool continues the trace, an external provider learns nothing of it.
func checkParents(t *testing.T, pool, external []simulator.Call, traceID, attempt string) {
	t.Helper()
	told := false
	for _, c := range pool {
		if strings.HasSuffix(c.Path, "/chat/completions") {
			got := c.Header.Get("Traceparent")
			told = told || got == "00-"+traceID+"-"+attempt+"-01" && c.Header.Get("Tracestate") == "vendor=1"
		}
	}
	if !told {
		t.Error("the pool did not get the trace's context")
	}
	for _, c := range external {
		if tp, ts := c.Header.Get("Traceparent"), c.Header.Get("Tracestate"); tp != "" || ts != "" {
			t.Errorf("the external provider was told %q %q", tp, ts)
		}
	}
	if len(external) == 0 {
		t.Error("the external provider was not asked")
	}
}

// around is a piece of text around the first find.
func around(text, find string) string {
	i := strings.Index(text, find)
	return text[max(0, i-200):min(len(text), i+200)]
}
