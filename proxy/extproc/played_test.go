package extproc_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filter "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	group "github.com/envoyproxy/go-control-plane/envoy/extensions/router/cluster_specifiers/priority_group/v3"
	accesslog "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	ext "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"github.com/sluice-gateway/sluice/internal/wire"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/proxy/extproc"
	"github.com/sluice-gateway/sluice/proxy/httpproxy"
	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/telemetry"
)

const policy = `version: 1
providers:
  pool: {engine: vllm, endpoints: [http://10.0.0.1:8000, http://10.0.0.2/base]}
  ext: {dialect: openai, base_url: https://ext.test/v1, keys: [{env: EXT_KEY}]}
  far: {dialect: openai, base_url: http://far.test:9000/v1, keys: [{env: FAR_KEY}]}
models:
  small: {provider: pool, name: small-1b, context: 8k}
  big: {provider: ext, name: big-70b, context: 128k, price: {in: 2, out: 8}}
  other: {provider: far, name: other-70b, context: 128k}
tiers:
  - {name: cheap, models: [small]}
  - {name: strong, models: [big, other]}
routes:
  direct: {carrier: envoy, rules: [{name: all, use: strong}], attempts: {per_model: 1, total: 3}}
  pooled: {carrier: envoy, rules: [{name: all, use: cheap}]}
  quick: {carrier: envoy, rules: [{name: all, use: strong}], timeouts: {headers: 50ms, answer: 50ms}}
  carried: {rules: [{name: all, use: strong}]}
  far: {carrier: envoy, rules: [{name: all, use: [other]}]}
server: {body_limit: 64k}
`

func chat(model string) string {
	return `{"model":"` + model + `","messages":[{"role":"user","content":"hello there"}],"stream":true}`
}

// world is a server with a gateway behind it, an executor beside it, and a connection in place of an Envoy's.
type world struct {
	t        testing.TB
	gateway  *proxy.Gateway
	table    *proxy.Table
	server   *extproc.Server
	executor http.Handler
	upstream func(addr string) (net.Conn, error) // of the executor
	conn     *grpc.ClientConn
	ctx      context.Context // of its streams
	close    func()

	mu      sync.Mutex
	records []*telemetry.Record
	arrived chan struct{} // one for each record
	panics  []any
}

func compile(t testing.TB, src string) *policies.Policy {
	t.Helper()
	p, problems := policies.LoadBytes("policy.yaml", []byte(src), policies.Options{
		Presets: providers.Presets(),
		Env:     func(name string) (string, bool) { return "secret-of-" + name, true },
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return p
}

// newWorld opens a server; the options may be changed before it is made.
func newWorld(t testing.TB, change ...func(*extproc.Options)) *world {
	w := &world{t: t, table: proxy.NewTable(), arrived: make(chan struct{}, 100_000)}
	w.gateway = proxy.NewGateway(compile(t, policy), proxy.Options{Router: router.New(router.Options{}), Emit: w.emit, Jitter: func() float64 { return 0 }})
	o := extproc.Options{
		Gateway: w.gateway,
		Table:   w.table,
		Clusters: func(_ string, p *policies.Provider, _ time.Duration) (string, bool) {
			return p.Name + "-cluster", p.Name != "far"
		},
		Logger:   slog.New(slog.DiscardHandler),
		Panicked: func(v any, _ []byte) { w.mu.Lock(); w.panics = append(w.panics, v); w.mu.Unlock() },
	}
	for _, f := range change {
		f(&o)
	}
	w.server = extproc.New(o)
	handler := httpproxy.New(w.gateway, func(v any, stack []byte) { t.Errorf("executor: %v\n%s", v, stack) })
	handler.Dial = func(_ context.Context, _, addr string) (net.Conn, error) {
		if w.upstream == nil {
			return nil, errors.New("no upstream")
		}
		return w.upstream(addr)
	}
	w.executor = handler.Executor(w.table)
	l := bufconn.Listen(1 << 20)
	g := grpc.NewServer(grpc.MaxRecvMsgSize(1<<20), grpc.ForceServerCodecV2(extproc.Codec()))
	w.server.Register(g)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return l.Dial() }))
	if err != nil {
		t.Fatal(err)
	}
	w.conn = conn
	ctx, cancel := context.WithCancel(context.Background())
	w.ctx = ctx
	w.close = sync.OnceFunc(func() {
		cancel()
		_ = conn.Close()
		g.Stop()
		<-served
		handler.Close()
	})
	t.Cleanup(w.close)
	return w
}

func (w *world) emit(r *telemetry.Record) {
	w.mu.Lock()
	w.records = append(w.records, r)
	w.mu.Unlock()
	w.arrived <- struct{}{}
}

// record waits for the next record and checks that nothing is left of its exchange.
func (w *world) record() *telemetry.Record {
	w.t.Helper()
	select {
	case <-w.arrived:
	case <-time.After(time.Minute):
		w.t.Fatalf("no record; counts %+v", w.server.Counts())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.records[len(w.records)-1]
}

// settled checks that every exchange has ended, with so many records in all.
func (w *world) settled(records int) {
	w.t.Helper()
	w.close()
	w.mu.Lock()
	defer w.mu.Unlock()
	waiting, _, _ := w.table.Counts()
	if len(w.records) != records || waiting != 0 || w.gateway.Inflight() != 0 {
		w.t.Errorf("%d records, want %d; %d exchanges wait, %d are open", len(w.records), records, waiting, w.gateway.Inflight())
	}
	for _, p := range w.gateway.Pools().Pool("pool").Status() {
		if p.Inflight != 0 {
			w.t.Errorf("%d slots of %s are out", p.Inflight, p.Host)
		}
	}
}

// talk is one stream of the filter.
type talk struct {
	t      testing.TB
	g      ext.ExternalProcessor_ProcessClient
	cancel context.CancelFunc
}

func (w *world) talk(md ...string) *talk {
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(w.ctx, md...))
	g, err := ext.NewExternalProcessorClient(w.conn).Process(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return &talk{t: w.t, g: g, cancel: cancel}
}

func (k *talk) send(m *ext.ProcessingRequest) {
	k.t.Helper()
	if err := k.g.Send(m); err != nil && !errors.Is(err, io.EOF) {
		k.t.Fatal(err)
	}
}

func (k *talk) recv() *ext.ProcessingResponse {
	k.t.Helper()
	r, err := k.g.Recv()
	if err != nil {
		k.t.Fatalf("the stream ended: %v", err)
	}
	return r
}

// say sends a message and returns its answer.
func (k *talk) say(m *ext.ProcessingRequest) *ext.ProcessingResponse {
	k.t.Helper()
	k.send(m)
	return k.recv()
}

func headerMap(pairs []string) *core.HeaderMap {
	m := &core.HeaderMap{}
	for i := 0; i < len(pairs); i += 2 {
		m.Headers = append(m.Headers, &core.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
	}
	return m
}

func requestHead(end bool, pairs ...string) *ext.ProcessingRequest {
	pairs = append([]string{":authority", "gateway.test", ":scheme", "http", "x-forwarded-for", "10.1.1.1", "x-forwarded-proto", "http", "x-envoy-external-address", "10.1.1.1"}, pairs...)
	return &ext.ProcessingRequest{Request: &ext.ProcessingRequest_RequestHeaders{RequestHeaders: &ext.HttpHeaders{Headers: headerMap(pairs), EndOfStream: end}}}
}

// post is the head of a chat request with the customary headers of a client.
func post(more ...string) *ext.ProcessingRequest {
	return requestHead(false, append([]string{":method", "POST", ":path", "/v1/chat/completions?a=b", "content-type", "application/json", "authorization", "Bearer of-the-client", "cookie", "a=b", "x-custom", "1"}, more...)...)
}

func requestBody(b string) *ext.ProcessingRequest {
	return &ext.ProcessingRequest{Request: &ext.ProcessingRequest_RequestBody{RequestBody: &ext.HttpBody{Body: []byte(b), EndOfStream: true}}}
}

// responseHead is the head of an answer: the target's or the executor's, as Envoy's router marks them, or Envoy's own, with a cluster of "".
func responseHead(end bool, cluster string, pairs ...string) *ext.ProcessingRequest {
	if cluster != "" {
		pairs = append(pairs, wire.HeaderUpstream, "1")
	}
	return &ext.ProcessingRequest{Request: &ext.ProcessingRequest_ResponseHeaders{ResponseHeaders: &ext.HttpHeaders{Headers: headerMap(pairs), EndOfStream: end}}}
}

func responseBody(b string) *ext.ProcessingRequest {
	return &ext.ProcessingRequest{Request: &ext.ProcessingRequest_ResponseBody{ResponseBody: &ext.HttpBody{Body: []byte(b), EndOfStream: true}}}
}

// setHeaders are the headers that an answer sets.
func setHeaders(m *ext.HeaderMutation) map[string]string {
	h := map[string]string{}
	for _, o := range m.GetSetHeaders() {
		h[o.Header.Key] = string(o.Header.RawValue)
	}
	return h
}

// chainOf are the clusters that an answer tells Envoy to try.
func chainOf(t testing.TB, r *ext.ProcessingResponse) []string {
	t.Helper()
	packed, override := r.TypedDynamicMetadata[wire.MetadataChain], new(group.PriorityGroupsOverride)
	if packed == nil {
		return nil
	}
	if err := packed.UnmarshalTo(override); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, g := range override.PriorityGroups {
		if len(g.Clusters) != 1 || g.Clusters[0].Weight.GetValue() != 1 {
			t.Errorf("group %v: want one cluster of weight 1", g)
			continue
		}
		names = append(names, g.Clusters[0].ClusterName)
	}
	return names
}

// id is the exchange's id.
func idOf(t testing.TB, r *ext.ProcessingResponse) string {
	t.Helper()
	id := setHeaders(r.GetRequestHeaders().GetResponse().GetHeaderMutation())["x-sluice-id"]
	if len(id) != 32 {
		t.Fatalf("id %q: %v", id, r)
	}
	return id
}

// untouched reports whether an answer passes as it is, but for the word of Envoy's router.
func untouched(r *ext.ProcessingResponse) bool {
	m := r.GetResponseHeaders().GetResponse().GetHeaderMutation()
	return r.GetResponseHeaders() != nil && r.ModeOverride == nil && len(m.GetSetHeaders()) == 0 && slices.Equal(m.GetRemoveHeaders(), []string{wire.HeaderUpstream})
}

// refused checks that an answer is a reply of Sluice's own.
func refused(t testing.TB, r *ext.ProcessingResponse, status int, details string) {
	t.Helper()
	im := r.GetImmediateResponse()
	if im == nil || int(im.Status.GetCode()) != status || im.Details != details {
		t.Fatalf("got %v; want an immediate %d %s", r, status, details)
	}
	if ct := setHeaders(im.Headers)["content-type"]; status != 204 && (ct != "application/json" || !strings.HasPrefix(string(im.Body), "{")) {
		t.Errorf("%s: content-type %q, body %q", details, ct, im.Body)
	}
}

// opened says a chat request as far as its body and returns its id with the body's answer.
func (k *talk) opened(model string) (id string, r *ext.ProcessingResponse) {
	k.t.Helper()
	id = idOf(k.t, k.say(post()))
	return id, k.say(requestBody(chat(model)))
}

// begun is a direct exchange whose answer is on its way.
func (k *talk) begun() (id string) {
	k.t.Helper()
	id, r := k.opened("direct")
	if c := chainOf(k.t, r); !slices.Equal(c, []string{"ext-cluster", "sluice_executor"}) {
		k.t.Fatalf("chain %v", c)
	}
	r = k.say(responseHead(false, "ext-cluster", ":status", "200", "content-type", "text/event-stream"))
	if r.GetResponseHeaders() == nil {
		k.t.Fatalf("got %v", r)
	}
	return id
}

// logs is a stream of access logs.
type logs struct {
	t testing.TB
	g accesslog.AccessLogService_StreamAccessLogsClient
}

func (w *world) logs() *logs {
	g, err := accesslog.NewAccessLogServiceClient(w.conn).StreamAccessLogs(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return &logs{t: w.t, g: g}
}

func buffered(r *ext.ProcessingResponse) bool {
	return r.GetModeOverride().GetResponseBodyMode() == filter.ProcessingMode_BUFFERED
}
