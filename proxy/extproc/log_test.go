package extproc_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	logdata "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslog "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/llm"
)

func (l *logs) send(entries ...*logdata.HTTPAccessLogEntry) {
	l.t.Helper()
	if err := l.g.Send(&accesslog.StreamAccessLogsMessage{LogEntries: &accesslog.StreamAccessLogsMessage_HttpLogs{HttpLogs: &accesslog.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: entries}}}); err != nil {
		l.t.Fatal(err)
	}
}

// whole is the entry of a request's end.
func whole(id string, usage map[string]any) *logdata.HTTPAccessLogEntry {
	md := map[string]*structpb.Struct{}
	if usage != nil {
		md["sluice.usage"], _ = structpb.NewStruct(usage)
	}
	return &logdata.HTTPAccessLogEntry{
		CommonProperties: &logdata.AccessLogCommon{AccessLogType: logdata.AccessLogType_DownstreamEnd, UpstreamCluster: "ext-cluster", Metadata: &core.Metadata{FilterMetadata: md}, ResponseFlags: &logdata.ResponseFlags{}},
		Request:          &logdata.HTTPRequestProperties{RequestHeaders: map[string]string{"x-sluice-id": id}},
		Response:         &logdata.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(200), ResponseBodyBytes: 480, ResponseCodeDetails: "via_upstream"},
	}
}

// left is the entry of a request whose client went away.
func left(id string) *logdata.HTTPAccessLogEntry {
	e := whole(id, nil)
	e.CommonProperties.ResponseFlags.DownstreamConnectionTermination = true
	e.Response.ResponseCode, e.Response.ResponseCodeDetails = nil, "downstream_remote_disconnect"
	return e
}

// replaced is the entry of a request whose client got an error of Envoy's.
func replaced(id string, code uint32) *logdata.HTTPAccessLogEntry {
	e := whole(id, nil)
	e.CommonProperties.ResponseFlags.UpstreamProtocolError = true
	e.Response.ResponseCode, e.Response.ResponseCodeDetails = wrapperspb.UInt32(code), "upstream_reset_after_response_started{protocol_error}"
	return e
}

// TestForgedLog: Envoy logs what it refuses with the headers that the client wrote. With the id of an answer that it is getting a client would end that
// unpaid.
func TestForgedLog(t *testing.T) {
	w := newWorld(t)
	id := w.talk().begun()
	forged := whole(id, nil)
	forged.CommonProperties.UpstreamCluster = ""
	forged.Response.ResponseCode, forged.Response.ResponseCodeDetails = wrapperspb.UInt32(400), "missing_host_header"
	w.logs().send(forged, whole(id, map[string]any{"input": 100, "output": 7}))
	if r := w.record(); r.Outcome != "ok" || r.Status != 200 || r.Usage.Output != 7 {
		t.Errorf("%s %d %+v", r.Outcome, r.Status, r.Usage)
	}
	w.settled(1)
}

// TestCutBehindHead: an answer that breaks off while its head is with the stage. The client gets Envoy's error, or sees its connection break; in which
// order stage and log learn of it does not matter.
func TestCutBehindHead(t *testing.T) {
	head := responseHead(false, "ext-cluster", ":status", "200")
	for _, c := range []struct {
		name    string
		head    bool // gets to the stage
		first   bool // the log comes first
		code    uint32
		outcome string
		err     string
	}{
		{"seen", true, false, 502, "upstream_error", "upstream_failed"},
		{"seen, log first", true, true, 502, "upstream_error", "upstream_failed"},
		{"never seen", false, false, 502, "upstream_error", "upstream_failed"},
		{"never seen, log first", false, true, 502, "upstream_error", "upstream_failed"},
		{"too late", false, true, 504, "timeout", "upstream_timeout"},
		{"no host", false, true, 503, "overloaded", "no_target_available"},
		{"the stage failed", true, false, 500, "internal_error", "internal_error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			k, l := w.talk(), w.logs()
			id, _ := k.opened("direct")
			if c.first {
				l.send(replaced(id, c.code), whole(strings.Repeat("0f", 16), nil))
				for w.server.Counts().UnknownLogs == 0 { // the second entry was read, so the first one was
					time.Sleep(time.Millisecond)
				}
			}
			if c.head {
				k.say(head)
			}
			k.cancel()
			if !c.first {
				l.send(replaced(id, c.code))
			}
			r := w.record()
			if r.Outcome != c.outcome || r.ErrorCode != c.err || r.Status != int(c.code) || r.UsageKind != llm.UsageNone || !r.FirstToken.IsZero() || r.Attempts[0].Cause != "cut" {
				t.Errorf("%+v", r)
			}
			w.settled(1)
		})
	}
}

// try is the entry of one attempt.
func try(id, cluster string, code uint32, flags *logdata.ResponseFlags, headers map[string]string) *logdata.HTTPAccessLogEntry {
	return &logdata.HTTPAccessLogEntry{
		CommonProperties: &logdata.AccessLogCommon{AccessLogType: logdata.AccessLogType_UpstreamEnd, UpstreamCluster: cluster, ResponseFlags: flags},
		Request:          &logdata.HTTPRequestProperties{RequestHeaders: map[string]string{"x-sluice-id": id}},
		Response:         &logdata.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(code), ResponseHeaders: headers},
	}
}

// TestEnds is what the log of a direct answer makes of its record.
func TestEnds(t *testing.T) {
	usage := map[string]any{"input": 100, "output": 7, "cached": 40}
	for _, c := range []struct {
		name    string
		usage   map[string]any
		flags   *logdata.ResponseFlags
		details string
		outcome string
		cause   string
		kind    llm.UsageKind
		want    llm.Usage
	}{
		{"whole", usage, nil, "via_upstream", "ok", "", llm.UsageReported, llm.Usage{Input: 100, Output: 7, Cached: 40}},
		{"no usage", nil, nil, "via_upstream", "ok", "", llm.UsageEstimated, llm.Usage{}},
		{"only output", map[string]any{"output": 3}, nil, "via_upstream", "ok", "", llm.UsageReported, llm.Usage{Output: 3}},
		{"more cached than there was", map[string]any{"input": 5, "output": 3, "cached": 9}, nil, "via_upstream", "ok", "", llm.UsageReported, llm.Usage{Input: 5, Output: 3, Cached: 5}},
		{"usage that is none", map[string]any{"input": "x", "output": -1}, nil, "via_upstream", "ok", "", llm.UsageEstimated, llm.Usage{}},
		{"retry limit means nothing", usage, &logdata.ResponseFlags{UpstreamRetryLimitExceeded: true}, "via_upstream", "ok", "", llm.UsageReported, llm.Usage{Input: 100, Output: 7, Cached: 40}},
		{"client left", nil, &logdata.ResponseFlags{DownstreamConnectionTermination: true}, "downstream_remote_disconnect", "client_gone", "client_gone", llm.UsageEstimated, llm.Usage{}},
		{"client reset", nil, &logdata.ResponseFlags{DownstreamRemoteReset: true}, "http2.remote_reset", "client_gone", "client_gone", llm.UsageEstimated, llm.Usage{}},
		{"upstream cut", nil, &logdata.ResponseFlags{UpstreamProtocolError: true}, "upstream_reset_after_response_started{protocol_error}", "interrupted", "cut", llm.UsageEstimated, llm.Usage{}},
		{"total limit", nil, &logdata.ResponseFlags{UpstreamMaxStreamDurationReached: true}, "upstream_max_stream_duration_reached", "interrupted", "limit", llm.UsageEstimated, llm.Usage{}},
		{"ended by us", nil, nil, "sluice_shutdown", "interrupted", "cut", llm.UsageEstimated, llm.Usage{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			k, l := w.talk(), w.logs()
			id := k.begun()
			e := whole(id, c.usage)
			if c.flags != nil {
				e.CommonProperties.ResponseFlags = c.flags
			}
			e.Response.ResponseCodeDetails = c.details
			l.send(e, e) // the second one is late
			r := w.record()
			k.cancel()
			if r.Outcome != c.outcome || r.UsageKind != c.kind || r.Carried != "envoy" || r.Plane != "envoy" || r.Status != 200 || r.BytesOut != 480 {
				t.Errorf("%s, %v, carried by %s, status %d, %d bytes", r.Outcome, r.UsageKind, r.Carried, r.Status, r.BytesOut)
			}
			if c.kind == llm.UsageReported && r.Usage != c.want {
				t.Errorf("usage %+v, want %+v", r.Usage, c.want)
			}
			if c.kind == llm.UsageEstimated && (r.Usage.Output != 3 || r.Usage.Input == 0) { // 480 bytes of frames are ten bytes of text
				t.Errorf("estimate %+v", r.Usage)
			}
			if len(r.Attempts) != 1 || r.Attempts[0].Cause != c.cause || r.Attempts[0].Provider != "ext" {
				t.Errorf("attempts %+v", r.Attempts)
			}
			w.settled(1)
		})
	}
}

// answering is an upstream of the executor that gives one answer.
func answering(body string) func(string) (net.Conn, error) {
	return func(string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			r, err := http.ReadRequest(bufio.NewReader(theirs))
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(theirs, body)
		}()
		return ours, nil
	}
}

const sse = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" +
	"data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n"

// claim sends a request to the executor as Envoy does at its second attempt.
func (w *world) claim(id string, prepared bool) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(`{"model":"of the target"}`))
	r.Header.Set("Authorization", "Bearer of-the-target")
	r.Header.Set("X-Sluice-Id", id)
	if prepared {
		r.Header.Set("X-Sluice-Prepared", "1")
	}
	a := httptest.NewRecorder()
	w.executor.ServeHTTP(a, r)
	return a
}

// TestFailover is a first attempt that fails at Envoy and goes on at the executor, which learns from the log why.
func TestFailover(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   uint32
		flags  *logdata.ResponseFlags
		head   map[string]string
		reason string
		class  llm.Class
		cause  string
		status int
	}{
		{"throttled", 429, nil, map[string]string{"retry-after": "7"}, "", llm.ClassThrottle, "status", 429},
		{"broken", 500, nil, nil, "", llm.ClassTransient, "status", 500},
		{"refused", 0, &logdata.ResponseFlags{UpstreamConnectionFailure: true}, nil, "delayed connect error: 111", llm.ClassTransient, "refused", 0},
		{"no connection in time", 0, &logdata.ResponseFlags{UpstreamConnectionFailure: true}, nil, "", llm.ClassTimeout, "connect_timeout", 0},
		{"no host", 0, &logdata.ResponseFlags{NoHealthyUpstream: true}, nil, "", llm.ClassTransient, "refused", 0},
		{"reset", 0, &logdata.ResponseFlags{UpstreamConnectionTermination: true}, nil, "", llm.ClassTransient, "reset", 0},
		{"silent", 0, nil, nil, "", llm.ClassTimeout, "headers", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.upstream = answering(sse)
			k, l := w.talk(), w.logs()
			id, _ := k.opened("direct")
			e := try(id, "ext-cluster", c.code, c.flags, c.head)
			e.CommonProperties.UpstreamTransportFailureReason = c.reason
			l.send(try(id, "sluice_executor", 503, nil, nil), try(id, "ext-cluster", 200, nil, nil), e) // only the last one is a failure of the target's
			a := w.claim(id, true)
			if a.Code != 200 || !strings.Contains(a.Body.String(), "[DONE]") {
				t.Fatalf("%d %s", a.Code, a.Body)
			}
			r := w.record()
			l.send(try(id, "sluice_executor", 200, nil, nil), whole(id, nil))
			if said := k.say(responseHead(false, "sluice_executor", ":status", "200")); !untouched(said) {
				t.Errorf("the executor's answer was touched: %v", said)
			}
			if r.Outcome != "ok" || r.Carried != "executor" || len(r.Attempts) != 2 {
				t.Fatalf("%s, carried by %s, attempts %+v", r.Outcome, r.Carried, r.Attempts)
			}
			if first := r.Attempts[0]; first.Class != c.class || first.Cause != c.cause || first.Status != c.status {
				t.Errorf("first attempt: class %s, cause %s, status %d", first.Class, first.Cause, first.Status)
			}
			if a := w.claim(id, true); a.Code != 503 || !strings.Contains(a.Body.String(), "exchange_lost") {
				t.Errorf("the second claim: %d %s", a.Code, a.Body)
			}
			w.settled(1)
		})
	}
}

// TestForeignLogs are entries that must change nothing.
func TestForeignLogs(t *testing.T) {
	w := newWorld(t)
	k, l := w.talk(), w.logs()
	id, _ := k.opened("direct")
	other := strings.Repeat("0f", 16)
	l.send(
		&logdata.HTTPAccessLogEntry{},
		whole("", nil), whole("zz", nil), whole(strings.Repeat("zz", 16), nil), whole(other, nil),
		try("", "", 500, nil, nil), try(other, "ext-cluster", 500, nil, nil),
	)
	id2 := w.talk().begun()
	l.send(whole(id2, nil))
	if r := w.record(); r.Outcome != "ok" {
		t.Errorf("%s", r.Outcome)
	}
	if c := w.server.Counts(); c.UnknownLogs != 2 || c.Late != 0 {
		t.Errorf("%+v", c)
	}
	k.cancel()
	l.send(left(id))
	if r := w.record(); r.Outcome != "client_gone" {
		t.Errorf("%s", r.Outcome)
	}
	w.settled(2)
}
