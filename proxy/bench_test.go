package proxy_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/telemetry"
)

const benchPolicy = `version: 1
providers:
  ext: {dialect: openai, base_url: http://ext.test:9000/v1, keys: [{env: KEY}]}
models:
  big: {provider: ext, name: big-70b, context: 128k, price: {in: 2, out: 8}}
tiers:
  - {name: strong, models: [big]}
server: {headers: full}
routes:
  auto:
    rules: [{name: all, use: strong}]
`

// rig is what an exchange of the benchmarks begins with.
type rig struct {
	gateway  *proxy.Gateway
	head     proxy.Head
	body     []byte
	answered http.Header
	answer   []byte
	dst      []byte
}

func newRig(t testing.TB, stream bool) *rig {
	g := proxy.NewGateway(compile(t, []byte(benchPolicy)), proxy.Options{Router: router.New(router.Options{}), Emit: func(*telemetry.Record) {}})
	u, err := url.Parse("/v1/chat/completions")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{gateway: g, dst: make([]byte, 0, 4096)}
	flag := ""
	if stream {
		flag = `"stream":true,`
	}
	r.body = []byte(`{"model":"auto",` + flag + `"temperature":0.2,"messages":[{"role":"system","content":"You are terse."},{"role":"user","content":"` + strings.Repeat("Tell me about the weather in Bern. ", 25) + `"}]}`)
	r.head = proxy.Head{Method: "POST", URL: u, Peer: "10.0.0.1:4000", ContentLength: int64(len(r.body)), Plane: "embedded", Header: http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"OpenAI/Python 3.3.0"}, "Authorization": {"Bearer none"}, "Accept-Encoding": {"gzip, deflate"}}}
	r.answered = http.Header{"Content-Type": {"application/json"}, "Date": {"Sun, 22 Nov 2026 10:00:00 GMT"}, "Openai-Processing-Ms": {"12"}}
	r.answer = []byte(`{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"big-70b","choices":[{"index":0,"message":{"role":"assistant","content":"` + strings.Repeat("It rains. ", 20) + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":229,"completion_tokens":60,"total_tokens":289}}`)
	return r
}

// open takes an exchange to the point where the answer's head is known.
func (r *rig) open(t testing.TB) *proxy.Exchange {
	x, reply := r.gateway.Begin(context.Background(), r.head)
	if reply != nil {
		t.Fatalf("begin: %d %s", reply.Status, reply.Body)
	}
	if _, reply := x.Request(r.body); reply != nil {
		t.Fatalf("request: %d %s", reply.Status, reply.Body)
	}
	if up, v := x.Attempt(0); v.Action != proxy.More || up.Body == nil {
		t.Fatalf("attempt: %+v", v)
	}
	if v := x.Response(200, r.answered); v.Action != proxy.Hold {
		t.Fatalf("response: %+v", v)
	}
	return x
}

// unary is a whole exchange of the pass-through kind.
func (r *rig) unary(t testing.TB) {
	x := r.open(t)
	out, v := x.Write(r.dst[:0], r.answer, true)
	if v.Action != proxy.Done || len(out) != len(r.answer) {
		t.Fatalf("write: %+v, %d bytes", v, len(out))
	}
	if status, fields := x.ResponseHead(); status != 200 || len(fields) == 0 {
		t.Fatalf("head: %d", status)
	}
	x.End()
}

// stream is an exchange in the middle of a stream.
func (r *rig) stream(t testing.TB) *proxy.Exchange {
	r.answered.Set("Content-Type", "text/event-stream")
	x := r.open(t)
	if _, v := x.Write(r.dst[:0], passEvent, false); v.Action != proxy.More {
		t.Fatalf("first event: %+v", v)
	}
	return x
}

var passEvent = []byte(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"big-70b","choices":[{"index":0,"delta":{"content":" rain\u0073"},"finish_reason":null}]}` + "\n\n")

// BenchmarkUnaryPhases is a whole exchange without a client's and an upstream's connection: as such, and with limits and a budget that are kept in memory.
func BenchmarkUnaryPhases(b *testing.B) {
	for _, c := range []struct{ name, edit string }{
		{"plain", ""},
		{"quotas", "    limits: {requests: 100M/m, tokens: 10000M/m, concurrent: 1000}\n    budget: {usd: 1000000}\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, false)
			r.gateway.Swap(compile(b, []byte(strings.Replace(benchPolicy, "  auto:\n", "  auto:\n"+c.edit, 1))))
			b.ReportAllocs()
			for b.Loop() {
				r.unary(b)
			}
		})
	}
}

func BenchmarkPassEvent(b *testing.B) {
	r := newRig(b, true)
	x := r.stream(b)
	b.ReportAllocs()
	b.SetBytes(int64(len(passEvent)))
	for b.Loop() {
		if out, v := x.Write(r.dst[:0], passEvent, false); v.Action != proxy.More || len(out) != len(passEvent) {
			b.Fatalf("%+v, %d bytes", v, len(out))
		}
	}
	x.End()
}

// BenchmarkStream is a whole stream of sixty events: kept to be carried on, not kept, and passed on unread. The differences are what a rescue costs those
// who need none, and what the hold-back and the count cost, with the decision.
func BenchmarkStream(b *testing.B) {
	last := []byte(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"big-70b","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n")
	for _, c := range []struct{ name, edit, path string }{
		{"rescue=verified", "    rescue: verified\n", "/v1/chat/completions"},
		{"rescue=off", "    rescue: off\n", "/v1/chat/completions"},
		{"unread", "", "/v1/plain/chat/completions"},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, true)
			r.gateway.Swap(compile(b, []byte(strings.Replace(benchPolicy, "  auto:\n", "  auto:\n"+c.edit, 1)+"passthrough: {/v1/plain: ext}\n")))
			r.head.URL = &url.URL{Path: c.path}
			r.answered.Set("Content-Type", "text/event-stream")
			b.ReportAllocs()
			for b.Loop() {
				x, _ := r.gateway.Begin(context.Background(), r.head)
				x.Request(r.body)
				x.Attempt(0)
				x.Response(200, r.answered)
				for range 60 {
					x.Write(r.dst[:0], passEvent, false)
				}
				if _, v := x.Write(r.dst[:0], last, true); v.Action != proxy.Done {
					b.Fatalf("%+v", v)
				}
				x.End()
				x.Release()
			}
		})
	}
}
