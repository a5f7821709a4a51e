package proxy_test

import (
	"context"
	"io"
	"log"
	"net/http"
	"time"

	"github.com/sluice-gateway/sluice/internal/testkit"
	"github.com/sluice-gateway/sluice/proxy/httpproxy"
)

// embedded is the real embedded plane behind a real HTTP server, over connections in memory.
type embedded struct {
	w       *world
	handler *httpproxy.Handler
	server  *http.Server
	served  chan error
}

const gatewayName = "sluice.test:80"

func openEmbedded(w *world) asker { return serveEmbedded(w, nil) }

func serveEmbedded(w *world, protocols *http.Protocols) *embedded {
	e := &embedded{w: w, handler: httpproxy.New(w.gateway, func(v any, stack []byte) { w.t.Errorf("panic: %v\n%s", v, stack) }), served: make(chan error, 1)}
	e.handler.Dial = w.net.Dial
	e.server = &http.Server{Handler: e.handler, ErrorLog: log.New(io.Discard, "", 0), Protocols: protocols}
	l := w.net.Listen(gatewayName)
	in := httpproxy.Listen(e.server, l)
	go func() { e.served <- e.server.Serve(in) }()
	return e
}

func (e *embedded) ask(r *testkit.Request) testkit.Answer {
	c, err := e.w.net.Dial(context.Background(), "tcp", gatewayName)
	if err != nil {
		e.w.t.Fatal(err)
	}
	return testkit.Ask(c.(*testkit.Conn), r)
}

func (e *embedded) close() {
	_ = e.server.Close()
	<-e.served
	e.handler.Close()
	time.Sleep(time.Second) // virtual: the server lingers behind a body that it did not read
}
