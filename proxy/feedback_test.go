package proxy_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/sluice-gateway/sluice/feedback"
	"github.com/sluice-gateway/sluice/internal/testkit"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/router"
)

// TestFeedback: what becomes of answers is labelled once each, in every plane, and judgements are the asker's and small.
func TestFeedback(t *testing.T) {
	const policy = escalatePolicy + "feedback: on\n"
	for _, d := range drivers {
		t.Run(d.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, []byte(policy), 0)
				var mu sync.Mutex
				var signs []string
				w.gateway = proxy.NewGateway(compile(t, []byte(strings.Replace(policy, "empty,", "empty, truncated,", 1))), proxy.Options{Router: router.New(router.Options{}), Emit: w.emit, Outcome: func(r feedback.Record) {
					mu.Lock()
					defer mu.Unlock()
					signs = append(signs, r.Signal+"/"+r.Model)
				}})
				ups := testkit.NewUpstreams(w.net)
				ups.Serve(func(s *testkit.Seen) string {
					finish := "stop"
					switch {
					case s.Host == "two.test:9000":
						return "HTTP/1.1 503 Service Unavailable\n\n"
					case strings.Contains(string(s.Body), "cut"):
						finish = "length"
					}
					return `HTTP/1.1 200 OK
Content-Type: application/json

{"id":"c","object":"chat.completion","created":1,"model":"a-up","choices":[{"index":0,"message":{"role":"assistant","content":"Well."},"finish_reason":"` + finish + `"}]}
`
				}, "one.test:9000", "two.test:9000")
				plane := d.open(w)
				n := 0
				ask := func(path, body string) testkit.Answer {
					r, err := testkit.ParseRequest(fmt.Appendf(nil, "POST %s\nContent-Type: application/json\n\n%s\n", path, body))
					if err != nil {
						t.Fatal(err)
					}
					a := plane.ask(r)
					n++
					w.settled(n)
					return a
				}
				talk := func(text, more string) string {
					return `{"model":"auto","messages":[{"role":"user","content":"` + text + `"}` + more + `]}`
				}
				said := func(what, want string) {
					t.Helper()
					mu.Lock()
					defer mu.Unlock()
					if got := strings.Join(signs, " "); got != want {
						t.Errorf("%s: %q, want %q", what, got, want)
					}
					signs = nil
				}
				call := `,{"role":"assistant","content":null,"tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"t","content":"42"}`
				first := ask("/v1/chat/completions", talk("How high are the tides?", ""))
				ask("/v1/chat/completions", talk("How high are the tides?", call))
				ask("/v1/chat/completions", talk("How high are the tides?", call+call))
				said("a question and two results of its tools", "")
				ask("/v1/chat/completions", talk("How high are the tides?", ""))
				said("the question again", "reask/a")
				ask("/v1/chat/completions", talk("Where does it cut off?", ""))
				said("an answer thrown away that came back", "invalid_output/a")
				id := first.Header.Get("X-Sluice-Request-Id")
				for body, status := range map[string]int{
					`{"request_id":"` + id + `","score":1}`:                      200,
					`{"request_id":"` + strings.Repeat("0", 32) + `","score":1}`: 404,
					`{"request_id":"` + id + `","score":1e999}`:                  400,
					`{"request_id":"` + id + `","score":-0.1}`:                   400,
					`{"request_id":"` + id + `"}`:                                400,
					`{"request_id":"` + id + `","score":null}`:                   400,
					`{"request_id":"` + id + `","score":1,"score":0}`:            400,
					`{"request_id":"` + id + `","expected_tier":""}`:             400,
					`[]`: 400,
					`{"request_id":"` + id + `","score":1` + strings.Repeat(" ", 20_000) + `}`: 413,
				} {
					if a := ask("/v1/feedback", body); a.Status != status {
						t.Errorf("%.60s: status %d, want %d", body, a.Status, status)
					}
				}
				said("judgements", "feedback/a")
				plane.close()
				w.net.Close()
				ups.Wait()
			})
		})
	}
}
