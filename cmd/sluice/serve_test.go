package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/simulator"
	"github.com/sluice-gateway/sluice/tenants"
)

// Secrets that must appear nowhere: not in logs, status, metrics or errors.
const (
	canaryProviderKey = "sk-canary-of-the-provider-0123456789"
	canaryPepper      = "canary-of-the-pepper-0123456789"
	canaryPrompt      = "canary-in-the-prompt"
	patience          = 20 * time.Second
)

// syncBuffer is a log that a test reads while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// running is `sluice serve` in this process.
type running struct {
	t       *testing.T
	file    string
	addr    addresses
	log     *syncBuffer
	signals chan os.Signal
	code    chan int
}

// serve starts `sluice serve` with the policy and returns when it is ready.
func serve(t *testing.T, policy string, args ...string) *running {
	t.Helper()
	r := &running{t: t, file: filepath.Join(t.TempDir(), "policy.yaml"), log: &syncBuffer{}, signals: make(chan os.Signal, 2), code: make(chan int, 1)}
	r.write(policy)
	r.run(append([]string{"serve", "--config", r.file}, args...))
	return r
}

func (r *running) run(args []string) {
	r.t.Helper()
	ready := make(chan addresses, 1)
	env := map[string]string{"PROVIDER_KEY": canaryProviderKey, "PEPPER": canaryPepper}
	ctx, cancel := context.WithCancel(context.Background())
	w := &world{ctx: ctx, stdin: strings.NewReader(""), stdout: r.log, stderr: r.log, signals: r.signals, serving: func(a addresses) { ready <- a }, env: func(k string) (string, bool) {
		v, ok := env[k]
		return v, ok
	}}
	go func() { r.code <- run(args, w) }()
	r.t.Cleanup(func() {
		cancel()
		select {
		case <-r.code:
		case <-time.After(patience):
			r.t.Error("it did not stop")
		}
	})
	select {
	case r.addr = <-ready:
	case code := <-r.code:
		r.code <- code
		r.t.Fatalf("ended with %d before it was ready:\n%s", code, r.log)
	case <-time.After(patience):
		r.t.Fatalf("not ready:\n%s", r.log)
	}
}

// ended waits for the end and returns the exit code.
func (r *running) ended() int {
	r.t.Helper()
	select {
	case code := <-r.code:
		r.code <- code // for the cleanup
		return code
	case <-time.After(patience):
		r.t.Fatalf("it did not end:\n%s", r.log)
		return -1
	}
}

// write replaces the policy's file in one step.
func (r *running) write(policy string) {
	r.t.Helper()
	tmp := r.file + ".new"
	if err := os.WriteFile(tmp, []byte(policy), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(tmp, r.file); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) admin(path string) string {
	r.t.Helper()
	resp, err := http.Get("http://" + r.addr.admin.String() + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return fmt.Sprintf("%d\n%s", resp.StatusCode, b)
}

// until polls until ok holds.
func (r *running) until(what string, ok func() bool) {
	r.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatalf("%s: not seen\nstatus %s\nlog\n%s", what, r.admin("/admin/status"), r.log)
		}
	}
}

// ask sends a chat request and returns the status, the answer's head and its body.
func (r *running) ask(client *http.Client, model, prompt, key string) (int, http.Header, string) {
	r.t.Helper()
	status, header, body, err := r.send(client, model, prompt, key)
	if err != nil {
		r.t.Fatal(err)
	}
	return status, header, body
}

func (r *running) send(client *http.Client, model, prompt, key string) (int, http.Header, string, error) {
	req, err := http.NewRequest("POST", "http://"+r.addr.data.String()+"/v1/chat/completions", strings.NewReader(fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%q}]}`, model, prompt)))
	if err != nil {
		return 0, nil, "", err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(b), err
}

// upstream is a simulated provider that wants the canary key.
func upstream(t *testing.T) (*simulator.Server, string) {
	sim := simulator.New(simulator.Options{Key: canaryProviderKey})
	s := httptest.NewServer(sim)
	t.Cleanup(s.Close)
	return sim, s.URL
}

// policyFor is a policy with one external provider; rule is the name of its only rule.
func policyFor(url, rule, more string) string {
	return fmt.Sprintf(`version: 1
providers:
  out: {dialect: openai, base_url: %q, keys: [{env: PROVIDER_KEY}]}
models:
  large: {provider: out, name: simulated-large}
  slow: {provider: out, name: "simulated-large+fault=headers-delay=400ms"}
  hung: {provider: out, name: "simulated-large+fault=hang"}
routes:
  auto: {rules: [{name: %q, use: [large]}]}
  slow: {rules: [{use: [slow]}]}
  hung: {rules: [{use: [hung]}]}
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", headers: full%s}
`, url+"/v1", rule, more)
}

// swapped is the key with another last character.
func swapped(key string) string {
	last := "x"
	if strings.HasSuffix(key, last) {
		last = "y"
	}
	return key[:len(key)-1] + last
}

func TestServe(t *testing.T) {
	sim, url := upstream(t)
	key, err := tenants.NewKey("web")
	if err != nil {
		t.Fatal(err)
	}
	hash := tenants.Hash(canaryPepper, key)
	r := serve(t, policyFor(url, "the rule", ", auth: required")+fmt.Sprintf("auth: {pepper: {env: PEPPER}}\ntenants: {acme: {keys: [{id: web, hash: %q}]}}\n", hash))

	status, header, body := r.ask(http.DefaultClient, "auto", canaryPrompt, key)
	if status != 200 || !strings.Contains(body, "simulated answer") || header.Get("X-Sluice-Model") != "large" || !strings.Contains(header.Get("X-Sluice-Reason"), "the rule") {
		t.Errorf("HTTP/1.1: %d %v %s", status, header, body)
	}
	h2c := &http.Transport{Protocols: new(http.Protocols)}
	h2c.Protocols.SetUnencryptedHTTP2(true)
	defer h2c.CloseIdleConnections()
	if status, _, body := r.ask(&http.Client{Transport: h2c}, "auto", canaryPrompt, key); status != 200 {
		t.Errorf("HTTP/2: %d %s", status, body)
	}
	seen := ""
	for _, k := range []string{"", "nonsense", swapped(key)} {
		status, _, body := r.ask(http.DefaultClient, "auto", "hi", k)
		if status != 401 {
			t.Errorf("key %q: %d", k, status)
		}
		seen += body
	}
	if n := len(sim.Log()); n != 2 {
		t.Errorf("the provider was asked %d times, want 2", n)
	}
	r.until("two exchanges", func() bool { return strings.Contains(r.admin("/admin/status"), `"total": 5`) })
	for path, want := range map[string]string{"/livez": "200\nok", "/readyz": "200\nok", "/metrics": "sluice_policy_reloads_total{result=\"ok\"} 1", "/admin/status": `"last_error": null`, "/admin/keys": `"id": "web"`} {
		got := r.admin(path)
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s", path, got)
		}
		seen += got
	}
	r.signals <- syscall.SIGTERM
	if code := r.ended(); code != 0 {
		t.Errorf("exit %d", code)
	}
	log := r.log.String()
	for line := range strings.Lines(log) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	if strings.Count(log, `"msg":"exchange"`) != 5 {
		t.Errorf("want five access lines:\n%s", log)
	}
	for _, secret := range []string{canaryProviderKey, canaryPepper, canaryPrompt, key, key[8:40], hash} {
		if strings.Contains(log+seen, secret) {
			t.Errorf("%q is in the log, the status or an error", secret)
		}
	}
}

func TestReload(t *testing.T) {
	_, url := upstream(t)
	r := serve(t, policyFor(url, "first", ""))
	reason := func() string {
		_, h, _ := r.ask(http.DefaultClient, "auto", "hi", "")
		return h.Get("X-Sluice-Reason")
	}
	if !strings.Contains(reason(), `rule="first"`) {
		t.Fatalf("reason %q", reason())
	}
	r.write(policyFor(url, "second", ""))
	r.until("the new rule", func() bool { return strings.Contains(reason(), `rule="second"`) })
	good := r.admin("/admin/status")
	if !strings.Contains(good, `"generation": 1`) {
		t.Errorf("status %s", good)
	}

	r.write(strings.Replace(policyFor(url, "third", ""), "use: [large]", "use: [lage]", 1))
	r.until("the error", func() bool { return strings.Contains(r.admin("/admin/status"), `no model is named \"lage\"`) })
	status := r.admin("/admin/status")
	for _, want := range []string{`"line": 9`, `"column": 40`, `"generation": 1`, "routes.auto.rules[0].use"} {
		if !strings.Contains(status, want) {
			t.Errorf("status without %s: %s", want, status)
		}
	}
	if got := r.admin("/metrics"); !strings.Contains(got, `sluice_policy_reloads_total{result="error"} 1`) || !strings.Contains(got, "sluice_policy_last_reload_success 0") {
		t.Errorf("metrics %s", got)
	}
	r.until("the error's line", func() bool { return strings.Contains(r.log.String(), "the policy is bad") })
	if n := strings.Count(r.log.String(), "the policy is bad"); n != 1 {
		t.Errorf("%d lines of the error, want 1:\n%s", n, r.log)
	}
	if !strings.Contains(reason(), `rule="second"`) {
		t.Errorf("the bad policy is in force: %q", reason())
	}

	// The old text with a comment more: good again, and nothing to swap.
	r.write(policyFor(url, "second", "") + "# a comment\n")
	r.until("no error", func() bool { return strings.Contains(r.admin("/admin/status"), `"last_error": null`) })
	if got := r.admin("/admin/status"); !strings.Contains(got, `"generation": 1`) {
		t.Errorf("a comment swapped the policy: %s", got)
	}
	if got := r.admin("/metrics"); !strings.Contains(got, "sluice_policy_last_reload_success 1") {
		t.Errorf("metrics %s", got)
	}

	// A policy whose tests fail is as bad as any, and SIGHUP reads at once.
	r.write(policyFor(url, "fourth", "") + "tests:\n  - {name: no, route: auto, prompt: hi, expect: {model: slow}}\n")
	r.signals <- syscall.SIGHUP
	r.until("the failing test", func() bool { return strings.Contains(r.admin("/admin/status"), `test \"no\" failed`) })
	r.write("")
	r.until("the empty file", func() bool { return strings.Contains(r.admin("/admin/status"), "empty") })
}

// TestReloadLink follows a policy as Kubernetes mounts one: a link to a link to a folder, of which the middle one is swapped.
func TestReloadLink(t *testing.T) {
	_, url := upstream(t)
	dir := t.TempDir()
	version := func(name, rule string) {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, name, "policy.yaml"), []byte(policyFor(url, rule, "")), 0o600))
		must(t, os.Symlink(name, filepath.Join(dir, "..tmp")))
		must(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	}
	version("..1", "first")
	must(t, os.Symlink(filepath.Join("..data", "policy.yaml"), filepath.Join(dir, "policy.yaml")))
	r := &running{t: t, file: filepath.Join(dir, "policy.yaml"), log: &syncBuffer{}, signals: make(chan os.Signal, 2), code: make(chan int, 1)}
	r.run([]string{"serve", "--config", r.file})
	version("..2", "second")
	r.until("the swapped link", func() bool { return strings.Contains(r.admin("/admin/status"), `"generation": 1`) })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDrain(t *testing.T) {
	sim, url := upstream(t)
	for _, tc := range []struct {
		name, model string
		twice       bool
		want        int
	}{
		{"an open exchange finishes", "slow", false, 200},
		{"a second signal ends it", "hung", true, 503},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sim.Reset()
			r := serve(t, policyFor(url, "rule", ""))
			answer := make(chan int, 1)
			go func() {
				status, _, _, _ := r.send(http.DefaultClient, tc.model, "hi", "")
				answer <- status
			}()
			r.until("the request at the provider", func() bool { return len(sim.Log()) == 1 })
			r.signals <- syscall.SIGTERM
			r.until("it stops", func() bool { return strings.Contains(r.log.String(), "stopping") })
			if tc.twice {
				r.signals <- syscall.SIGTERM
			} else if got := r.admin("/readyz"); !strings.HasPrefix(got, "503") {
				t.Errorf("ready while draining: %s", got)
			}
			if got := <-answer; got != tc.want {
				t.Errorf("status %d, want %d", got, tc.want)
			}
			if code := r.ended(); code != 0 {
				t.Errorf("exit %d", code)
			}
			if strings.Count(r.log.String(), `"msg":"exchange"`) != 1 {
				t.Errorf("want one access line:\n%s", r.log)
			}
		})
	}
}

// TestStopWords: at the end of the drain a stream gets its last event, what has not begun a 503, and a notice keeps the door open meanwhile.
func TestStopWords(t *testing.T) {
	sim, url := upstream(t)
	policy := strings.Replace(policyFor(url, "rule", ""), "fault=hang", "fault=events=9,stall=3", 1)
	r := serve(t, policy, "--notice", "10m", "--drain", "10ms")
	stream := make(chan string, 1)
	go func() {
		resp, err := http.Post("http://"+r.addr.data.String()+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"hung","stream":true,"messages":[{"role":"user","content":"hi"}]}`))
		if err != nil {
			stream <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		stream <- fmt.Sprint(string(b), err)
	}()
	r.until("the stream at the provider", func() bool { return len(sim.Log()) == 1 && sim.Log()[0].Events == 3 })
	r.signals <- syscall.SIGTERM
	r.until("it is not ready", func() bool { return strings.HasPrefix(r.admin("/readyz"), "503") })
	if status, _, body := r.ask(http.DefaultClient, "auto", "hi", ""); status != 200 {
		t.Errorf("within the notice: %d %s", status, body)
	}
	r.signals <- syscall.SIGTERM
	if got := <-stream; !strings.HasSuffix(got, "\"code\":\"stream_interrupted\"}}\n\n<nil>") || strings.Contains(got, "[DONE]") {
		t.Errorf("the stream's end: %q", got)
	}
	if code := r.ended(); code != 0 {
		t.Errorf("exit %d", code)
	}
}
