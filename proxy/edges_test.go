package proxy_test

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/internal/simulator"
)

// edges are the cases of real gateways' issue trackers that concern streams, connections and resilience, by their numbers in the list that the issues
// refer to, each with what holds it: transcripts, which run in every plane and at several chunk sizes, and tests.
var edges = []struct {
	n    int
	what string
	held []string // a transcript's name, or Test… anywhere in the repository
}{
	{1, "the client leaves mid-stream: the upstream is cancelled", []string{"client-gone-stream", "TestFailures", "TestCancelFreesTheSlot"}},
	{2, "the client leaves before the first token", []string{"client-gone-before", "TestFailures"}},
	{3, "the client leaves a call that does not stream", []string{"TestFailures", "TestDisconnects"}},
	{4, "the client leaves in a back-off: no further attempt", []string{"client-gone-backoff", "TestFailures"}},
	{5, "a leave counts against nobody", []string{"TestDisconnects"}},
	{6, "what was streamed before a leave is metered once", []string{"client-gone-stream"}},
	{7, "a silent provider is asked once, then another one", []string{"fail-hang", "fail-hang-unary", "TestPublicFaults"}},
	{8, "a slow first token fails over before anything was sent", []string{"fail-hang-after-head", "TestPublicFaults"}},
	{9, "comments keep a quiet stream alive", []string{"keepalive-committed", "slow-but-alive"}},
	{10, "after an early 200 a failure is an error event", []string{"keepalive-early-fails"}},
	{11, "a cut mid-answer is carried on or an error, never a clean end", []string{"broken-cut", "rescue-reproduced", "TestPublicFaults"}},
	{12, "a stall mid-answer ends by its limit, once", []string{"broken-stall", "rescue-stall", "TestPublicFaults"}},
	{13, "garbage is never forwarded", []string{"broken-garbage", "rescue-garbage", "TestGarbageGoesNowhere"}},
	{14, "a missing [DONE] is added", []string{"stream-no-done", "finish-then-cut", "TestPublicFaults"}},
	{15, "an error as the first event of a 200 fails over", []string{"fail-error-event-first"}},
	{16, "an error after events that say nothing fails over", []string{"edge-16-error-after-metadata"}},
	{17, "hold-back is bounded and begins anew with each attempt", []string{"edge-17-hold-back-bounded"}},
	{18, "a refused prefix does not hide the failure that it was for", []string{"rescue-prefill-refused"}},
	{19, "long lines pass, up to a stated cap", []string{"edge-19-long-line", "TestHugeFrame", "TestLimitAtEveryChunkSize"}},
	{20, "CR LF, comments, data in pieces, no blank line at the end", []string{"edge-20-framing", "pass-stream-crlf", "TestScannerAtEveryChunkSize"}},
	{21, "compressed answers are decoded", []string{"TestCompressedAnswers"}},
	{22, "one framing, and the length of what is sent", []string{"TestEdge22Lengths"}},
	{23, "characters are never cut", []string{"edge-23-characters", "broken-cut-in-event"}},
	{55, "Retry-After is honoured, and capped", []string{"fail-429-short", "fail-429-long", "fail-503-retry-after", "TestThrottleStorm", "TestRetryAfter"}},
	{56, "a persistent 429 is bounded, then fails over", []string{"TestPublicFaults", "fail-throttled-everywhere"}},
	{57, "one layer retries", []string{"TestPublicFaults", "TestFailures", "idempotency-key"}},
	{58, "a body that was sent is not replayed unseen", []string{"idempotency-key", "fail-reset", "TestEdge58Stale"}},
	{59, "4xx and context length open no breaker", []string{"TestEdge59ClientErrors"}},
	{60, "429 sheds load and is no fault", []string{"TestEdge60Throttles"}},
	{61, "a cooldown is extended by a repeated failure and ends on time", []string{"TestEdge61Cooldown", "TestCooldown"}},
	{62, "half-open probes are bounded, and traffic returns", []string{"TestPublicOutage", "TestPublicProbes", "TestHungProbe"}},
	{63, "a context that is too long goes to a larger window only", []string{"fail-context", "fail-context-largest", "TestPublicFaults"}},
	{64, "a content filter's refusal keeps its reason and is not shopped around", []string{"fail-filtered", "TestPublicFilter"}},
	{65, "the same fallback for streams and not, on configured failures only", []string{"TestFailures", "fail-on", "fail-error-event-on"}},
	{66, "a full pool queues within bounds", []string{"TestOverload", "TestQueueEnds", "TestQueueMovesOn"}},
}

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// TestEdges finds what is said to hold each edge case.
func TestEdges(t *testing.T) {
	tests := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		src, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllSubmatch(src, -1) {
			tests[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range edges {
		t.Run(fmt.Sprintf("%02d %s", e.n, e.what), func(t *testing.T) {
			for _, name := range e.held {
				if strings.HasPrefix(name, "Test") {
					if !tests[name] {
						t.Errorf("there is no %s", name)
					}
				} else if _, err := os.Stat("testdata/" + name + ".txtar"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	page, err := os.ReadFile(failuresPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile("`(Test\\w+)`").FindAllSubmatch(page, -1) {
		if !tests[string(name[1])] {
			t.Errorf("%s names %s, which is not there", failuresPage, name[1])
		}
	}
}

// A request whose model was changed leaves with the length that it has then, and never with two kinds of framing; nor does an answer.
func TestEdge22Lengths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, strings.Replace(publicPolicy, `name: "main"`, `name: "a-much-longer-name-than-the-route-has"`, 1))
		seen := make(chan string, 1)
		answer := `{"id":"c","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}`
		l.serve("one.test:9000", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			seen <- fmt.Sprint(r.ContentLength == int64(len(b)), r.TransferEncoding, err, strings.Contains(string(b), "a-much-longer-name"))
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, answer)
		}))
		for _, stream := range []bool{true, false} { // a JSON answer told as a stream must not keep its length
			a := l.plane.ask(chat(t, stream, ""))
			if got := <-seen; got != "true [] <nil> true" {
				t.Errorf("upstream: %s", got)
			}
			length := a.Header.Get("Content-Length")
			if a.Status != 200 || stream && length != "" || !stream && length != fmt.Sprint(len(answer)) {
				t.Errorf("stream %t: %s, length %q", stream, a.String(), length)
			}
		}
		l.close()
	})
}

// Requests on kept connections that the upstream has closed meanwhile are asked once each, as far as the upstream can see.
func TestEdge58Stale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublic(t, drivers[0], "", "")
		for range 5 {
			if a := p.plane.ask(chat(t, false, "")); a.Status != 200 {
				t.Errorf("%s", a.String())
			}
			for _, s := range p.servers {
				s.SetKeepAlivesEnabled(false) // closes what is idle
				s.SetKeepAlivesEnabled(true)
			}
			time.Sleep(time.Second) // virtual
		}
		if n := len(p.main.Log()); n != 5 {
			t.Errorf("the upstream was asked %d times for 5 requests", n)
		}
		p.balance()
		p.close()
	})
}

// closed holds every breaker to be closed.
func (p *public) closed() {
	p.t.Helper()
	for _, b := range p.gateway.Breakers() {
		if b.State != "closed" {
			p.t.Errorf("breaker %+v", b)
		}
	}
}

func TestEdge59ClientErrors(t *testing.T) {
	for _, fault := range []string{"status=400", "status=413", "status=422", "context-length", "content-filter"} {
		synctest.Test(t, func(t *testing.T) {
			p := newPublic(t, drivers[0], fault, "")
			for range 20 {
				p.plane.ask(chat(t, true, ""))
			}
			if n := len(p.main.Log()); n != 20 {
				t.Errorf("%s: the primary was asked %d times for 20 requests", fault, n)
			}
			p.closed()
			p.close()
		})
	}
}

func TestEdge60Throttles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublic(t, drivers[0], "status=429,retry-after=8", "")
		for range 20 {
			if a := p.plane.ask(chat(t, true, "")); a.Status != 200 {
				t.Errorf("%s", a.String())
			}
		}
		p.closed()
		if n := status(p.main.Log(), 429); n < 2 || n > 5 { // 20 answers of 1.2 s, and 8 s of rest after each 429
			t.Errorf("the primary was asked %d times", n)
		}
		p.close()
	})
}

func TestEdge61Cooldown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublic(t, drivers[0], "status=429,retry-after=10,once=3", "")
		for range 60 {
			p.plane.ask(chat(t, true, ""))
			time.Sleep(time.Second) // virtual
		}
		var before simulator.Call
		for i, c := range p.main.Log() {
			if rest := c.Started.Sub(before.Started); i > 0 && before.Status == 429 && (rest < 10*time.Second || rest > 13*time.Second) {
				t.Errorf("call %d came %v after a 429 with Retry-After: 10", i+1, rest)
			}
			before = c
		}
		if before.Status != 200 || status(p.main.Log(), 429) != 3 {
			t.Errorf("%d calls were throttled, the last one has status %d", status(p.main.Log(), 429), before.Status)
		}
		p.close()
	})
}
