package simulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const streamed = `{"model":"m","stream":true,"messages":[{"role":"user","content":"Hi"}]}`

var unstreamed = strings.Replace(streamed, `"stream":true,`, "", 1)

func TestStatusFaults(t *testing.T) {
	r := overTCP(t, Options{})
	for spec, want := range map[string]string{
		"status=429":                             `429 {"error":{"code":"rate_limit_exceeded","message":"simulated failure with status 429","param":null,"type":"requests"}}`,
		"status=429,code=insufficient_quota":     `429 {"error":{"code":"insufficient_quota","message":"simulated failure with status 429","param":null,"type":"insufficient_quota"}}`,
		"status=500":                             `500 {"error":{"code":null,"message":"simulated failure with status 500","param":null,"type":"server_error"}}`,
		"status=503,type=overloaded,message=Oh.": `503 {"error":{"code":null,"message":"Oh.","param":null,"type":"overloaded"}}`,
		"status=401":                             `401 {"error":{"code":"invalid_api_key","message":"simulated failure with status 401","param":null,"type":"invalid_request_error"}}`,
		"status=404":                             `404 {"error":{"code":"model_not_found","message":"simulated failure with status 404","param":"model","type":"invalid_request_error"}}`,
		"content-filter":                         `400 {"error":{"code":"content_filter","message":"The response was filtered due to the prompt triggering content management policy.","param":"prompt","type":"invalid_request_error"}}`,
		"context-length":                         `400 {"error":{"code":"context_length_exceeded","message":"This model's maximum context length is 8192 tokens. However, your messages resulted in 8193 tokens. Please reduce the length of the messages.","param":"messages","type":"invalid_request_error"}}`,
		"hung":                                   `400 {"error":{"code":"bad_fault","message":"unknown fault \"hung\"","param":null,"type":"invalid_request_error"}}`,
	} {
		for _, body := range []string{streamed, unstreamed} {
			a := r.post("/v1/chat/completions", body, faultHeader, spec)
			if got := fmt.Sprint(a.status, " ", a.body); got != want || a.header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: %s\nwant %s", spec, got, want)
			}
			if c := r.last(); c.Ending != Completed || c.Status != a.status || c.TokensOut != 0 || c.Fault != spec {
				t.Errorf("%s: %+v", spec, c)
			}
		}
	}
	a := r.post("/v1/chat/completions", streamed, faultHeader, "status=429, retry-after=2, retry-after-ms=1500, header=x-ratelimit-reset-requests:1s")
	if a.status != 429 || a.header.Get("Retry-After") != "2" || a.header.Get("Retry-After-Ms") != "1500" || a.header.Get("x-ratelimit-reset-requests") != "1s" {
		t.Errorf("%+v", a)
	}
}

func TestFaultsComeFromModelHeaderAndFunction(t *testing.T) {
	r := overTCP(t, Options{Fault: func(req *http.Request, model string) string {
		if model == "broken" && req.URL.Path == "/v1/chat/completions" {
			return "status=500"
		}
		return ""
	}})
	named := func(model string) string { return strings.Replace(unstreamed, `"m"`, `"`+model+`"`, 1) }
	for _, c := range []struct {
		model, header string
		status        int
		fault         string
	}{
		{"m", "", 200, ""}, {"broken", "", 500, "status=500"}, {"m+fault=status=503", "", 503, "status=503"}, {"m", "status=502", 502, "status=502"},
		{"broken", "retry-after=1", 500, "retry-after=1,status=500"}, {"m+fault=status=503", "code=busy", 503, "status=503,code=busy"},
	} {
		a := r.post("/v1/chat/completions", named(c.model), faultHeader, c.header)
		if call := r.last(); a.status != c.status || call.Fault != c.fault || call.Model != c.model {
			t.Errorf("%s %s: %d, fault %q, model %q", c.model, c.header, a.status, call.Fault, call.Model)
		}
	}
	if a := r.do(t.Context(), "GET", "/v1/models", "", faultHeader, "status=503"); a.status != 503 {
		t.Errorf("a fault on a path without a body: %+v", a)
	}
}

func TestOnceCountsByModelAndSpec(t *testing.T) {
	r := overTCP(t, Options{})
	statuses := func(model, spec string, n int) (all []int) {
		for range n {
			all = append(all, r.post("/v1/chat/completions", strings.Replace(unstreamed, `"m"`, `"`+model+`"`, 1), faultHeader, spec).status)
		}
		return all
	}
	for range 2 {
		for _, c := range []struct{ model, spec, want string }{
			{"a", "status=500,once=2", "[500 500 200 200]"}, {"b", "status=500,once=2", "[500 500 200 200]"}, {"a", "status=503,once", "[503 200 200 200]"},
		} {
			if got := fmt.Sprint(statuses(c.model, c.spec, 4)); got != c.want {
				t.Errorf("%s %s: %s, want %s", c.model, c.spec, got, c.want)
			}
		}
		if c := r.last(); c.Fault != "" {
			t.Errorf("a used-up fault is logged: %q", c.Fault)
		}
		r.sim.Reset() // and everything again
	}
	r.post("/v1/chat/completions", streamed, faultHeader, "cut,once,events=4")
	if a := r.post("/v1/chat/completions", streamed, faultHeader, "cut,once,events=4"); a.err != nil || r.last().Events != 4 {
		t.Errorf("the pace ends with the fault: %+v", r.last())
	}
}

func TestOnceUnderConcurrency(t *testing.T) {
	r := overTCP(t, Options{})
	var failed atomic.Int32
	var wg sync.WaitGroup
	for range 24 {
		wg.Go(func() {
			if r.post("/v1/chat/completions", unstreamed, faultHeader, "status=500,once=7").status == 500 {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	if n := failed.Load(); n != 7 || len(r.sim.Log()) != 24 {
		t.Errorf("%d of %d calls failed, want 7 of 24", n, len(r.sim.Log()))
	}
}

// streamFaults are the ways in which a stream goes wrong and still comes to an end by itself.
var streamFaults = []struct {
	spec    string
	broken  bool // the client sees an unclean end
	content int  // well-formed content events
	done    bool // [DONE]
	finish  string
	bad     bool // an event that is no JSON
	err     bool // an error event
	ending  Ending
}{
	{spec: "events=4", content: 4, done: true, finish: "stop", ending: Completed},
	{spec: "events=4,no-done", content: 4, finish: "stop", ending: Completed},
	{spec: "events=4,cut=0", broken: true, ending: Cut},
	{spec: "events=4,cut", broken: true, content: 1, ending: Cut},
	{spec: "events=4,cut=3", broken: true, content: 3, ending: Cut},
	{spec: "events=4,cut=99", broken: true, content: 4, ending: Cut},
	{spec: "events=4,end=2", content: 2, ending: Completed},
	{spec: "events=4,error-event", err: true, ending: Completed},
	{spec: "events=4,error-event=2,code=server_busy", content: 2, err: true, ending: Completed},
	{spec: "events=4,error-event=99", content: 4, err: true, ending: Completed},
	{spec: "events=4,garbage", content: 3, bad: true, done: true, finish: "stop", ending: Completed},
	{spec: "events=4,garbage=3", content: 3, bad: true, done: true, finish: "stop", ending: Completed},
	{spec: "events=4,garbage=99", content: 4, bad: true, done: true, finish: "stop", ending: Completed},
	{spec: "events=4,garbage=2,cut=3", content: 2, bad: true, broken: true, ending: Cut},
	{spec: "empty", ending: Completed},
	{spec: "empty-choices", done: true, ending: Completed},
}

func TestStreamFaults(t *testing.T) {
	for _, c := range streamFaults {
		for _, path := range []string{"/v1/chat/completions", "/v1/completions", "/v1/responses"} {
			t.Run(c.spec+path, func(t *testing.T) {
				r := overTCP(t, Options{})
				a := r.post(path, strings.Replace(streamed, `"model"`, `"prompt":"Hi","input":"Hi","model"`, 1), faultHeader, c.spec)
				if (a.err != nil) != c.broken || a.status != 200 || a.header.Get("Content-Type") != "text/event-stream" {
					t.Fatalf("status %d, error %v", a.status, a.err)
				}
				if call := r.last(); call.Ending != c.ending || call.Status != 200 {
					t.Errorf("%+v", call)
				}
				if path == "/v1/responses" {
					return // its events are of another form; the machinery is the same
				}
				f := fold(t, a)
				if f.done != c.done || f.bad != c.bad || f.finish[0] != c.finish || strings.Contains(a.body, `"error":{`) != c.err {
					t.Errorf("%+v\n%s", f, a.body)
				}
				if got := countContent(t, a); got != c.content {
					t.Errorf("%d content events, want %d\n%s", got, c.content, a.body)
				}
			})
		}
	}
}

// countContent counts the well-formed events with text in them.
func countContent(t *testing.T, a answer) (n int) {
	for _, data := range events(t, a) {
		if f := fold(t, answer{body: "data: " + data + "\n\n"}); f.text[0] != "" {
			n++
		}
	}
	return n
}

func TestUnaryFaults(t *testing.T) {
	for spec, check := range map[string]func(a answer) bool{
		"cut": func(a answer) bool {
			return errors.Is(a.err, io.ErrUnexpectedEOF) && strings.HasPrefix(a.body, `{"id"`)
		},
		"garbage":     func(a answer) bool { return a.err == nil && a.status == 200 && !strings.HasSuffix(a.body, "}") },
		"error-event": func(a answer) bool { return a.status == 200 && strings.HasPrefix(a.body, `{"error":{`) },
		"html": func(a answer) bool {
			return a.status == 200 && strings.HasPrefix(a.header.Get("Content-Type"), "text/html")
		},
		"empty":         func(a answer) bool { return a.err == nil && a.status == 200 && a.body == "" },
		"empty-choices": func(a answer) bool { return a.status == 200 && strings.Contains(a.body, `"choices":[],`) },
	} {
		r := overTCP(t, Options{})
		a := r.post("/v1/chat/completions", unstreamed, faultHeader, spec)
		want := Completed
		if spec == "cut" {
			want = Cut
		}
		if !check(a) || r.last().Ending != want {
			t.Errorf("%s: %+v; %+v", spec, a, r.last())
		}
	}
	if a := overTCP(t, Options{}).post("/v1/chat/completions", streamed, faultHeader, "html"); !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
		t.Errorf("html on a stream: %+v", a)
	}
}

func TestResetIsATCPReset(t *testing.T) {
	for _, body := range []string{streamed, unstreamed} {
		r := overTCP(t, Options{})
		a := r.post("/v1/chat/completions", body, faultHeader, "reset")
		if !errors.Is(a.err, syscall.ECONNRESET) {
			t.Errorf("%v", a.err)
		}
		if c := r.last(); c.Ending != Cut || c.Status != 0 {
			t.Errorf("%+v", c)
		}
	}
}

func TestCutsOverHTTP2(t *testing.T) {
	sim := New(Options{})
	web := httptest.NewUnstartedServer(sim)
	web.EnableHTTP2 = true
	web.StartTLS()
	t.Cleanup(web.Close)
	r := &rig{t, sim, web.Client(), web.URL}
	for _, spec := range []string{"reset", "cut=2"} {
		a := r.post("/v1/chat/completions", streamed, faultHeader, spec)
		if a.err == nil || r.last().Ending != Cut {
			t.Errorf("%s: %+v; %+v", spec, a, r.last())
		}
	}
	if a := r.post("/v1/chat/completions", streamed); a.err != nil || !fold(t, a).done {
		t.Errorf("%+v", a)
	}
}

// TestWaits holds every fault of time to virtual time. take is how long a client waits for the whole answer.
func TestWaits(t *testing.T) {
	for _, c := range []struct {
		spec, body  string
		head, whole time.Duration
	}{
		{"events=5", streamed, 0, 0},
		{"events=5,delay=10ms", streamed, 0, 50 * time.Millisecond},
		{"events=5,slow", streamed, 0, 500 * time.Millisecond},
		{"events=5,first-token-delay=20s", streamed, 0, 20 * time.Second},
		{"events=5,first-token-delay=20s,slow=1s", streamed, 0, 25 * time.Second},
		{"events=5,headers-delay=3s", streamed, 3 * time.Second, 3 * time.Second},
		{"status=503,headers-delay=3s", streamed, 3 * time.Second, 3 * time.Second},
		{"events=5,delay=10ms", unstreamed, 50 * time.Millisecond, 50 * time.Millisecond},
		{"events=5,first-token-delay=20s", unstreamed, 20 * time.Second, 20 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := overPipes(t, Options{})
			start := time.Now()
			req, err := http.NewRequestWithContext(t.Context(), "POST", r.url+"/v1/chat/completions", strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set(faultHeader, c.spec)
			resp, err := r.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			head := time.Since(start)
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				t.Fatal(err)
			}
			if whole := time.Since(start); head != c.head || whole != c.whole {
				t.Errorf("%s: head after %v, end after %v, want %v and %v", c.spec, head, whole, c.head, c.whole)
			}
			if call := r.last(); call.Ending != Completed || call.Ended.Sub(call.Started) != c.whole {
				t.Errorf("%s: %+v", c.spec, call)
			}
		})
	}
}

// TestClientGone: whatever the simulator is waiting for, a client that leaves frees it at once, and the log says how far it came.
func TestClientGone(t *testing.T) {
	for _, c := range []struct {
		spec, body string
		status     int // seen before the leave; 0 for none
		tokens     int
	}{
		{"hang", streamed, 0, 0},
		{"hang", unstreamed, 0, 0},
		{"headers-delay=1h", streamed, 0, 0},
		{"hang-after-headers", streamed, 200, 0},
		{"hang-after-headers", unstreamed, 200, 0},
		{"first-token-delay=1h", streamed, 200, 0},
		{"first-token-delay=1h", unstreamed, 0, 0},
		{"events=100,delay=4s", streamed, 200, 2},
		{"events=100,delay=4s", unstreamed, 0, 0},
		{"stall=0", streamed, 200, 0},
		{"stall", streamed, 200, 1},
		{"events=9,stall=3", streamed, 200, 3},
		{"events=9,stall=99", streamed, 200, 9},
		{"events=9,stall", unstreamed, 200, 9},
		{"comments", streamed, 200, 0},
		{"comments,delay=1ms", unstreamed, 200, 0},
	} {
		t.Run(c.spec, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := overPipes(t, Options{})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				start := time.Now()
				a := r.do(ctx, "POST", "/v1/chat/completions", c.body, faultHeader, c.spec)
				if !errors.Is(a.err, context.DeadlineExceeded) || time.Since(start) != 10*time.Second || a.status != c.status {
					t.Errorf("after %v: %+v", time.Since(start), a)
				}
				synctest.Wait()
				call := r.last()
				if call.Ending != ClientGone || call.TokensOut != c.tokens || call.Ended.Sub(call.Started) != 10*time.Second {
					t.Errorf("%+v", call)
				}
				if strings.HasPrefix(c.spec, "comments") && (len(a.body) < 10 || strings.Contains(a.body, "data")) {
					t.Errorf("%q", a.body)
				}
			})
		})
	}
}

func TestAwaitSeesTheLeave(t *testing.T) {
	r := overTCP(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan answer, 1)
	go func() { gone <- r.do(ctx, "POST", "/v1/chat/completions", streamed, faultHeader, "stall=2") }()
	if err := r.sim.Await(t.Context(), func(c []Call) bool { return len(c) == 1 && c[0].Events == 2 }); err != nil {
		t.Fatal(err)
	}
	if c := r.last(); c.Ending != Open || !c.Ended.IsZero() {
		t.Errorf("%+v", c)
	}
	cancel()
	r.awaitEnding(ClientGone)
	<-gone
	why := errors.New("enough")
	done, stop := context.WithCancelCause(t.Context())
	stop(why)
	if err := r.sim.Await(done, func([]Call) bool { return false }); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
}

func TestParseFaultRefuses(t *testing.T) {
	for spec, want := range map[string]string{
		"":                      "",
		" , hang ,":             "",
		"hnag":                  `unknown fault "hnag"`,
		"hang=1":                "fault hang takes no value",
		"status":                `fault status: "" is no number from 400 to 599`,
		"status=200":            `fault status: "200" is no number from 400 to 599`,
		"cut=-1":                `fault cut: "-1" is no number from 0 to 100000`,
		"cut=x":                 `fault cut: "x" is no number from 0 to 100000`,
		"events=0":              `fault events: "0" is no number from 1 to 100000`,
		"once=0":                `fault once: "0" is no number from 1 to 1073741824`,
		"delay=5":               `fault delay: "5" is no duration`,
		"delay=-1s":             `fault delay: "-1s" is no duration`,
		"retry-after":           `fault retry-after: "Retry-After:" is no NAME:VALUE`,
		"header=x":              `fault header: "x" is no NAME:VALUE`,
		"status=500,code":       "fault code: needs a value",
		"code=x":                "fault code, type and message need status or error-event",
		"error-event,message=x": "",
	} {
		got := ""
		if _, err := parseFault(spec); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", spec, got, want)
		}
	}
	for line := range strings.Lines(Faults()) {
		if len(strings.Fields(line)) < 3 {
			t.Errorf("no help in %q", line)
		}
	}
}
