package proxy_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/internal/testkit"
)

// Over HTTP/2 an answer, a stream, a refusal before the body, a broken answer and a client's leaving are what they are over HTTP/1.1.
func TestHTTP2(t *testing.T) {
	const first = `data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}` + "\n\n"
	const last = `data: {"id":"c","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n"
	const sse = "HTTP/1.1 200 OK\nContent-Type: text/event-stream\n\n"
	const chat = `{"model":"auto","stream":true,"messages":[{"role":"user","content":"hi"}]}`
	for _, c := range []struct {
		name, path, body, answer string
		leave                    time.Duration
		status                   int
		want                     string // end of the body
		broken                   bool   // the body ends in an error
		outcome                  string
	}{
		{"stream", "/v1/chat/completions", chat, sse + first + "!delay 5s\n" + last, 0, 200, "data: [DONE]\n\n", false, "ok"},
		{"interrupted", "/v1/chat/completions", chat, sse + first + "!delay 5s\n!cut\n", 0, 200, "\"code\":\"stream_interrupted\"}}\n\n", false, "interrupted"},
		{"opaque cut", "/v1/audio/speech", chat, "HTTP/1.1 200 OK\nContent-Type: audio/mpeg\n\nabc\n!cut\n", 0, 200, "abc\n", true, "interrupted"},
		{"refused", "/nowhere", chat, "", 0, 404, "}}", false, "client_error"},
		{"client gone", "/v1/chat/completions", chat, sse + first + "!hang\n", 3 * time.Second, 200, first, true, "client_gone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, []byte(planePolicy), 0)
				ups := testkit.NewUpstreams(w.net)
				ups.Serve(func(*testkit.Seen) string { return c.answer }, "one.test:9000")
				var only http.Protocols
				only.SetUnencryptedHTTP2(true)
				plane := serveEmbedded(w, &only)
				transport := &http.Transport{Protocols: &only, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return w.net.Dial(ctx, network, gatewayName)
				}}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, "POST", "http://sluice.test"+c.path, strings.NewReader(c.body))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				if c.leave > 0 {
					time.AfterFunc(c.leave, cancel)
				}
				resp, err := transport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.ProtoMajor != 2 || resp.StatusCode != c.status || !strings.HasSuffix(string(body), c.want) || (err != nil) != c.broken {
					t.Errorf("%s %d, %q, %v", resp.Proto, resp.StatusCode, body, err)
				}
				if r := w.settled(1)[0]; r.Outcome != c.outcome {
					t.Errorf("outcome %s, want %s", r.Outcome, c.outcome)
				}
				transport.CloseIdleConnections()
				w.net.Close()
				plane.close()
				ups.Wait()
			})
		})
	}
}
