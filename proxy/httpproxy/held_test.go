package httpproxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/proxy/httpproxy"
	"github.com/sluice-gateway/sluice/router"
)

const heldPolicy = `version: 1
providers:
  ext: {dialect: openai, base_url: "http://up.test/v1"}
models:
  small: {provider: ext, name: small}
  big: {provider: ext, name: big}
tiers:
  - {name: cheap, models: [small]}
  - {name: strong, models: [big]}
routes: {auto: {rules: [{use: cheap}], escalate: {on: [refusal], hold: {tokens: 100, time: 2s}}}}
`

// lazy is an upstream's connection whose reads take a while to end when they are told to.
type lazy struct {
	net.Conn
	reading *atomic.Int32
}

func (l lazy) Read(p []byte) (int, error) {
	l.reading.Add(1)
	defer l.reading.Add(-1)
	n, err := l.Conn.Read(p)
	if err != nil {
		time.Sleep(time.Second) // virtual
	}
	return n, err
}

// broken is a client to whom nothing can be said.
type broken struct{ *httptest.ResponseRecorder }

func (broken) WriteHeader(int) { panic("broken") }

// A stream's beginning is let go while the next bytes are waited for, and that panics: whoever waits is gone before the request is, and its buffer another's.
func TestHeldPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reading atomic.Int32
		ours, theirs := net.Pipe()
		defer theirs.Close()
		go func() {
			_, _ = http.ReadRequest(bufio.NewReader(theirs))
			_, _ = fmt.Fprint(theirs, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"+
				`data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"small","choices":[{"index":0,"delta":{"content":"The"},"finish_reason":null}]}`+"\n\n")
		}()
		panicked := 0
		g := proxy.NewGateway(compile(t, heldPolicy), proxy.Options{Router: router.New(router.Options{})})
		handler := httpproxy.New(g, func(any, []byte) { panicked++ })
		handler.Dial = func(context.Context, string, string) (net.Conn, error) { return lazy{ours, &reading}, nil }
		defer handler.Close()
		defer func() {
			if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) || panicked != 1 || reading.Load() != 0 {
				t.Errorf("ended with %v, %d panics, %d still reading", err, panicked, reading.Load())
			}
		}()
		r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(`{"model":"auto","stream":true,"messages":[{"role":"user","content":"hi"}]}`))
		r.Header.Set("Content-Type", "application/json")
		handler.ServeHTTP(broken{httptest.NewRecorder()}, r)
	})
}
