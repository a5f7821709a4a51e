//go:build real

// Package clients runs the SDKs that people use, unmodified but for the base URL, against a gateway with a real model behind it.
// It holds that nothing here is simulated but the external provider, whose answers say so. It needs `scripts/fetch pool clients`.
package clients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	pepper   = "a pepper for the client suites only"
	patience = 60 * time.Second // to start a process or to stop it, on a busy machine
)

// TestClients starts two endpoints of the pool, the simulated provider and the gateway, then runs each suite against them.
func TestClients(t *testing.T) {
	s := start(t)
	for _, c := range []struct {
		name string
		argv []string
		want int // checks; fewer mean that the suite left some out
	}{
		{"openai python", []string{"python3", "-B", "python/openai_sdk.py"}, 14},
		{"langchain python", []string{"python3", "-B", "python/langchain_sdk.py"}, 8},
		{"openai node", []string{"node", "node/openai_sdk.mjs"}, 14},
		{"vercel ai node", []string{"node", "node/ai_sdk.mjs"}, 8},
		{"openai go", []string{s.goSuite}, 12},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), c.argv[0], c.argv[1:]...)
			cmd.Env = s.env
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Fatalf("%v: %v\ngateway:\n%s", c.argv, err, s.log.tail(40))
			}
			if want := fmt.Sprintf("%d passed, 0 failed", c.want); !bytes.Contains(out, []byte(want)) {
				t.Errorf("the suite did not say %q", want)
			}
		})
	}
}

// stack is the running system.
type stack struct {
	env     []string // for the suites
	goSuite string   // path of the Go suite's binary
	log     *tail    // of the gateway
}

func start(t *testing.T) *stack {
	t.Helper()
	dir := t.TempDir()
	sluice := filepath.Join(dir, "sluice")
	goSuite := filepath.Join(dir, "gosuite")
	build(t, "..", sluice, "./cmd/sluice")
	build(t, "go", goSuite, ".")

	a := pool(t)
	b := pool(t)
	ports := freePorts(t, 3)
	mock, listen, admin := ports[0], ports[1], ports[2]
	run(t, nil, sluice, "mock", "--listen", mock)
	waitOK(t, "http://"+mock+"/v1/models")

	key, hash := newKey(t, sluice)
	policy, err := os.ReadFile("policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(policy)
	for _, r := range [][2]string{
		{"127.0.0.1:28180", a}, {"127.0.0.1:28181", b}, {"127.0.0.1:28190", mock},
		{"127.0.0.1:28100", listen}, {"127.0.0.1:28101", admin},
		{"hmac-sha256:" + strings.Repeat("0", 64), hash},
	} {
		if strings.Count(text, r[0]) != 1 {
			t.Fatalf("policy.yaml holds %q %d times, want once", r[0], strings.Count(text, r[0]))
		}
		text = strings.Replace(text, r[0], r[1], 1)
	}
	file := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log := run(t, nil, sluice, "serve", "--config", file)
	waitOK(t, "http://"+admin+"/readyz")

	return &stack{goSuite: goSuite, log: log, env: append(os.Environ(),
		"NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1", // the SDKs would send even loopback through a proxy
		"LANGSMITH_TRACING=false",
		"PYTHONPATH="+filepath.Join(cache(t), "clients-python"),
		"SLUICE_BASE_URL=http://"+listen+"/v1",
		"SLUICE_API_KEY="+key,
		"SLUICE_MODEL=auto", "SLUICE_EMBED_MODEL=embed", "SLUICE_TOOLS_MODEL=tools", "SLUICE_DENIED_MODEL=outside")}
}

func build(t *testing.T, dir, out, pkg string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", out, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, msg)
	}
}

// cache is where scripts/fetch puts things.
func cache(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("SLUICE_CACHE")
	if dir == "" {
		dir = filepath.Join("..", ".cache")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// pool starts one endpoint of the real pool and returns its host:port.
func pool(t *testing.T) string {
	t.Helper()
	out, log := runPiped(t, "python3", "-B", "../scripts/pool_server.py", "--port", "0", "--embedding")
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("pool_server.py: %v\n%s", err, log.tail(20))
	}
	base := strings.TrimSpace(line)
	waitOK(t, base+"/health")
	return strings.TrimPrefix(base, "http://")
}

func newKey(t *testing.T, sluice string) (key, hash string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), sluice, "keys", "new", "--tenant", "clients", "--id", "sdk", "--json")
	cmd.Env = append(os.Environ(), "SLUICE_PEPPER="+pepper)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sluice keys new: %v", err)
	}
	var got struct{ Key, Hash string }
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("sluice keys new printed %q: %v", out, err)
	}
	if !regexp.MustCompile(`^hmac-sha256:[0-9a-f]{64}$`).MatchString(got.Hash) {
		t.Fatalf("hash %q", got.Hash)
	}
	return got.Key, got.Hash
}

// run starts a process that lives as long as the test and returns its output so far.
func run(t *testing.T, out io.Writer, name string, args ...string) *tail {
	t.Helper()
	log := &tail{}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "SLUICE_PEPPER="+pepper)
	cmd.Stdout, cmd.Stderr = log, log
	if out != nil {
		cmd.Stdout = out
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
			t.Errorf("%s ended before the test did: %v\n%s", filepath.Base(name), <-exited, log.tail(20))
			return
		}
		select {
		case <-exited:
		case <-time.After(patience):
			t.Errorf("%s is still there %v after SIGTERM", filepath.Base(name), patience)
			_ = cmd.Process.Kill()
			<-exited
		}
	})
	return log
}

func runPiped(t *testing.T, name string, args ...string) (io.Reader, *tail) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	log := run(t, w, name, args...)
	_ = w.Close() // the child has its own
	t.Cleanup(func() { _ = r.Close() })
	return r, log
}

func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all at once, at the end: so they differ
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

// waitOK polls until url answers 200.
func waitOK(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
			err = errors.New(resp.Status)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v after %v", url, err, patience)
		case <-tick.C:
		}
	}
}
