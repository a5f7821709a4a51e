package proxy_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/internal/simulator"
)

// mute is a connection whose way to the other side dies without a word.
type mute struct {
	net.Conn
	dead *atomic.Bool
}

func (m mute) Write(p []byte) (int, error) {
	if m.dead.Load() {
		return len(p), nil
	}
	return m.Conn.Write(p)
}

// TestDeadConnection: requests that are given up on a connection of HTTP/2 leave it open, so one that has died must be found out, or a healthy provider
// would be down for as long as the kernel goes on trying.
func TestDeadConnection(t *testing.T) {
	real := httptest.NewTLSServer(nil) // for its certificate, of example.com
	cert := real.TLS.Certificates[0]
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: real.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	real.Close()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, fmt.Sprintf(`version: 1
providers: {one: {dialect: openai, base_url: "https://example.com:443/v1", ca: %q}}
models: {main: {provider: one, name: main}}
routes: {auto: {rules: [{use: [main]}], timeouts: {headers: 3s, answer: 3s}}}
`, ca))
		var dead atomic.Bool
		var dials atomic.Int32
		l.plane.(*embedded).handler.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := l.net.Dial(ctx, network, addr)
			if dials.Add(1) == 1 && err == nil {
				c = mute{c, &dead}
			}
			return c, err
		}
		s := &http.Server{Handler: simulator.New(simulator.Options{}), ErrorLog: quiet, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
		l.servers = append(l.servers, s)
		listener := l.net.Listen("example.com:443")
		l.served.Go(func() { _ = s.ServeTLS(listener, "", "") })
		for range 2 { // both over one connection
			if a := l.plane.ask(chat(t, true, "")); a.Status != 200 || !read(t, &a).done || dials.Load() != 1 {
				t.Fatalf("%s over connection %d", a.String(), dials.Load())
			}
		}
		dead.Store(true)
		since, status := time.Now(), 0
		for status != 200 && time.Since(since) < time.Minute {
			time.Sleep(time.Second) // virtual
			a := l.plane.ask(chat(t, true, ""))
			status = a.Status
		}
		if took := time.Since(since); status != 200 || took > 30*time.Second {
			t.Errorf("after %v the provider answers %d", took, status)
		}
		l.close()
	})
}
