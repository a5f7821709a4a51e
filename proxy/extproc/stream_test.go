package extproc_test

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	filter "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	ext "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-gateway/sluice/internal/leak"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/proxy/extproc"
)

func TestMain(m *testing.M) { leak.Main(m) }

// TestDirect is what Envoy is told of a request that it carries itself.
func TestDirect(t *testing.T) {
	w := newWorld(t)
	k := w.talk()
	id := idOf(t, k.say(post("x-envoy-attempt-count", "9", "x-sluice-chain", "evil", "x-api-key", "k", "traceparent", "00", "baggage", "b")))
	r := k.say(requestBody(chat("direct")))
	if c := chainOf(t, r); !slices.Equal(c, []string{"ext-cluster", "sluice_executor"}) {
		t.Errorf("chain %v", c)
	}
	common := r.GetRequestBody().GetResponse()
	set, removed := setHeaders(common.GetHeaderMutation()), common.GetHeaderMutation().GetRemoveHeaders()
	body := string(common.GetBodyMutation().GetBody())
	if !strings.Contains(body, `"big-70b"`) || !common.ClearRouteCache {
		t.Errorf("body %s, clear_route_cache %v", body, common.ClearRouteCache)
	}
	want := map[string]string{
		":path": "/v1/chat/completions?a=b", ":authority": "ext.test", ":scheme": "https", "authorization": "Bearer secret-of-EXT_KEY", "x-envoy-max-retries": "1", "x-sluice-prepared": "1",
		"accept-encoding": "identity", "content-length": strconv.Itoa(len(body)),
	}
	for name, v := range want {
		if set[name] != v {
			t.Errorf("%s: %q, want %q", name, set[name], v)
		}
		delete(set, name)
	}
	if len(set) > 0 {
		t.Errorf("more headers: %v", set)
	}
	for _, name := range []string{"cookie", "x-custom", "x-forwarded-for", "x-api-key", "traceparent", "baggage"} {
		if !slices.Contains(removed, name) {
			t.Errorf("%s goes up", name)
		}
	}
	for _, name := range []string{"authorization", "content-type", "x-sluice-id", "content-length", "host", "x-forwarded-proto", "x-sluice-chain"} {
		if slices.Contains(removed, name) {
			t.Errorf("%s is removed", name)
		}
	}
	if r.DynamicMetadata.GetFields()["envoy.lb"] != nil {
		t.Error("an endpoint for a provider without a pool")
	}
	head := k.say(responseHead(false, "ext-cluster", ":status", "200", "content-type", "text/event-stream", "set-cookie", "a", "x-ratelimit-remaining-requests", "3", "openai-organization", "us"))
	m := head.GetResponseHeaders().GetResponse().GetHeaderMutation()
	if h := setHeaders(m); h["x-sluice-request-id"] != id || h["x-sluice-model"] != "big" || h["x-sluice-attempts"] != "1" {
		t.Errorf("response headers %v", h)
	}
	slices.Sort(m.RemoveHeaders)
	if !slices.Equal(m.RemoveHeaders, []string{"openai-organization", "set-cookie", "x-envoy-upstream-service-time", "x-ratelimit-remaining-requests"}) {
		t.Errorf("removed %v", m.RemoveHeaders)
	}
	k.cancel() // the end of a stream says nothing of a direct answer
	w.logs().send(whole(id, nil))
	if r := w.record(); r.Outcome != "ok" || r.Path != "/v1/chat/completions" {
		t.Errorf("%s %s", r.Outcome, r.Path)
	}
	w.settled(1)
}

// TestPool names the endpoint that the pool picked, and the engine's own root.
func TestPool(t *testing.T) {
	w := newWorld(t)
	seen := map[string]bool{}
	for range 2 { // both are held, so both are picked
		k := w.talk()
		_, r := k.opened("pooled")
		set := setHeaders(r.GetRequestBody().GetResponse().GetHeaderMutation())
		seen[r.DynamicMetadata.Fields["envoy.lb"].GetStructValue().Fields["x-sluice-endpoint"].GetStringValue()+" "+set[":path"]] = true
		if set["authorization"] != "" || !slices.Contains(r.GetRequestBody().GetResponse().GetHeaderMutation().RemoveHeaders, "authorization") {
			t.Error("the client's key goes to the pool")
		}
	}
	if !seen["10.0.0.1:8000 /v1/chat/completions?a=b"] || !seen["10.0.0.2:80 /base/v1/chat/completions?a=b"] {
		t.Errorf("endpoints %v", seen)
	}
}

// TestExecutor are requests that Envoy takes to the executor as they are.
func TestExecutor(t *testing.T) {
	for _, model := range []string{"carried", "far"} { // no TLS in this test: the first provider of "carried" fails
		w := newWorld(t)
		w.upstream = answering(sse)
		k := w.talk()
		id, r := k.opened(model)
		if c := chainOf(t, r); !slices.Equal(c, []string{"sluice_executor"}) {
			t.Errorf("%s: chain %v", model, c)
		}
		common := r.GetRequestBody().GetResponse()
		if common.BodyMutation != nil || common.HeaderMutation != nil || !common.ClearRouteCache {
			t.Errorf("%s: %v", model, common)
		}
		if a := w.claim(id, false); a.Code != 200 {
			t.Errorf("%s: %d %s", model, a.Code, a.Body)
		}
		k.say(responseHead(false, "sluice_executor", ":status", "200"))
		if r := w.record(); r.Outcome != "ok" || r.Carried != "executor" || r.Provider != "far" {
			t.Errorf("%s: %s by %s", model, r.Outcome, r.Carried)
		}
		if n := w.server.Counts(); n.Handed != 1 || n.Direct != 0 || n.Defaulted != 0 {
			t.Errorf("%+v", n)
		}
		w.settled(1)
	}
}

// TestReplies are requests that Sluice answers itself.
func TestReplies(t *testing.T) {
	big := strings.Repeat("x", 70<<10)
	for _, c := range []struct {
		name    string
		head    *ext.ProcessingRequest
		body    string
		status  int
		details string
		records int
	}{
		{"models", requestHead(true, ":method", "GET", ":path", "/v1/models"), "", 200, "sluice_reply", 1},
		{"unknown path", requestHead(true, ":method", "GET", ":path", "/nothing"), "", 404, "sluice_unknown_path", 1},
		{"doubled slashes", requestHead(true, ":method", "GET", ":path", "//v1/models"), "", 404, "sluice_unknown_path", 1},
		{"wrong method", requestHead(true, ":method", "GET", ":path", "/v1/chat/completions"), "", 405, "sluice_method_not_allowed", 1},
		{"no path", requestHead(true, ":method", "GET"), "", 400, "sluice_bad_path", 0},
		{"no method", requestHead(true, ":path", "/v1/models"), "", 400, "sluice_bad_path", 0},
		{"bad escape", requestHead(true, ":method", "GET", ":path", "/v1/%zz"), "", 400, "sluice_bad_path", 0},
		{"announced too large", post("content-length", "99999999"), "", 413, "sluice_request_too_large", 1},
		{"too large", post(), big, 413, "sluice_request_too_large", 1},
		{"unknown model", post(), chat("nobody"), 404, "sluice_model_not_found", 1},
		{"no JSON", post(), "{", 400, "sluice_invalid_json", 1},
		{"no body", requestHead(true, ":method", "POST", ":path", "/v1/chat/completions", "content-type", "application/json"), "", 400, "sluice_invalid_json", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			k := w.talk()
			r := k.say(c.head)
			if c.body != "" {
				idOf(t, r)
				r = k.say(requestBody(c.body))
			}
			if got := r.GetImmediateResponse().GetDetails(); c.details == "sluice_invalid_json" && strings.HasPrefix(got, "sluice_") {
				c.details = got // the scanner's word for it
			}
			refused(t, r, c.status, c.details)
			k.send(responseHead(true, "", ":status", "200")) // what crossed the reply is of no interest
			_ = k.g.CloseSend()
			if _, err := k.g.Recv(); err == nil || status.Code(err) == codes.FailedPrecondition {
				t.Errorf("after the reply: %v", err)
			}
			w.settled(c.records)
		})
	}
}

// TestUpload leaves a body that must stream to the executor, which begins it afresh.
func TestUpload(t *testing.T) {
	w := newWorld(t)
	k := w.talk()
	r := k.say(requestHead(false, ":method", "POST", ":path", "/v1/audio/transcriptions", "content-type", "multipart/form-data; boundary=x"))
	if m := r.ModeOverride; m == nil || m.RequestBodyMode != filter.ProcessingMode_NONE || m.ResponseHeaderMode != filter.ProcessingMode_SKIP {
		t.Errorf("mode override %v", m)
	}
	if r.DynamicMetadata != nil || r.GetRequestHeaders().GetResponse().HeaderMutation != nil {
		t.Errorf("got %v", r)
	}
	_ = k.g.CloseSend()
	w.settled(0)
	if n := w.gateway.Total(); n != 0 {
		t.Errorf("%d exchanges were counted", n)
	}
}

// TestErrors are answers of targets and of Envoy itself that the client gets as errors of ours.
func TestErrors(t *testing.T) {
	const envoyJSON = `{"error":{"message":"no healthy upstream","code":"no_healthy_upstream"}}`
	for _, c := range []struct {
		name         string
		cluster      string
		status, body string
		want         string
		code         string
	}{
		{"bad request", "ext-cluster", "400", `{"error":{"message":"temperature is too high","code":"bad_value"}}`, "400", ""},
		{"not found", "ext-cluster", "404", `{"error":{"message":"x"}}`, "", ""},
		{"the credential", "ext-cluster", "401", `{"error":{"message":"bad key secret-of-EXT_KEY"}}`, "502", "upstream_auth_failed"},
		{"broken", "ext-cluster", "500", "oops", "502", "upstream_failed"},
		{"redirect", "ext-cluster", "302", "", "502", "upstream_failed"},
		{"nobody there", "", "503", envoyJSON, "503", "no_target_available"},
		{"too slow", "", "504", envoyJSON, "504", "upstream_timeout"},
		{"lost at the executor", "sluice_executor", "503", envoyJSON, "503", "no_target_available"},
		{"a gateway behind it", "ext-cluster", "503", "busy", "502", "upstream_failed"},
	} {
		for _, empty := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				w := newWorld(t)
				k := w.talk()
				id, _ := k.opened("direct")
				head := []string{":status", c.status, "content-type", "text/plain", "x-secret", "1", "content-encoding", "gzip", "x-sluice-request-id", id}
				if c.cluster == "ext-cluster" {
					head[len(head)-1] = "0f" // another's, which is a gateway too
				}
				r := k.say(responseHead(empty, c.cluster, head...))
				var got, body, code string
				var h map[string]string
				if empty {
					im := r.GetImmediateResponse()
					got, body, h = strconv.Itoa(int(im.GetStatus().GetCode())), string(im.GetBody()), setHeaders(im.GetHeaders())
					code = strings.TrimPrefix(im.GetDetails(), "sluice_")
				} else {
					if !buffered(r) {
						t.Fatalf("got %v", r)
					}
					common := k.say(responseBody(c.body)).GetResponseBody().GetResponse()
					h, body = setHeaders(common.GetHeaderMutation()), string(common.GetBodyMutation().GetBody())
					got = h[":status"]
					if h["content-length"] != strconv.Itoa(len(body)) || !slices.Contains(common.GetHeaderMutation().RemoveHeaders, "x-secret") || !slices.Contains(common.GetHeaderMutation().RemoveHeaders, "content-encoding") {
						t.Errorf("%v", common.GetHeaderMutation())
					}
				}
				if h["content-type"] != "application/json" || strings.Contains(body, "secret-of") || !strings.HasPrefix(body, `{"error":`) || h["x-sluice-request-id"] == "" {
					t.Errorf("%v %s", h, body)
				}
				if c.want != "" && got != c.want && !(empty && c.want == "400") || c.code != "" && !strings.Contains(body, c.code) {
					t.Errorf("status %s, want %s; body %s, want %s", got, c.want, body, c.code)
				}
				rec := w.record()
				if strconv.Itoa(rec.Status) != got || rec.Outcome == "ok" || code != "" && rec.ErrorCode != code && code != "reply" {
					t.Errorf("record: %d %s %s, sent %s %s", rec.Status, rec.Outcome, rec.ErrorCode, got, code)
				}
				w.settled(1)
			})
		}
	}
}

// TestTooLargeForEnvoy is Envoy's own refusal of a body that it would not buffer.
func TestTooLargeForEnvoy(t *testing.T) {
	w := newWorld(t)
	k := w.talk()
	idOf(t, k.say(post()))
	r := k.say(responseHead(false, "", ":status", "413", "content-type", "text/plain"))
	if !buffered(r) {
		t.Fatalf("got %v", r)
	}
	common := k.say(responseBody("Payload Too Large")).GetResponseBody().GetResponse()
	if h := setHeaders(common.GetHeaderMutation()); h[":status"] != "413" || !strings.Contains(string(common.GetBodyMutation().GetBody()), "request_too_large") {
		t.Errorf("%v %s", h, common.GetBodyMutation().GetBody())
	}
	if rec := w.record(); rec.Status != 413 {
		t.Errorf("%d %s", rec.Status, rec.Outcome)
	}
	w.settled(1)
}

// TestLearnedBeforeLocal: the log of the first attempt says more than Envoy's 503 for the second one.
func TestLearnedBeforeLocal(t *testing.T) {
	w := newWorld(t)
	k, l := w.talk(), w.logs()
	id, _ := k.opened("direct")
	l.send(try(id, "ext-cluster", 429, nil, map[string]string{"retry-after": "7"}))
	l.send(whole(w.talk().begun(), nil)) // what comes after it on the same stream has been read
	w.record()
	k.say(responseHead(false, "", ":status", "503", "x-sluice-request-id", id)) // as its local reply says, which is not the executor
	common := k.say(responseBody("")).GetResponseBody().GetResponse()
	if h := setHeaders(common.GetHeaderMutation()); h[":status"] != "429" || h["retry-after"] != "7" {
		t.Errorf("%v", h)
	}
	if r := w.record(); r.Attempts[0].Status != 429 {
		t.Errorf("%+v", r.Attempts[0])
	}
	w.settled(2)
}

// TestDefaulted: an executor that answers a request whose id got lost has begun it afresh; this exchange leaves no record.
func TestDefaulted(t *testing.T) {
	w := newWorld(t)
	k := w.talk()
	k.opened("carried")
	if r := k.say(responseHead(false, "sluice_executor", ":status", "200")); !untouched(r) {
		t.Errorf("got %v", r)
	}
	if n := w.server.Counts().Defaulted; n != 1 {
		t.Errorf("%d defaulted", n)
	}
	w.settled(0)
}

// TestSlow speaks out of turn when a target's head, or the body of its refusal, does not come in time.
func TestSlow(t *testing.T) {
	for _, head := range []bool{false, true} {
		w := newWorld(t)
		k := w.talk()
		k.opened("quick")
		if head {
			k.say(responseHead(false, "ext-cluster", ":status", "500"))
		}
		refused(t, k.recv(), 504, "sluice_upstream_timeout")
		k.send(responseBody("too late"))
		if r := w.record(); r.Outcome != "timeout" || r.Attempts[0].Class != "timeout" {
			t.Errorf("%s %+v", r.Outcome, r.Attempts)
		}
		w.settled(1)
	}
}

// TestClaimedIsNotSlow: what the executor has, this stage does not end.
func TestClaimedIsNotSlow(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	w.upstream = func(addr string) (c net.Conn, err error) { <-release; return answering(sse)(addr) }
	k := w.talk()
	id, _ := k.opened("carried")
	done := make(chan int)
	go func() { done <- w.claim(id, false).Code }()
	for w.claimed(id) != "claimed" {
		time.Sleep(time.Millisecond)
	}
	k.cancel() // Envoy cancels the executor's request by itself
	close(release)
	if code := <-done; code != 200 {
		t.Errorf("%d", code)
	}
	if r := w.record(); r.Outcome != "ok" {
		t.Errorf("%s", r.Outcome)
	}
	w.settled(1)
}

// TestAborts: a client that leaves in any phase leaves one record and nothing else.
func TestAborts(t *testing.T) {
	steps := []*ext.ProcessingRequest{post(), requestBody(chat("direct")), responseHead(false, "ext-cluster", ":status", "500")}
	for n := range len(steps) + 1 {
		w := newWorld(t)
		k := w.talk()
		id := ""
		for _, m := range steps[:n] {
			if r := k.say(m); id == "" {
				id = setHeaders(r.GetRequestHeaders().GetResponse().GetHeaderMutation())["x-sluice-id"]
			}
		}
		k.cancel()
		if n > 1 { // the target was asked: the log says that it was the client who left
			w.logs().send(left(id))
		}
		if n > 0 {
			if r := w.record(); r.Outcome != "client_gone" {
				t.Errorf("after %d messages: %s", n, r.Outcome)
			}
		}
		w.settled(min(n, 1))
	}
}

// TestOrder ends a stream whose messages come in any order but Envoy's.
func TestOrder(t *testing.T) {
	head, body, answer := post(), requestBody(chat("direct")), responseHead(false, "ext-cluster", ":status", "200")
	refusal := responseHead(false, "ext-cluster", ":status", "500")
	trailers := &ext.ProcessingRequest{Request: &ext.ProcessingRequest_RequestTrailers{RequestTrailers: &ext.HttpTrailers{}}}
	for _, c := range []struct {
		name string
		good []*ext.ProcessingRequest
		bad  *ext.ProcessingRequest
	}{
		{"body first", nil, body},
		{"response body first", nil, responseBody("")},
		{"nothing", nil, &ext.ProcessingRequest{}},
		{"trailers", nil, trailers},
		{"two heads", []*ext.ProcessingRequest{head}, head},
		{"response body before its head", []*ext.ProcessingRequest{head, body}, responseBody("")},
		{"two bodies", []*ext.ProcessingRequest{head, body}, body},
		{"unasked response body", []*ext.ProcessingRequest{head, body, answer}, responseBody("")},
		{"two response heads", []*ext.ProcessingRequest{head, body, answer}, answer},
		{"a response head for an awaited body", []*ext.ProcessingRequest{head, body, refusal}, answer},
		{"two response bodies", []*ext.ProcessingRequest{head, body, refusal, responseBody("")}, responseBody("")},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			k := w.talk()
			for _, m := range c.good {
				k.say(m)
			}
			k.send(c.bad)
			if _, err := k.g.Recv(); status.Code(err) != codes.FailedPrecondition {
				t.Errorf("got %v", err)
			}
			if n := w.server.Counts().Violations; n != 1 {
				t.Errorf("%d violations", n)
			}
			w.close()
			w.table.Sweep(time.Now().Add(time.Hour), 0, nil)
			w.settled(min(len(c.good), 1))
		})
	}
}

// TestAnswerWithoutRequest passes what Envoy answers before the stage saw the request.
func TestAnswerWithoutRequest(t *testing.T) {
	w := newWorld(t)
	k := w.talk()
	if r := k.say(responseHead(true, "", ":status", "400")); r.GetResponseHeaders() == nil {
		t.Errorf("got %v", r)
	}
	w.settled(0)
}

// TestPanic ends one request with a clean error, and no other.
func TestPanic(t *testing.T) {
	w := newWorld(t, func(o *extproc.Options) {
		o.Clusters = func(_ string, p *policies.Provider, _ time.Duration) (string, bool) {
			if p.Name == "far" {
				panic("cluster table")
			}
			return "ext-cluster", true
		}
	})
	other := w.talk()
	id := other.begun()
	k := w.talk()
	_, r := k.opened("far")
	refused(t, r, 500, "sluice_internal_error")
	if rec := w.record(); rec.Outcome != "internal_error" || rec.Status != 500 {
		t.Errorf("%s %d", rec.Outcome, rec.Status)
	}
	if len(w.panics) != 1 || w.server.Counts().Panics != 1 {
		t.Errorf("panics %v", w.panics)
	}
	w.logs().send(whole(id, nil))
	if rec := w.record(); rec.Outcome != "ok" {
		t.Errorf("the other request: %s", rec.Outcome)
	}
	w.settled(2)
}

// TestShutdown answers what has not begun to be answered, cuts the rest, and takes nothing new.
func TestShutdown(t *testing.T) {
	w := newWorld(t)
	silent, waiting, begun := w.talk(), w.talk(), w.talk()
	idOf(t, silent.say(post()))
	waiting.opened("direct")
	id := begun.begun()
	done := make(chan struct{})
	go func() { w.server.Shutdown(context.Background()); close(done) }()
	refused(t, silent.recv(), 503, "sluice_no_target_available")
	refused(t, waiting.recv(), 503, "sluice_no_target_available")
	refused(t, begun.recv(), 503, "sluice_shutdown")
	e := whole(id, nil)
	e.Response.ResponseCodeDetails = "sluice_shutdown"
	w.logs().send(e)
	<-done
	if _, err := w.talk().g.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("a new stream: %v", err)
	}
	for range 3 {
		w.record()
	}
	w.settled(3)
}

// TestShutdownWithoutLogs does not wait for logs for longer than it may.
func TestShutdownWithoutLogs(t *testing.T) {
	w := newWorld(t)
	k := w.talk()
	k.begun()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	w.server.Shutdown(ctx)
	if r := w.record(); r.UsageKind.String() != "estimated" {
		t.Errorf("%v", r.UsageKind)
	}
	w.settled(1)
}

// TestTrace takes the trace from Envoy's span where there is one, else from the client.
func TestTrace(t *testing.T) {
	const envoy, client = "00-11111111111111111111111111111111-2222222222222222-01", "00-33333333333333333333333333333333-4444444444444444-01"
	for _, c := range []struct {
		md, head []string
		want     byte
	}{
		{[]string{"traceparent", envoy}, []string{"traceparent", client}, 0x11},
		{nil, []string{"traceparent", client}, 0x33},
	} {
		w := newWorld(t)
		k := w.talk(c.md...)
		k.say(post(c.head...))
		k.cancel()
		if r := w.record(); r.Trace.TraceID[0] != c.want {
			t.Errorf("%x", r.Trace.TraceID)
		}
	}
}

func (w *world) claimed(id string) string {
	var key [16]byte
	for i := range key {
		key[i] = unhex(id[2*i])<<4 | unhex(id[2*i+1])
	}
	if x := w.table.Find(key); x != nil {
		return x.Owner().String()
	}
	return ""
}

func unhex(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

// TestHandOver: a target that breaks between the plan and its attempt is not asked; the executor goes on with the next one at once.
func TestHandOver(t *testing.T) {
	var w *world
	trip := func() {
		for range 3 {
			head := proxy.Head{Method: "POST", URL: &url.URL{Path: "/v1/chat/completions"}, Header: http.Header{}, ContentLength: -1}
			x, _ := w.gateway.Begin(context.Background(), head)
			if _, reply := x.Request([]byte(chat("direct"))); reply == nil {
				x.Attempt(0)
				x.Carry() // no second attempt
				x.Fail(proxy.CauseReset, nil)
			}
			x.End()
			<-w.arrived
		}
	}
	w = newWorld(t, func(o *extproc.Options) {
		o.Clusters = func(string, *policies.Provider, time.Duration) (string, bool) { trip(); return "ext-cluster", true }
	})
	w.upstream = answering(sse)
	k := w.talk()
	id, r := k.opened("direct")
	if c := chainOf(t, r); !slices.Equal(c, []string{"sluice_executor"}) || r.GetRequestBody().GetResponse().BodyMutation != nil {
		t.Fatalf("got %v", r)
	}
	if a := w.claim(id, false); a.Code != 200 {
		t.Errorf("%d %s", a.Code, a.Body)
	}
	if rec := w.record(); len(rec.Attempts) != 2 || rec.Attempts[0].Cause != "not_sent" || rec.Attempts[1].Provider != "far" {
		t.Errorf("%+v", rec.Attempts)
	}
	w.settled(4)
}

// TestRepeated is a header that is there twice and goes up as it is: Envoy is told nothing of it.
func TestRepeated(t *testing.T) {
	w := newWorld(t)
	k := w.talk()
	k.say(post("openai-beta", "one", "openai-beta", "two"))
	m := k.say(requestBody(chat("direct"))).GetRequestBody().GetResponse().GetHeaderMutation()
	if _, set := setHeaders(m)["openai-beta"]; set || slices.Contains(m.RemoveHeaders, "openai-beta") {
		t.Errorf("%v", m)
	}
}
