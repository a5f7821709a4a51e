//go:build real

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/simulator"
	"github.com/sluice-gateway/sluice/providers"
)

// TestServeWithWhatIsThere runs `sluice serve` without a policy: with nothing to find it says what to do, with a real llama.cpp server on its usual
// port it serves that.
func TestServeWithWhatIsThere(t *testing.T) {
	for _, port := range []int{8080, 11434, 8000, 30000} {
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			t.Skipf("something listens on port %d of this machine: %v", port, err)
		}
		_ = l.Close() // it only proved that the port is free
	}
	var env []string // no keys of the machine that runs the test
	for _, p := range providers.Presets() {
		env = append(env, p.KeyEnv+"=")
	}
	p := harness.Start(t, env, binary(), "serve", "--log", "json")
	if code := p.Exit(t); code != 2 || !strings.Contains(p.Err.String(), "--config") || strings.Contains(p.Err.String(), "ready") {
		t.Errorf("with nothing there: exit %d, %s", code, p.Err)
	}

	harness.Pool(t, "..", 8080)
	g := harness.Ready(t, harness.Start(t, env, binary(), "serve", "--log", "json"))
	if !strings.Contains(g.Err.String(), "found llamacpp on 127.0.0.1:8080") {
		t.Errorf("it does not say what it found:\n%s", g.Err)
	}
	for _, model := range []string{"auto", "llamacpp/smollm2-135m"} {
		a := chat(t.Context(), newClient(t), g, chatBody(model, "hi", false, `,"max_tokens":4,"ignore_eos":true`))
		if err := a.complete(); err != nil {
			t.Errorf("model %s: %v", model, err)
		}
	}
}

// TestDemo runs `sluice demo --once`: six prompts, some of them to each side, and the private one to the pool although it is hard.
func TestDemo(t *testing.T) {
	t.Parallel()
	p := harness.Start(t, nil, binary(), "demo", "--once")
	if code := p.Exit(t); code != 0 {
		t.Fatalf("exit %d\n%s\n%s", code, p.Out, p.Err)
	}
	out := p.Out.String()
	if !strings.Contains(strings.ToUpper(out), "SIMULATED") {
		t.Error("it does not say that the answers are simulated")
	}
	if cheap, strong := strings.Count(out, "small"), strings.Count(out, "large"); cheap < 2 || strong < 2 {
		t.Errorf("small stands there %d times, large %d times:\n%s", cheap, strong, out)
	}
	t.Logf("\n%s", out)
}

// TestMock runs `sluice mock` as the provider of a real gateway.
func TestMock(t *testing.T) {
	t.Parallel()
	addr := harness.Mock(t, binary(), "--name", "the mock of a test", "--key", "sk-mock")
	g := serve(t, fmt.Sprintf(`version: 1
providers:
  p: {dialect: openai, base_url: "http://%s/v1", keys: [{env: MOCK_KEY}]}
models:
  m: {provider: p, name: simulated-large}
routes:
  auto: {rules: [{use: [m]}]}
`, addr), "MOCK_KEY=sk-mock")
	for _, stream := range []bool{false, true} {
		a := chat(t.Context(), newClient(t), g, chatBody("auto", "hi", stream, ""))
		if text, _, _ := a.content(); a.complete() != nil || !strings.Contains(text, "simulated") {
			t.Errorf("stream %t: %v", stream, a)
		}
	}
}

// TestDeadPoolIsReady: readyz comes although nothing behind the gateway answers, requests get a 503 that says when to ask again, and the pool is used as
// soon as it is there.
func TestDeadPoolIsReady(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	g := serve(t, strings.Replace(poolPolicy(addr), "engine: llamacpp", "engine: openai", 1))
	a := chat(t.Context(), newClient(t), g, chatBody("pool", "hi", false, ""))
	if a.status != http.StatusServiceUnavailable || a.code(t) != "no_target_available" || a.header.Get("Retry-After") == "" {
		t.Errorf("got %v, want a 503 no_target_available with Retry-After", a)
	}
	l, err = net.Listen("tcp", addr)
	if err != nil {
		t.Skipf("somebody else took the port: %v", err)
	}
	srv := &http.Server{Handler: simulator.New(simulator.Options{})}
	t.Cleanup(func() { _ = srv.Close() })
	go func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	healthy(t, g, 1)
	harness.Poll(t, "an answer from the pool that came back", func() error {
		return chat(t.Context(), newClient(t), g, chatBody("pool", "hi", false, "")).complete()
	})
}
