//go:build real

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/simulator"
)

// trustPolicy has two providers with keys of their own, the first of which fails; $MODE is server.envoy.mode.
const trustPolicy = `version: 1
providers:
  first: {dialect: openai, base_url: "http://%s/v1", keys: [{env: CANARY_FIRST}]}
  second: {dialect: openai, base_url: "http://%s/v1", keys: [{env: CANARY_SECOND}]}
  pool: {engine: openai, endpoints: ["http://%s"]}
models:
$BROKEN
  fine: {provider: first, name: fine}
  slow: {provider: first, name: "slow+fault=headers-delay=50ms"}
  long: {provider: first, name: "long+fault=events=30,delay=50ms"}
  whole: {provider: second, name: whole}
  own: {provider: pool, name: own}
routes:
  fine: {carrier: $CARRIER, rules: [{use: [fine]}]}
  late: {carrier: $CARRIER, rules: [{use: [slow]}]}
  long: {carrier: $CARRIER, rules: [{use: [long]}]}
$FAILING
  own: {carrier: $CARRIER, rules: [{use: [own]}]}
auth: {pepper: {env: SLUICE_PEPPER}}
tenants:
  acme: {keys: [{id: web, hash: %q}]}
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", auth: required, headers: full, envoy: {mode: $MODE}}
telemetry: {access_log: on}
`

const (
	canaryFirst  = "sk-canaryfirst4711aaaabbbbcccc"
	canarySecond = "sk-canarysecond4711ddddeeeeffff"
)

// failingRoutes is how many routes fail first, each with models of its own: a breaker opens soon.
const failingRoutes = 24

// trust is a fleet by trustPolicy.
type trust struct {
	*fleet
	first, second, pool *simulator.Server
	secondAddr, key     string
	c                   *http.Client
}

func newTrust(t *testing.T, mode, carrier string) *trust {
	t.Helper()
	x := &trust{c: newClient(t)}
	first, firstAddr := provider(t, simulator.Options{Key: canaryFirst})
	second, secondAddr := provider(t, simulator.Options{Key: canarySecond})
	pool, poolAddr := provider(t, simulator.Options{})
	key, hash := harness.NewKey(t, binary(), canaryPepper, "acme", "web")
	x.first, x.second, x.pool, x.secondAddr, x.key = first, second, pool, secondAddr, key
	var broken, failing strings.Builder
	for i := range failingRoutes {
		fmt.Fprintf(&broken, "  a%[1]d: {provider: first, name: %[2]q}\n  b%[1]d: {provider: first, name: %[2]q}\n", i, fmt.Sprintf("broken%d+fault=status=500", i))
		fmt.Fprintf(&failing, "  over%[1]d: {carrier: $CARRIER, rules: [{use: [a%[1]d, whole]}], attempts: {per_model: 1}}\n  alone%[1]d: {carrier: $CARRIER, rules: [{use: [b%[1]d]}]}\n", i)
	}
	policy := strings.NewReplacer("$BROKEN\n", broken.String(), "$FAILING\n", failing.String()).Replace(trustPolicy)
	policy = fmt.Sprintf(policy, firstAddr, secondAddr, poolAddr, hash)
	x.fleet = behindEnvoy(t, strings.NewReplacer("$MODE", mode, "$CARRIER", carrier).Replace(policy),
		"SLUICE_PEPPER="+canaryPepper, "CANARY_FIRST="+canaryFirst, "CANARY_SECOND="+canarySecond)
	return x
}

func (x *trust) ask(t *testing.T, route string, header ...string) *answer {
	return chat(t.Context(), x.c, x.Gateway, chatBody(route, canaryPrompt, false, ""), append([]string{"Authorization", "Bearer " + x.key}, header...)...)
}

// calls are the chat requests of a provider, without its probes.
func calls(sim *simulator.Server) []simulator.Call {
	return slices.DeleteFunc(sim.Log(), func(c simulator.Call) bool { return c.Method != http.MethodPost })
}

// planes are the ways through an Envoy: each mode, and in filter mode each carrier.
var planes = []struct{ mode, carrier string }{{"filter", "envoy"}, {"filter", "executor"}, {"edge", "executor"}}

// TestEnvoyForgedHeaders sends what only this gateway and its Envoy may say to each other: route, key, host, limits and attempts stay what they
// are without it, and no provider sees it.
func TestEnvoyForgedHeaders(t *testing.T) {
	t.Parallel()
	for _, p := range planes {
		t.Run(p.mode+" "+p.carrier, func(t *testing.T) {
			t.Parallel()
			x := newTrust(t, p.mode, p.carrier)
			const id = "0123456789abcdef0123456789abcdef"
			forgeries := [][]string{
				{"x-sluice-id", id}, {"x-sluice-id", id, "x-sluice-prepared", "1"}, {"x-sluice-prepared", "1"}, {"X-Sluice-Prepared", "1", "x-sluice-id", "zz"},
				{"x-sluice-node", "other", "x-sluice-stage", "router"}, {"x-sluice-endpoint", x.secondAddr, "x-sluice-served", x.secondAddr},
				{"x-sluice-route", "own", "x-sluice-tenant", "other", "x-sluice-model", "whole"},
				{"x-envoy-max-retries", "5", "x-envoy-retry-on", "5xx,gateway-error,retriable-4xx,reset", "x-envoy-retriable-status-codes", "200,500"},
				{"x-envoy-max-retries", "0"}, {"x-envoy-retry-grpc-on", "internal", "x-envoy-is-timeout-retry", "true"},
				{"x-envoy-hedge-on-per-try-timeout", "true", "x-envoy-upstream-rq-per-try-timeout-ms", "1", "x-envoy-max-retries", "3"},
				{"x-envoy-upstream-rq-timeout-ms", "1"}, {"x-envoy-upstream-rq-per-try-timeout-ms", "1"}, {"x-envoy-expected-rq-timeout-ms", "1"},
				{"x-envoy-upstream-stream-duration-ms", "1"}, {"x-envoy-original-dst-host", x.secondAddr, "x-envoy-original-path", "/v1/embeddings", "x-envoy-original-url", "http://" + x.secondAddr},
				{"x-envoy-internal", "true", "x-envoy-external-address", "10.0.0.1", "x-envoy-attempt-count", "9"}, {"x-envoy-decorator-operation", "x", "x-envoy-force-trace", "true"},
				{"x-envoy-upstream-alt-stat-name", "x", "x-envoy-upstream-rq-timeout-alt-response", "true", "x-envoy-peer-metadata", "x", "x-envoy-ip-tags", "x"},
				{"x-request-id", id}, {"x-request-id", id, "x-client-trace-id", id},
			}
			for _, route := range []string{"late", "over", "alone", "own"} {
				plain := x.seen(t, route, 0)
				for i, h := range forgeries {
					if forged := x.seen(t, route, i+1, h...); forged != plain {
						t.Errorf("%s with %v:\n%s\nwithout:\n%s", route, h, forged, plain)
					}
				}
			}
			x.oneID(t)
		})
	}
}

// seen asks and tells what came of it: the client's answer, the record, and what each provider was asked. n takes one of the failing routes.
func (x *trust) seen(t *testing.T, route string, n int, header ...string) string {
	t.Helper()
	number := ""
	if route == "over" || route == "alone" {
		number = fmt.Sprint(n)
		if err := x.ask(t, "fine").complete(); err != nil { // or Envoy's outlier detection puts the host away
			t.Error(err)
		}
	}
	sims := []*simulator.Server{x.first, x.second, x.pool}
	var before [3]int
	for i, sim := range sims {
		before[i] = len(calls(sim))
	}
	a := x.ask(t, route+number, header...)
	var b strings.Builder
	if a.status != http.StatusOK && a.mistake() != nil {
		t.Errorf("%s with %v: %v", route, header, a)
	}
	r := x.Exchange(t, a.id())
	fmt.Fprintf(&b, "%d %s | %v %v %v %v %v %v %v\n", a.status, a.header.Get("x-sluice-attempts"), strings.TrimSuffix(r.Text("route"), number), r["provider"], r["attempts"], r["outcome"], r["carried"], r["tenant"], r["key"])
	for i, sim := range sims {
		for _, call := range calls(sim)[before[i]:] {
			fmt.Fprintf(&b, "%d: %s %s %s %s %s", i, call.Method, call.Path, call.Query, strings.Replace(call.Model, "broken"+number, "broken", 1), call.Header.Get("Authorization"))
			for name := range call.Header {
				// What the stage writes for the executor reaches the first target too: an id that is worth nothing elsewhere.
				name = strings.ToLower(name)
				if strings.HasPrefix(name, "x-envoy-") || strings.HasPrefix(name, "x-sluice-") && name != "x-sluice-id" && name != "x-sluice-prepared" ||
					len(call.Header.Get(name)) > 1 && slices.Contains(header, call.Header.Get(name)) {
					fmt.Fprintf(&b, " %s", name)
				}
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// oneID sends requests with an id that another one has or had, and side by side with the same one: each is its own exchange.
func (x *trust) oneID(t *testing.T) {
	t.Helper()
	open, err := post(t.Context(), x.c, x.Gateway, chatBody("long", "hi", true, ""), "Authorization", "Bearer "+x.key)
	if err != nil {
		t.Fatal(err)
	}
	id := open.Header.Get("X-Sluice-Request-Id")
	same := []string{"x-sluice-id", id, "x-sluice-prepared", "1", "x-request-id", id}
	answers := make(chan *answer, 8)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { answers <- x.ask(t, "late", same...) })
	}
	wg.Wait()
	ids := map[string]bool{id: true}
	for range 8 {
		a := <-answers
		if a.complete() != nil || ids[a.id()] {
			t.Errorf("with the id of an open exchange: %v %s", a, a.id())
		}
		ids[a.id()] = true
	}
	for _, key := range []string{"", "Bearer sk-nobody"} { // a claim is no key
		for _, path := range []string{"/chat/completions", "/models", "/files"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, x.URL+path, strings.NewReader(chatBody("late", "hi", false, "")))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {key}}
			for i := 0; i < len(same); i += 2 {
				req.Header.Set(same[i], same[i+1])
			}
			resp, err := x.c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s with the key %q and the id of an open exchange: %s", path, key, resp.Status)
			}
		}
	}
	a := rest(open)
	if err := a.complete(); err != nil || strings.Count(string(a.body), "data: ") < 30 {
		t.Errorf("the stream whose id the others had: %v", a)
	}
	if a := x.ask(t, "late", same...); a.complete() != nil || ids[a.id()] {
		t.Errorf("with the id of an exchange that has ended: %v", a)
	}
	if r := x.Exchange(t, id); r.Number("attempts") != 1 || r.Text("outcome") != "ok" {
		t.Errorf("record %v", r)
	}
}

// TestEnvoySecrets looks for canaries of every secret in all that Envoy is given and says, and at each provider for the others'.
func TestEnvoySecrets(t *testing.T) {
	t.Parallel()
	for _, p := range planes {
		t.Run(p.mode+" "+p.carrier, func(t *testing.T) {
			t.Parallel()
			x := newTrust(t, p.mode, p.carrier)
			for range 2 {
				for _, route := range []string{"over1", "own", "late"} {
					if err := x.ask(t, route).complete(); err != nil {
						t.Error(err)
					}
				}
			}
			if a := x.ask(t, "alone1"); a.mistake() != nil {
				t.Errorf("%v", a)
			}
			xds := harness.Start(t, nil, binary(), "xds", x.File)
			if code := xds.Exit(t); code != 0 {
				t.Errorf("sluice xds: %d %s", code, xds.Err)
			}
			secrets := []string{canaryFirst, canarySecond, canaryPepper, x.key, x.key[strings.LastIndexByte(x.key, '_')+1:], canaryPrompt}
			for _, place := range []struct{ name, text, holds string }{
				{"sluice xds", xds.Out.String(), "sluice_edge"},
				{"config dump", x.admin(t, "config_dump?include_eds"), "sluice_edge"},
				{"stats", x.admin(t, "stats"), "downstream_rq_total"}, {"clusters", x.admin(t, "clusters"), "sluice_edge"}, {"init", x.admin(t, "init_dump"), ""},
				{"command line", x.admin(t, "server_info"), "command_line_options"}, {"logs", x.Err.String() + x.Out.String(), "exchange"},
				{"status", harness.Get(t, x.Gateway.Admin+"/admin/status"), "envoys"}, {"metrics", harness.Get(t, x.Gateway.Admin+"/metrics"), "sluice_"},
			} {
				if !strings.Contains(place.text, place.holds) {
					t.Errorf("%s is not what it should be: %.300s", place.name, place.text)
				}
				for _, secret := range secrets {
					if strings.Contains(place.text, secret) {
						t.Errorf("%s holds %s:\n%s", place.name, secret, around(place.text, secret))
					}
				}
			}
			for i, sim := range []*simulator.Server{x.first, x.second, x.pool} {
				all := calls(sim)
				if len(all) == 0 {
					t.Errorf("provider %d was not asked", i)
				}
				for _, call := range all {
					text := fmt.Sprint(call.Path, call.Query, call.Header, string(call.Body))
					for j, secret := range secrets[:5] {
						if i != j && strings.Contains(text, secret) {
							t.Errorf("provider %d was told %s: %v", i, secret, call.Header)
						}
					}
				}
			}
		})
	}
}
