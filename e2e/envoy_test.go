//go:build real

package e2e

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/e2e/envoyplane"
	"github.com/sluice-gateway/sluice/internal/harness"
)

// fleet is `sluice serve --plane envoy` with its sockets: with an Envoy of its own, or with one that this test starts.
type fleet struct {
	*harness.Gateway
	dir string // of the sockets
}

// behindEnvoy serves a policy behind a supervised Envoy. The policy leaves its server section to this; carrier: envoy is written in its routes.
func behindEnvoy(t *testing.T, policy string, env ...string) *fleet {
	t.Helper()
	f := &fleet{dir: socketDir(t)}
	file := filepath.Join(t.TempDir(), "policy.yaml")
	write(t, file, policy)
	f.Gateway = f.serve(t, file, env...)
	return f
}

// socketDir is short, as paths of sockets must be.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "se-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // what stays of sockets is in nobody's way
	return dir
}

func (f *fleet) serve(t *testing.T, file string, env ...string) *harness.Gateway {
	t.Helper()
	env = append(env, "ENVOY_PATH="+envoyplane.Binary(t))
	g := harness.Ready(t, harness.Start(t, env, binary(), "serve", "--plane", "envoy", "--state", f.dir, "--config", file, "--log", "json"))
	g.File = file
	return g
}

// external starts an Envoy by `sluice bootstrap`, with more at its top level.
func (f *fleet) external(t *testing.T, policy string, more map[string]any) *harness.Process {
	t.Helper()
	p := harness.Start(t, nil, binary(), "bootstrap", "--config", policy, "--control", filepath.Join(f.dir, "control.sock"), "--admin", filepath.Join(f.dir, "admin.sock"))
	if code := p.Exit(t); code != 0 {
		t.Fatalf("sluice bootstrap: %d %s", code, p.Err)
	}
	file := filepath.Join(t.TempDir(), "bootstrap.json")
	var config map[string]any
	if err := json.Unmarshal([]byte(p.Out.String()), &config); err != nil {
		t.Fatal(err)
	}
	maps.Copy(config, more)
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, string(b))
	args := strings.Fields(p.Err.String()) // as it says: envoy -c FILE …
	if len(args) < 3 || args[0] != "envoy" || args[2] != "FILE" {
		t.Fatalf("sluice bootstrap says %q", p.Err)
	}
	args[2] = file
	return harness.Start(t, nil, envoyplane.Binary(t), args[1:]...)
}

// admin asks the Envoy's admin interface.
func (f *fleet) admin(t *testing.T, path string) string {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(f.dir, "admin.sock"))
	}}
	resp, err := (&http.Client{Transport: tr, Timeout: harness.Patience}).Get("http://envoy/" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("admin %s: %s %v", path, resp.Status, err)
	}
	return string(b)
}

// carriedBy fails the test unless the exchange of the answer was carried so.
func carriedBy(t *testing.T, g *harness.Gateway, a *answer, want string) harness.Record {
	t.Helper()
	r := g.Exchange(t, a.id())
	if got := r.Text("carried"); got != want {
		t.Errorf("carried by %q, want %q: %v", got, want, r)
	}
	return r
}

// rest reads what is left of an answer.
func rest(resp *http.Response) *answer {
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return &answer{resp.StatusCode, resp.Header, b, err}
}
