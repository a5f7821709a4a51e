package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Gateway is a running `sluice serve`.
type Gateway struct {
	*Process
	URL   string // of the API, with /v1
	Admin string // of the admin listener
	File  string // its policy
}

// Serve writes the policy to a file of its own and serves it. Listen on port 0: the real addresses are read from the log.
func Serve(t testing.TB, sluice, policy string, env ...string) *Gateway {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	g := Ready(t, Start(t, env, sluice, "serve", "--config", file, "--log", "json"))
	g.File = file
	return g
}

// Ready waits until a `sluice serve` that logs JSON says that it is ready, and that it is.
func Ready(t testing.TB, p *Process) *Gateway {
	t.Helper()
	p.Line(t, p.Err, "ready line", func(line string) bool { return strings.Contains(line, `"msg":"ready"`) })
	r := p.Err.Records("ready")[0]
	g := &Gateway{Process: p, URL: r.Text("url"), Admin: r.Text("admin")}
	WaitOK(t, g.Admin+"/readyz")
	return g
}

// Replace writes the policy file in one step, as careful editors do.
func (g *Gateway) Replace(t testing.TB, policy string) {
	t.Helper()
	next := g.File + ".next"
	if err := os.WriteFile(next, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, g.File); err != nil {
		t.Fatal(err)
	}
}

// Status is /admin/status, as far as tests read it.
type Status struct {
	Draining bool
	Policy   struct {
		Hash       string
		Generation int
		LastError  *struct {
			Message, File string
			Line, Column  int
		} `json:"last_error"`
	}
	Providers map[string]struct {
		Kind      string
		Healthy   int
		InFlight  int `json:"in_flight"`
		Tokens    int
		Endpoints []json.RawMessage
	}
	Exchanges struct {
		InFlight int `json:"in_flight"`
		Total    int
	}
}

// Status reads /admin/status.
func (g *Gateway) Status(t testing.TB) Status {
	t.Helper()
	var s Status
	if err := json.Unmarshal([]byte(Get(t, g.Admin+"/admin/status")), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// Metric sums the samples of a metric that hold every given label, written as name="value". The metric's name is exact.
func (g *Gateway) Metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	return Metric(t, Get(t, g.Admin+"/metrics"), name, labels...)
}

// Metric is Gateway.Metric on the text of any /metrics page.
func Metric(t testing.TB, page, name string, labels ...string) float64 {
	t.Helper()
	sum := 0.0
next:
	for line := range strings.Lines(page) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(rest, l) {
				continue next
			}
		}
		value, _, _ := strings.Cut(rest[strings.LastIndexByte(rest, '}')+1:], "#")
		n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			t.Fatalf("metric %q: %v", line, err)
		}
		sum += n
	}
	return sum
}

// Exchange waits for the access line of the exchange with the id that its answer carried.
func (g *Gateway) Exchange(t testing.TB, id string) Record {
	t.Helper()
	if id == "" {
		t.Fatal("an answer without x-sluice-request-id")
	}
	var got Record
	Poll(t, "an access line of "+id, func() error {
		for _, r := range g.Err.Records("exchange") {
			if r.Text("id") == id {
				got = r
				return nil
			}
		}
		return errors.New("none yet")
	})
	return got
}

// Pool starts an endpoint of the real pool on the port (0 takes a free one) and returns it with its host:port. It answers.
func Pool(t testing.TB, root string, port int, flags ...string) (*Process, string) {
	t.Helper()
	args := append([]string{"-B", filepath.Join(root, "scripts", "pool_server.py"), "--port", strconv.Itoa(port)}, flags...)
	p := Start(t, nil, "python3", args...)
	base := strings.TrimSpace(p.Line(t, p.Out, "address", func(string) bool { return true }))
	WaitOK(t, base+"/health")
	return p, strings.TrimPrefix(base, "http://")
}

// Mock starts `sluice mock` on a free port and returns its host:port.
func Mock(t testing.TB, sluice string, flags ...string) string {
	t.Helper()
	p := Start(t, nil, sluice, append([]string{"mock", "--listen", "127.0.0.1:0"}, flags...)...)
	line := p.Line(t, p.Err, "address", func(line string) bool { return strings.Contains(line, "http://") })
	_, addr, _ := strings.Cut(line, "http://")
	return strings.TrimSuffix(addr, "/v1")
}

// Until polls for a condition that has no more to say than whether it holds.
func Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	Poll(t, what, func() error {
		if !holds() {
			return errors.New("not so")
		}
		return nil
	})
}

// Poll asks until the answer is nil.
func Poll(t testing.TB, what string, ask func() error) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in %v: %v", what, Patience, err)
		}
		<-tick.C
	}
}

// WaitOK polls until url answers 200.
func WaitOK(t testing.TB, url string) {
	t.Helper()
	Poll(t, url, func() error {
		resp, err := direct.Get(url)
		if err != nil {
			return err
		}
		_ = resp.Body.Close() // nothing of it is read
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	})
}

// direct asks loopback without the proxy that the environment may name, one connection a request.
var direct = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: Patience}

// Get returns the body of a 200.
func Get(t testing.TB, url string) string {
	t.Helper()
	resp, err := direct.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	if err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
	return string(b)
}

// NewKey mints a client's key with `sluice keys new`.
func NewKey(t testing.TB, sluice, pepper, tenant, id string) (key, hash string) {
	t.Helper()
	p := Start(t, []string{"SLUICE_PEPPER=" + pepper}, sluice, "keys", "new", "--tenant", tenant, "--id", id, "--json")
	if code := p.Exit(t); code != 0 {
		t.Fatalf("sluice keys new: exit %d\n%s", code, p.Err)
	}
	var got struct{ Key, Hash string }
	if err := json.Unmarshal([]byte(p.Out.String()), &got); err != nil || got.Key == "" || got.Hash == "" {
		t.Fatalf("sluice keys new printed %q: %v", p.Out, err)
	}
	return got.Key, got.Hash
}
