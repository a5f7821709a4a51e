//go:build real

package e2e

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	v1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/sluice-gateway/sluice/e2e/envoyplane"
	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/simulator"
	"github.com/sluice-gateway/sluice/telemetry"
)

// envoyTracePolicy: the pool fails, the external provider answers. The last route's first target answers.
const envoyTracePolicy = `version: 1
providers:
  pool: {engine: openai, endpoints: ["http://%s"]}
  external: {dialect: openai, base_url: "http://%s/v1", keys: [{env: CANARY_PROVIDER_KEY}]}
models:
  small: {provider: pool, name: broken}
  big: {provider: external, name: whole, price: {in: 2, out: 8}}
routes:
  auto: {carrier: $CARRIER, rules: [{name: both, use: [small, big]}], attempts: {per_model: 1}}
  once: {carrier: $CARRIER, rules: [{use: [big]}]}
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", headers: full, envoy: {mode: $MODE}}
telemetry: {access_log: on, otlp: {endpoint: {env: CANARY_OTLP}}}
`

// TestEnvoyTrace: Envoy's server span, the exchange and its attempts are one trace, whether the client brought one or not; without Envoy's
// tracer it is ours alone. No provider outside learns of it.
func TestEnvoyTrace(t *testing.T) {
	t.Parallel()
	for _, p := range planes {
		for protocol, collect := range map[string]func(*testing.T) (*collector, string){"grpc": collectGRPC, "http/protobuf": collectHTTP} {
			t.Run(p.mode+" "+p.carrier+" "+protocol, func(t *testing.T) {
				t.Parallel()
				sink, endpoint := collect(t)
				pool, poolAddr := provider(t, simulator.Options{Fault: misbehave})
				external, externalAddr := provider(t, simulator.Options{Fault: misbehave, Key: canaryProvider})
				policy := strings.NewReplacer("$MODE", p.mode, "$CARRIER", p.carrier).Replace(fmt.Sprintf(envoyTracePolicy, poolAddr, externalAddr))
				f := behindEnvoy(t, policy, "CANARY_PROVIDER_KEY="+canaryProvider, "CANARY_OTLP="+endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol)
				const traceID, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
				c := newClient(t)
				with := []string{"traceparent", "00-" + traceID + "-" + parent + "-01", "tracestate", "vendor=1"}
				type exchange struct{ id, trace, parent, route string }
				var all []exchange
				for _, route := range []string{"auto", "once"} {
					for _, brought := range []bool{true, false} {
						header, x := []string(nil), exchange{route: route}
						if brought {
							header, x.trace, x.parent = with, traceID, parent
						}
						a := chat(t.Context(), c, f.Gateway, chatBody(route, canaryPrompt, true, ""), header...)
						if err := a.complete(); err != nil {
							t.Fatal(err)
						}
						x.id = a.id()
						f.Exchange(t, x.id)
						all = append(all, x)
					}
				}
				harness.Poll(t, "Envoy's spans", func() error { // it flushes by itself, and not at its end
					sink.mu.Lock()
					defer sink.mu.Unlock()
					if n := len(kind(sink.all, "ingress", v1.Span_SPAN_KIND_SERVER)); n < len(all) {
						return fmt.Errorf("%d of %d", n, len(all))
					}
					return nil
				})
				f.Signal(t, syscall.SIGTERM) // flushes ours
				if code := f.Exit(t); code != 0 {
					t.Errorf("exit code %d", code)
				}
				sink.mu.Lock()
				defer sink.mu.Unlock()
				seen := map[string]bool{}
				for _, root := range kind(sink.all, "ingress", v1.Span_SPAN_KIND_SERVER) {
					seen[checkEnvoyTree(t, sink.all, root, traceID, parent)] = true
				}
				for _, want := range []string{"auto brought", "auto new", "once brought", "once new"} {
					if !seen[want] {
						t.Errorf("no trace %s, only %v", want, seen)
					}
				}
				for _, call := range external.Log() {
					if tp, ts := call.Header.Get("Traceparent"), call.Header.Get("Tracestate"); tp != "" || ts != "" {
						t.Errorf("the external provider was told %q %q", tp, ts)
					}
				}
				told := 0
				for _, call := range calls(pool) {
					if strings.HasPrefix(call.Header.Get("Traceparent"), "00-"+traceID+"-") {
						told++
					}
				}
				if told != 1 {
					t.Errorf("the pool was told of the client's trace %d times, want once", told)
				}
				for _, canary := range []string{canaryPrompt, canaryProvider, canaryMessage, answerText} {
					if text := sink.text.String(); strings.Contains(text, canary) {
						t.Errorf("spans hold %s:\n%s", canary, around(text, canary))
					}
				}
			})
		}
	}
}

// kind are the spans of a kind whose name begins with prefix.
func kind(spans []*v1.Span, prefix string, k v1.Span_SpanKind) []*v1.Span {
	return slices.DeleteFunc(slices.Clone(spans), func(s *v1.Span) bool { return s.Kind != k || !strings.HasPrefix(s.Name, prefix) })
}

// checkEnvoyTree checks that what belongs to one request is one tree under Envoy's span, and says which request it was.
func checkEnvoyTree(t *testing.T, spans []*v1.Span, root *v1.Span, traceID, parent string) string {
	t.Helper()
	trace, up := hex.EncodeToString(root.TraceId), map[string]string{}
	var ours []*v1.Span
	for _, s := range spans {
		if hex.EncodeToString(s.TraceId) == trace {
			up[hex.EncodeToString(s.SpanId)] = hex.EncodeToString(s.ParentSpanId)
			ours = append(ours, s)
		}
	}
	under := func(s *v1.Span) bool {
		for id := hex.EncodeToString(s.SpanId); id != ""; id = up[id] {
			if id == hex.EncodeToString(root.SpanId) {
				return true
			}
		}
		return false
	}
	which := "new"
	if trace == traceID {
		which = "brought"
	}
	if got := hex.EncodeToString(root.ParentSpanId); which == "brought" && got != parent || which == "new" && got != "" {
		t.Errorf("Envoy's span has the parent %q", got)
	}
	counts := map[string]int{}
	route := ""
	for _, s := range ours {
		if !under(s) {
			if which == "brought" { // other requests of the client's trace
				continue
			}
			t.Errorf("%s is not under Envoy's span", s.Name)
			continue
		}
		counts[s.Name]++
		for _, kv := range s.Attributes {
			if kv.Key == "sluice.route" {
				route = kv.Value.GetStringValue()
			}
		}
	}
	want := map[string]int{"POST /v1/chat/completions": 1}
	switch route {
	case "auto":
		want["attempt small"], want["attempt big"] = 1, 1
	case "once":
		want["attempt big"] = 1
	default:
		t.Errorf("a trace without our spans: %v", counts)
	}
	for name, n := range want {
		if counts[name] != n {
			t.Errorf("%s %s: %d spans %q, want %d: %v", route, which, counts[name], name, n, counts)
		}
	}
	return route + " " + which
}

// TestEnvoyTraceOff: where Envoy does not trace, the exchange continues the client's trace by itself, and begins one where there is none.
func TestEnvoyTraceOff(t *testing.T) {
	t.Parallel()
	for _, p := range planes {
		t.Run(p.mode+" "+p.carrier, func(t *testing.T) {
			t.Parallel()
			sink, endpoint := collectHTTP(t)
			_, poolAddr := provider(t, simulator.Options{Fault: misbehave})
			external, externalAddr := provider(t, simulator.Options{Fault: misbehave})
			policy := strings.NewReplacer("$MODE", p.mode, "$CARRIER", p.carrier, ", otlp: {endpoint: {env: CANARY_OTLP}}", "").Replace(fmt.Sprintf(envoyTracePolicy, poolAddr, externalAddr))
			spans, err := telemetry.New(t.Context(), telemetry.Options{OTLPEndpoint: endpoint})
			if err != nil {
				t.Fatal(err)
			}
			plane := envoyplane.Start(t, envoyplane.Options{Policy: envoyplane.Compile(t, []byte(policy)), Emit: spans.Emit}) // nobody tells Envoy of the collector
			g := &harness.Gateway{URL: plane.URL + "/v1"}
			const traceID, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
			c := newClient(t)
			for _, header := range [][]string{{"traceparent", "00-" + traceID + "-" + parent + "-01"}, nil} {
				if err := chat(t.Context(), c, g, chatBody("auto", "hi", true, ""), header...).complete(); err != nil {
					t.Fatal(err)
				}
			}
			plane.Settled(2)
			if err := spans.Shutdown(t.Context()); err != nil { // flushes
				t.Fatal(err)
			}
			sink.mu.Lock()
			defer sink.mu.Unlock()
			if n := len(kind(sink.all, "ingress", v1.Span_SPAN_KIND_SERVER)); n != 0 {
				t.Errorf("%d spans of Envoy, whose tracing is off", n)
			}
			roots := kind(sink.all, "POST /v1/chat", v1.Span_SPAN_KIND_SERVER)
			if len(roots) != 2 {
				t.Fatalf("%d traces, want 2", len(roots))
			}
			found := map[string]int{}
			for _, s := range sink.all {
				found[hex.EncodeToString(s.TraceId)+" "+s.Name]++
			}
			for _, s := range roots {
				trace, up := hex.EncodeToString(s.TraceId), hex.EncodeToString(s.ParentSpanId)
				if trace == traceID && up != parent || trace != traceID && up != "" {
					t.Errorf("the exchange of trace %s has the parent %q", trace, up)
				}
				if found[trace+" attempt small"] != 1 || found[trace+" attempt big"] != 1 {
					t.Errorf("trace %s: %v", trace, found)
				}
			}
			if hex.EncodeToString(roots[0].TraceId) != traceID && hex.EncodeToString(roots[1].TraceId) != traceID {
				t.Error("the client's trace is not continued")
			}
			for _, call := range external.Log() {
				if tp := call.Header.Get("Traceparent"); tp != "" {
					t.Errorf("the external provider was told %q", tp)
				}
			}
		})
	}
}
