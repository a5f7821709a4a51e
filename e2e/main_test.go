//go:build real

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/simulator"
)

const binaryEnv = "SLUICE_E2E_BINARY" // names a built binary; else it is built once

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv(binaryEnv) != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "sluice-e2e-*")
	if err == nil {
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "sluice")
		if err = harness.Build("..", "./cmd/sluice", path); err == nil {
			err = os.Setenv(binaryEnv, path)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func binary() string { return os.Getenv(binaryEnv) }

// provider starts a simulated provider in the test's process: its log shows, to the byte, what left the gateway.
func provider(t *testing.T, o simulator.Options) (sim *simulator.Server, addr string) {
	t.Helper()
	sim = simulator.New(o)
	s := httptest.NewServer(sim)
	t.Cleanup(s.Close)
	return sim, strings.TrimPrefix(s.URL, "http://")
}

// gate is where the streams of a provider wait, behind their first words, until it is opened.
type gate struct {
	reached atomic.Int64 // streams
	open    chan struct{}
}

// gated starts a simulated provider whose streams wait at a gate.
func gated(t *testing.T, o simulator.Options) (sim *simulator.Server, addr string, g *gate) {
	t.Helper()
	sim, g = simulator.New(o), &gate{open: make(chan struct{})}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sim.ServeHTTP(&gatedWriter{ResponseWriter: w, gone: r.Context().Done(), gate: g}, r)
	}))
	t.Cleanup(s.Close)
	return sim, strings.TrimPrefix(s.URL, "http://"), g
}

// await waits until n streams are there.
func (g *gate) await(t *testing.T, n int64) {
	t.Helper()
	harness.Poll(t, fmt.Sprintf("%d streams", n), func() error {
		if got := g.reached.Load(); got < n {
			return fmt.Errorf("%d", got)
		}
		return nil
	})
}

type gatedWriter struct {
	http.ResponseWriter
	gone   <-chan struct{}
	gate   *gate
	writes int
}

func (w *gatedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *gatedWriter) Write(b []byte) (int, error) {
	if w.writes++; w.writes == 3 { // behind the role and the first content event
		w.gate.reached.Add(1)
		select {
		case <-w.gate.open:
		case <-w.gone:
		}
	}
	return w.ResponseWriter.Write(b)
}

// serve serves a policy that leaves its server section to this: free ports, all headers, an access line each.
func serve(t *testing.T, policy string, env ...string) *harness.Gateway {
	t.Helper()
	return harness.Serve(t, binary(), policy+server, env...)
}

const server = `
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", headers: full}
telemetry: {access_log: on}
`

// poolPolicy is a pool of llama.cpp endpoints and nothing else, under the route pool.
func poolPolicy(endpoints ...string) string {
	return fmt.Sprintf(`version: 1
providers:
  pool: {engine: llamacpp, endpoints: ["http://%s"]}
models:
  small: {provider: pool, name: smollm2-135m}
routes:
  pool: {rules: [{use: [small]}]}
`, strings.Join(endpoints, `", "http://`))
}
