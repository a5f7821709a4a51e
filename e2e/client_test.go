//go:build real

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/harness"
)

// answer is what a client got. err is what broke the exchange at its end, nil when the HTTP body ended cleanly.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error
}

func (a *answer) id() string { return a.header.Get("X-Sluice-Request-Id") }

func (a *answer) String() string { return fmt.Sprintf("%d %v %s", a.status, a.err, a.body) }

// code is the code of an error answer in OpenAI's form, and fails the test for any other form.
func (a *answer) code(t *testing.T) string {
	t.Helper()
	var e struct {
		Error *struct {
			Message, Type string
			Code          *string
		}
	}
	if err := json.Unmarshal(a.body, &e); err != nil || e.Error == nil || e.Error.Message == "" || e.Error.Type == "" {
		t.Fatalf("no error in OpenAI's form: %v", a)
	}
	if e.Error.Code == nil {
		return ""
	}
	return *e.Error.Code
}

// chatBody is a chat request. more is JSON that follows the messages, with its comma.
func chatBody(model, prompt string, stream bool, more string) string {
	p, err := json.Marshal(prompt)
	if err != nil {
		panic(err) // a string is always JSON
	}
	return fmt.Sprintf(`{"model":%q,"stream":%t,"messages":[{"role":"user","content":%s}]%s}`, model, stream, p, more)
}

// newClient makes connections of its own, so that a test's exchanges do not meet another's.
func newClient(t *testing.T) *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// chat posts a chat request and reads the whole answer.
func chat(ctx context.Context, c *http.Client, g *harness.Gateway, body string, header ...string) *answer {
	ctx, cancel := context.WithTimeout(ctx, harness.Patience)
	defer cancel()
	return patient(ctx, c, g, body, header...)
}

// patient is chat for an answer that the test holds back.
func patient(ctx context.Context, c *http.Client, g *harness.Gateway, body string, header ...string) *answer {
	resp, err := post(ctx, c, g, body, header...)
	if err != nil {
		return &answer{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return &answer{resp.StatusCode, resp.Header, b, err}
}

// post sends a chat request and leaves the answer's body to the caller. header holds names and values in turn.
func post(ctx context.Context, c *http.Client, g *harness.Gateway, body string, header ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.URL+"/chat/completions", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return c.Do(req)
}

// content joins the text of a JSON answer or of a stream's events. whole reports whether it is all of it: a finish reason, and on a stream [DONE] as
// the last event; mistake is the first error event.
func (a *answer) content() (text string, whole bool, mistake string) {
	if !strings.HasPrefix(a.header.Get("Content-Type"), "text/event-stream") {
		text, finished, mistake := piece(a.body)
		return text, finished, mistake
	}
	var b strings.Builder
	finished, done := false, false
	for frame := range bytes.SplitSeq(a.body, []byte("\n\n")) {
		data, ok := bytes.CutPrefix(frame, []byte("data: "))
		if !ok {
			continue
		}
		if done = string(data) == "[DONE]"; done {
			continue
		}
		s, f, m := piece(data)
		b.WriteString(s)
		finished = finished || f
		if mistake == "" {
			mistake = m
		}
	}
	return b.String(), finished && done, mistake
}

// piece reads a JSON answer or one event.
func piece(data []byte) (text string, finished bool, mistake string) {
	var v struct {
		Choices []struct {
			Message, Delta struct{ Content string }
			FinishReason   string `json:"finish_reason"`
		}
		Error *struct{ Code string }
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return "", false, "not JSON: " + string(data)
	}
	if v.Error != nil {
		return "", false, "error " + v.Error.Code
	}
	for _, c := range v.Choices {
		text += c.Message.Content + c.Delta.Content
		finished = finished || c.FinishReason != ""
	}
	return text, finished, ""
}

// complete is nil when the answer is a whole one with text in it.
func (a *answer) complete() error {
	text, whole, mistake := "", false, ""
	if a.err == nil && a.status == http.StatusOK {
		text, whole, mistake = a.content()
	}
	if !whole || mistake != "" || text == "" {
		return fmt.Errorf("no whole answer: %v", a)
	}
	return nil
}

// wire is a client that writes and reads bytes: nothing normalises them.
type wire struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dial(t *testing.T, g *harness.Gateway) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(g.URL, "http://"), "/v1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(harness.Patience)); err != nil {
		t.Fatal(err)
	}
	return &wire{t, conn, bufio.NewReader(conn)}
}

// head sends the head of a chat request with more header lines, each ending in CRLF.
func (w *wire) head(more string) {
	w.t.Helper()
	if _, err := io.WriteString(w.conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: sluice\r\nContent-Type: application/json\r\n"+more+"\r\n"); err != nil {
		w.t.Fatal(err)
	}
}

// send writes a request with its length.
func (w *wire) send(body string) {
	w.t.Helper()
	w.head(fmt.Sprintf("Content-Length: %d\r\n", len(body)))
	w.write(body)
}

func (w *wire) write(body string) {
	w.t.Helper()
	if _, err := io.WriteString(w.conn, body); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) answer() *answer {
	w.t.Helper()
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		return &answer{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return &answer{resp.StatusCode, resp.Header, b, err}
}
