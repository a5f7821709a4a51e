package proxy_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sluice-gateway/sluice/internal/testkit"
)

const escalatePolicy = `
version: 1
providers:
  one: {dialect: openai, base_url: http://one.test:9000/v1}
  two: {dialect: openai, base_url: http://two.test:9000/v1}
models:
  a: {provider: one, name: a-up}
  b: {provider: two, name: b-up}
tiers: [{name: cheap, models: [a]}, {name: strong, models: [b]}]
routes:
  auto: {rules: [{use: cheap}], escalate: {on: [empty, invalid_json, loop]}}
`

// TestNotDoubted: an answer that is too long to be looked at, or is no text, is taken as it is, not for an empty one.
func TestNotDoubted(t *testing.T) {
	for name, message := range map[string]string{
		"long":  fmt.Sprintf(`{"role":"assistant","content":"%s"}`, strings.Repeat("a word and a word, ", 16<<10)),
		"sound": `{"role":"assistant","content":null,"audio":{"id":"a","data":"UklGRg==","transcript":""}}`,
		"tool":  fmt.Sprintf(`{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"v\":\"%s\"}"}}]}`, strings.Repeat("x", 300<<10)),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answer := `{"id":"c","object":"chat.completion","created":1,"model":"a-up","choices":[{"index":0,"message":` + message + `,"finish_reason":"stop"}]}`
				w := newWorld(t, []byte(escalatePolicy), 0)
				ups := testkit.NewUpstreams(w.net)
				ups.Serve(func(*testkit.Seen) string {
					return "HTTP/1.1 200 OK\nContent-Type: application/json\n\n" + answer + "\n"
				}, "one.test:9000", "two.test:9000")
				plane := openEmbedded(w)
				a := plane.ask(chat(t, false, ""))
				r := w.settled(1)[0]
				if a.Status != 200 || !strings.Contains(string(a.Body), message) || len(r.Attempts) != 1 || r.Escalated != "" {
					t.Errorf("status %d with %d bytes after %d attempts, escalated %q", a.Status, len(a.Body), len(r.Attempts), r.Escalated)
				}
				plane.close()
				w.net.Close()
				ups.Wait()
			})
		})
	}
}
