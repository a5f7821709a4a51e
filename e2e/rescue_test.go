//go:build real

package e2e

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sluice-gateway/sluice/internal/harness"
)

// breaker stands before a llama.cpp server and breaks a stream off after some events, when it was told to, and never else: it keeps no connections, as
// the server closes idle ones and a request might meet that.
type breaker struct {
	pool   string
	server http.Transport
	after  atomic.Int64 // events of the next stream; 0 = it is left whole
	bodies chan string
}

func (b *breaker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.Method == http.MethodPost {
		b.bodies <- string(body)
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+b.pool+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	out.Header = r.Header
	resp, err := b.server.RoundTrip(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
	w.WriteHeader(resp.StatusCode)
	left := int64(-1)
	if r.Method == http.MethodPost {
		if n := b.after.Swap(0); n > 0 {
			left = n
		}
	}
	in := bufio.NewReader(resp.Body)
	for {
		line, err := in.ReadString('\n')
		_, _ = io.WriteString(w, line)
		if line == "\n" {
			_ = http.NewResponseController(w).Flush()
			if left--; left == 0 {
				panic(http.ErrAbortHandler)
			}
		}
		if err != nil {
			return
		}
	}
}

// TestRescueByARealServer: llama.cpp goes on with a text that was cut, by a last assistant message. What it says is the answer that was not cut.
func TestRescueByARealServer(t *testing.T) {
	_, addr := harness.Pool(t, "..", 0)
	b := &breaker{pool: addr, server: http.Transport{DisableKeepAlives: true}, bodies: make(chan string, 16)}
	front := httptest.NewServer(b)
	t.Cleanup(front.Close)
	g := serve(t, poolPolicy(strings.TrimPrefix(front.URL, "http://")))
	c := newClient(t)
	for _, prompt := range []string{"Count from one to twenty in words.", "Name the days of the week.", "What is the capital of France?"} {
		body := chatBody("pool", prompt, true, `,"max_tokens":24,"temperature":0,"stream_options":{"include_usage":true}`)
		whole := chat(t.Context(), c, g, body)
		want, ok, mistake := whole.content()
		if !ok {
			t.Fatalf("%s: %s %v", prompt, mistake, whole)
		}
		<-b.bodies
		b.after.Store(8)
		cut := chat(t.Context(), c, g, body)
		got, ok, mistake := cut.content()
		if !ok || got != want {
			t.Errorf("%s:\n got %q (%t %s)\nwant %q", prompt, got, ok, mistake, want)
		}
		if !bytes.Contains(cut.body, []byte(": rescued: continued by small\n")) || bytes.Count(cut.body, []byte(`"usage":{`)) != 1 {
			t.Errorf("%s: no word of the rescue, or not one count: %s", prompt, cut.body)
		}
		<-b.bodies
		if second := <-b.bodies; !strings.Contains(second, `{"role":"assistant","content":"`) {
			t.Errorf("%s: the server was not given the text: %s", prompt, second)
		}
	}
}
