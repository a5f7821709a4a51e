//go:build real

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/simulator"
)

const reloadPolicy = `version: 1
providers:
  p: {dialect: openai, base_url: "http://%s/v1", keys: [{file: %q}]}
models:
  m: {provider: p, name: %s}
routes:
  auto: {rules: [{name: only, use: [%s]}]}
` + server

// TestReloadUnderLoad edits the policy under load: a bad edit changes nothing but what tells of it, a good one takes effect, and no request is lost.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	sim, addr := provider(t, simulator.Options{LogCalls: 100})
	secret := filepath.Join(t.TempDir(), "key")
	write(t, secret, "sk-first\n")
	policy := func(upstream, use string) string { return fmt.Sprintf(reloadPolicy, addr, secret, upstream, use) }
	g := harness.Serve(t, binary(), policy("old", "m"))
	c := newClient(t)
	l := startLoad(t, 4, func(k int64) error {
		return chat(t.Context(), c, g, chatBody("auto", "hi", k%2 == 0, "")).complete()
	})
	l.more(t, 50)
	was := g.Status(t).Policy
	if was.LastError != nil || g.Metric(t, "sluice_policy_last_reload_success") != 1 {
		t.Errorf("before any edit: %+v", was)
	}

	g.Replace(t, policy("new", "missing"))
	harness.Poll(t, "the bad edit noticed", func() error {
		if n := g.Metric(t, "sluice_policy_reloads_total", `result="error"`); n != 1 {
			return fmt.Errorf("%v reloads with an error", n)
		}
		return nil
	})
	l.more(t, 50)
	now := g.Status(t).Policy
	if now.Hash != was.Hash || now.Generation != was.Generation || g.Metric(t, "sluice_policy_last_reload_success") != 0 {
		t.Errorf("a bad edit changed the policy: %+v, was %+v", now, was)
	}
	line, column := 7, strings.Index("  auto: {rules: [{name: only, use: [missing]}]}", "missing")+1
	if e := now.LastError; e == nil || e.Line != line || e.Column != column || !strings.Contains(e.Message, "missing") || e.File != g.File {
		t.Errorf("last_error %+v, want line %d, column %d", e, line, column)
	}
	if n := len(g.Err.Records("the policy is bad; the one in force stays")); n != 1 {
		t.Errorf("%d log lines of it, want 1", n)
	}
	checkModel(t, c, g, sim, "old")

	g.Replace(t, policy("new", "m"))
	harness.Poll(t, "the good edit in force", func() error {
		if s := g.Status(t).Policy; s.Generation == was.Generation || s.LastError != nil {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	checkModel(t, c, g, sim, "new")
	if n := g.Metric(t, "sluice_policy_last_reload_success"); n != 1 {
		t.Errorf("last_reload_success %v after a good edit", n)
	}
	l.more(t, 50)

	oks := g.Metric(t, "sluice_policy_reloads_total", `result="ok"`)
	write(t, secret, "sk-second\n")
	g.Signal(t, syscall.SIGHUP)
	harness.Poll(t, "a reload by SIGHUP", func() error {
		if n := g.Metric(t, "sluice_policy_reloads_total", `result="ok"`); n <= oks {
			return fmt.Errorf("%v good reloads", n)
		}
		return nil
	})
	harness.Poll(t, "the new secret", func() error {
		calls := sim.Log()
		if got := calls[len(calls)-1].Header.Get("Authorization"); got != "Bearer sk-second" {
			return errors.New(got)
		}
		return nil
	})
	l.check(t)
	for _, r := range g.Err.Records("exchange") {
		if r.Text("outcome") != "ok" || r.Number("attempts") != 1 {
			t.Errorf("record %v", r)
		}
	}
}

// checkModel asks once and looks which model's name went upstream.
func checkModel(t *testing.T, c *http.Client, g *harness.Gateway, sim *simulator.Server, want string) {
	t.Helper()
	a := chat(t.Context(), c, g, chatBody("auto", "which", false, ""))
	if text, _, _ := a.content(); !strings.Contains(text, "[simulated answer of "+want+"]") {
		t.Errorf("%v, want an answer of %s", a, want)
	}
	if len(sim.Log()) == 0 {
		t.Error("nothing reached the provider")
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSecretFileRotates changes a provider's key in its file: it is in force without any signal, and an empty file keeps the old one.
func TestSecretFileRotates(t *testing.T) {
	t.Parallel()
	_, addr := provider(t, simulator.Options{Key: "sk-new"})
	secret := filepath.Join(t.TempDir(), "key")
	write(t, secret, "sk-old")
	g := harness.Serve(t, binary(), fmt.Sprintf(reloadPolicy, addr, secret, "m", "m"))
	c := newClient(t)
	if a := chat(t.Context(), c, g, chatBody("auto", "hi", false, "")); a.status != http.StatusBadGateway || a.code(t) != "upstream_auth_failed" {
		t.Fatalf("with the wrong key: %v", a)
	}
	write(t, secret, "")
	g.Signal(t, syscall.SIGHUP)
	harness.Poll(t, "an error about the empty file", func() error {
		if len(g.Err.Records("secrets not read again; the old ones stay")) == 0 {
			return errors.New("none")
		}
		return nil
	})
	write(t, secret, "sk-new\n")
	harness.Poll(t, "answers with the new key", func() error {
		return chat(t.Context(), c, g, chatBody("auto", "hi", false, "")).complete()
	})
	for _, canary := range []string{"sk-old", "sk-new"} {
		if strings.Contains(g.Err.String()+g.Out.String(), canary) {
			t.Errorf("the log holds %s", canary)
		}
	}
}

// TestGracefulStop: under SIGTERM open streams finish, the gateway is not ready meanwhile, new connections are refused, and it ends with 0.
func TestGracefulStop(t *testing.T) {
	t.Parallel()
	_, addr, gate := gated(t, simulator.Options{})
	g := serve(t, stopPolicy(addr, "events=40"))
	c := newClient(t)
	var answers []chan *answer
	for range 4 {
		ch := make(chan *answer, 1)
		answers = append(answers, ch)
		go func() { ch <- chat(t.Context(), c, g, chatBody("auto", "hi", true, "")) }()
	}
	gate.await(t, 4)
	g.Signal(t, syscall.SIGTERM)
	harness.Poll(t, "not ready", func() error {
		resp, err := http.Get(g.Admin + "/readyz")
		if err != nil {
			t.Fatalf("the admin listener is gone while streams are open: %v", err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable {
			return errors.New(resp.Status)
		}
		return nil
	})
	close(gate.open)
	for _, ch := range answers {
		if err := (<-ch).complete(); err != nil {
			t.Error(err)
		}
	}
	if code := g.Exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	lines := g.Err.Records("exchange")
	for _, r := range lines {
		if r.Text("outcome") != "ok" {
			t.Errorf("record %v", r)
		}
	}
	if len(lines) != len(answers) {
		t.Errorf("%d access lines of %d exchanges: the last ones must not be lost", len(lines), len(answers))
	}
}

// TestHurriedStop: the second SIGTERM does not wait for what is open, but what was cut is in the log.
func TestHurriedStop(t *testing.T) {
	t.Parallel()
	sim, addr := provider(t, simulator.Options{})
	g := serve(t, stopPolicy(addr, "events=100000,delay=20ms"))
	ch := make(chan *answer, 1)
	go func() { ch <- chat(t.Context(), newClient(t), g, chatBody("auto", "hi", true, "")) }()
	streaming(t, sim, 1)
	g.Signal(t, syscall.SIGTERM)
	g.Line(t, g.Err, "a word about stopping", func(line string) bool { return strings.Contains(line, `"msg":"stopping"`) })
	g.Signal(t, syscall.SIGTERM)
	if code := g.Exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if a := <-ch; a.complete() == nil {
		t.Error("an endless stream is complete")
	}
	if n := len(g.Err.Records("exchange")); n != 1 {
		t.Errorf("%d access lines of the stream that was cut, want 1", n)
	}
}

func stopPolicy(addr, pace string) string {
	return fmt.Sprintf(`version: 1
providers:
  p: {dialect: openai, base_url: "http://%s/v1"}
models:
  m: {provider: p, name: "m+fault=%s"}
routes:
  auto: {rules: [{use: [m]}]}
`, addr, pace)
}

// streaming waits until n streams have said something.
func streaming(t *testing.T, sim *simulator.Server, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	err := sim.Await(ctx, func(calls []simulator.Call) bool {
		begun := 0
		for _, c := range calls {
			if c.Events > 0 {
				begun++
			}
		}
		return begun == n
	})
	if err != nil {
		t.Fatalf("%d streams: %v", n, err)
	}
}
