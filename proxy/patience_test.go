package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/internal/simulator"
	"github.com/sluice-gateway/sluice/internal/testkit"
)

// A client that stops reading its answer, or sending its body, is hung up on: it holds no slot and no connection for ever.
func TestPatienceEnds(t *testing.T) {
	const event = `data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}` + "\n\n"
	const chat = `{"model":"auto","stream":true,"messages":[{"role":"user","content":"hi"}]}`
	const form = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n"
	head := func(kind string, n int) string {
		return fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", kind, n)
	}
	for _, c := range []struct {
		name, request string
		drip          time.Duration // one more byte each; 0 = nothing more
		within        time.Duration
		outcome       string
	}{
		{"does not read", head("application/json", len(chat)) + chat, 0, 2 * time.Minute, "client_gone"},
		{"does not send", head("application/json", 5000) + "{", 0, time.Minute, "client_gone"},
		{"drips", head("application/json", 5000) + "{", 10 * time.Second, 11 * time.Minute, "client_gone"},
		{"does not send the form's model", strings.Replace(head("multipart/form-data; boundary=b", 5000), "chat/completions", "audio/transcriptions", 1) + form, 0, time.Minute, "client_error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, []byte(planePolicy), 0)
				ups := testkit.NewUpstreams(w.net)
				ups.Serve(func(*testkit.Seen) string {
					return "HTTP/1.1 200 OK\nContent-Type: text/event-stream\n\n" + strings.Repeat(event, 20_000) + "!hang\n"
				}, "one.test:9000")
				plane := serveEmbedded(w, nil)
				client, err := w.net.Dial(context.Background(), "tcp", gatewayName)
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if _, err := io.WriteString(client, c.request); err != nil {
					t.Fatal(err)
				}
				for c.drip > 0 && time.Since(began) < c.within {
					time.Sleep(c.drip) // virtual
					if _, err := io.WriteString(client, " "); err != nil {
						break
					}
				}
				if r := w.settled(1)[0]; r.Outcome != c.outcome || r.End.Sub(r.Start) > c.within {
					t.Errorf("outcome %s after %v", r.Outcome, r.End.Sub(r.Start))
				}
				client.Close()
				w.net.Close()
				plane.close()
				ups.Wait()
			})
		})
	}
}

// A recorded answer has no upstream whose limits would end it: a client that does not read it is hung up on all the same, and one that does gets all of it.
func TestPatienceWithReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, strings.Replace(publicPolicy, "timeouts:", "cache: {exact: 1h}, timeouts:", 1))
		l.provider("one.test:9000", simulator.Options{Fault: func(*http.Request, string) string { return "events=2000" }})
		ask, err := testkit.ParseRequest([]byte("POST /v1/chat/completions\nContent-Type: application/json\n\n{\"model\":\"auto\",\"temperature\":0,\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}\n"))
		if err != nil {
			t.Fatal(err)
		}
		first, again := l.plane.ask(ask), l.plane.ask(ask)
		if again.Header.Get("X-Sluice-Cache") != "hit" || len(again.Body) < 256<<10 || again.End != "" || read(t, &again).text != read(t, &first).text {
			t.Fatalf("%d bytes, cache %s", len(again.Body), again.Header.Get("X-Sluice-Cache"))
		}
		if n := again.Header.Get("Content-Length"); n != strconv.Itoa(len(again.Body)) {
			t.Errorf("it is said to have %q bytes, and has %d", n, len(again.Body))
		}
		client, err := l.net.Dial(context.Background(), "tcp", gatewayName)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Write(append(ask.Head, ask.Body...)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * unread) // virtual
		if n := l.gateway.Inflight(); n != 0 {
			t.Errorf("%d exchanges wait for a client that does not read", n)
		}
		client.Close()
		l.close()
	})
}

// unread is how long a plane waits for a client that does not read.
const unread = 15 * time.Second

// A client that pauses for longer than a stream may be idle and then reads on gets its answer from the upstream that it began with: who reads slowly is no
// stall, and nobody else is paid for it.
func TestPauseIsNoStall(t *testing.T) {
	const event = `data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":%s}]}` + "\n\n"
	answer := "HTTP/1.1 200 OK\nContent-Type: text/event-stream\n\n" + strings.Repeat(fmt.Sprintf(event, "null"), 5000) + "!delay 20s\n" + fmt.Sprintf(event, `"stop"`) + "data: [DONE]\n\n"
	for pause, want := range map[time.Duration]string{20 * time.Second: "ok", 40 * time.Second: "ok", 50 * time.Second: "client_gone"} {
		t.Run(pause.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, []byte(planePolicy), 0)
				ups := testkit.NewUpstreams(w.net)
				ups.Serve(func(*testkit.Seen) string { return answer }, "one.test:9000", "two.test:9000")
				plane := serveEmbedded(w, nil)
				client, err := w.net.Dial(context.Background(), "tcp", gatewayName)
				if err != nil {
					t.Fatal(err)
				}
				r := chat(t, true, "")
				if _, err := client.Write(append(r.Head, r.Body...)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(pause) // virtual
				a := testkit.Receive(client, "POST")
				rec := w.settled(1)[0]
				if rec.Outcome != want || len(rec.Attempts) != 1 || strings.Contains(string(a.Body), "[DONE]") != (want == "ok") {
					t.Errorf("%d bytes, end %q\n%s", len(a.Body), a.End, testkit.Record(rec))
				}
				client.Close()
				w.net.Close()
				plane.close()
				ups.Wait()
			})
		})
	}
}
