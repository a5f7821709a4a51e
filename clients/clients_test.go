//go:build real

package clients

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/harness"
)

const pepper = "a pepper for the client suites only"

// TestClients starts two endpoints of the pool, the simulated provider and the gateway, then runs each suite against them.
func TestClients(t *testing.T) {
	s := start(t)
	for _, c := range []struct {
		name string
		argv []string
		want int // checks; fewer mean that the suite left some out
	}{
		{"openai python", []string{"python3", "-B", "python/openai_sdk.py"}, 15},
		{"langchain python", []string{"python3", "-B", "python/langchain_sdk.py"}, 8},
		{"openai node", []string{"node", "node/openai_sdk.mjs"}, 15},
		{"vercel ai node", []string{"node", "node/ai_sdk.mjs"}, 8},
		{"openai go", []string{s.goSuite}, 12},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), c.argv[0], c.argv[1:]...)
			cmd.Env = s.env
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Fatalf("%v: %v\ngateway:\n%s", c.argv, err, s.gateway.Err.Tail(40))
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
	gateway *harness.Gateway
}

func start(t *testing.T) *stack {
	t.Helper()
	dir := t.TempDir()
	sluice, goSuite := filepath.Join(dir, "sluice"), filepath.Join(dir, "gosuite")
	for _, b := range [][3]string{{"..", "./cmd/sluice", sluice}, {"go", ".", goSuite}} {
		if err := harness.Build(b[0], b[1], b[2]); err != nil {
			t.Fatal(err)
		}
	}
	_, a := harness.Pool(t, "..", 0, "--embedding")
	_, b := harness.Pool(t, "..", 0, "--embedding")
	mock := harness.Mock(t, sluice)
	key, hash := harness.NewKey(t, sluice, pepper, "clients", "sdk")
	policy, err := os.ReadFile("policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(policy)
	for _, r := range [][2]string{
		{"127.0.0.1:28180", a}, {"127.0.0.1:28181", b}, {"127.0.0.1:28190", mock},
		{"127.0.0.1:28100", "127.0.0.1:0"}, {"127.0.0.1:28101", "127.0.0.1:0"},
		{"hmac-sha256:" + strings.Repeat("0", 64), hash},
	} {
		if strings.Count(text, r[0]) != 1 {
			t.Fatalf("policy.yaml holds %q %d times, want once", r[0], strings.Count(text, r[0]))
		}
		text = strings.Replace(text, r[0], r[1], 1)
	}
	g := harness.Serve(t, sluice, text, "SLUICE_PEPPER="+pepper)

	return &stack{goSuite: goSuite, gateway: g, env: append(os.Environ(),
		"NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1", // the SDKs would send even loopback through a proxy
		"LANGSMITH_TRACING=false",
		"PYTHONPATH="+filepath.Join(cache(t), "clients-python"),
		"SLUICE_BASE_URL="+g.URL,
		"SLUICE_API_KEY="+key,
		"SLUICE_MODEL=auto", "SLUICE_EMBED_MODEL=embed", "SLUICE_TOOLS_MODEL=tools", "SLUICE_DENIED_MODEL=outside", "SLUICE_LIMITED_MODEL=limited")}
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
