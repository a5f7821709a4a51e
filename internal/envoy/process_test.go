package envoy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/harness"
)

// standIn writes a shell script that plays Envoy.
func standIn(t *testing.T, script string) string {
	path := filepath.Join(t.TempDir(), "envoy")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// output is a log that may be written and read at once.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (o *output) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(o, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestFind(t *testing.T) {
	say := func(version string) string { return standIn(t, "echo; echo 'envoy  version: "+version+"'\n") }
	good := say("abc0123/1.41.7/Clean/RELEASE/BoringSSL")
	tests := []struct{ name, given, env, path, want string }{
		{"given", good, "", "", "1.41.7"},
		{"ENVOY_PATH", "", good, "", "1.41.7"},
		{"PATH", "", "", filepath.Dir(good), "1.41.7"},
		{"none", "", "", "/nowhere", "no Envoy found"},
		{"given and absent", "/nowhere/envoy", good, "", "no Envoy found"},
		{"too old", say("abc/1.39.3/Clean/RELEASE/BoringSSL"), "", "", "is Envoy 1.39.3; 1.40.0 or newer is needed"},
		{"no Envoy at all", standIn(t, "echo hello\n"), "", "", "does not answer like an Envoy"},
		{"fails", standIn(t, "echo 'envoy  version: abc/1.41.7/Clean'; exit 3\n"), "", "", "exit status 3"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("ENVOY_PATH", test.env)
			if test.path != "" {
				t.Setenv("PATH", test.path+":/bin:/usr/bin")
			}
			_, v, err := Find(t.Context(), test.given)
			if got := fmt.Sprint(v, " ", err); !strings.Contains(got, test.want) {
				t.Errorf("%s, want %q", got, test.want)
			}
		})
	}
}

func TestRunRestarts(t *testing.T) {
	t.Setenv("PROVIDER_API_KEY", "canary-key")
	dir := t.TempDir()
	path := standIn(t, `trap 'echo term >`+dir+`/term; exit 0' TERM
echo "$@" >>`+dir+`/args; cat "$2" >`+dir+`/bootstrap; env >`+dir+`/env
printf 'warning|main|low on\\n\\"memory\\"|%%\n' >&2; printf 'info|config|loaded\n'; echo 'Backtrace: #0' >&2; printf 'no newline'
[ $(wc -l <`+dir+`/args) -lt 3 ] && exit 7
while :; do sleep 0.05; done
`)
	var out output
	var exits atomic.Int32
	p := &Process{Path: path, Bootstrap: []byte("node: {id: x}"), DrainTime: 90 * time.Second, Concurrency: 2, Logger: out.logger(),
		Exited: func(error) { exits.Add(1) }}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- p.Run(ctx) }()
	read := func(name string) string {
		b, _ := os.ReadFile(filepath.Join(dir, name))
		return string(b)
	}
	harness.Until(t, "third start", func() bool {
		return strings.Count(read("args"), "\n") == 3 && strings.Count(out.String(), "source=envoy") >= 10
	})
	if took := time.Since(began); took < 3*backOffFirst {
		t.Errorf("two restarts after %s: no growing pause", took)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	if exits.Load() != 2 || read("term") != "term\n" {
		t.Errorf("%d exits counted, asked to go: %q", exits.Load(), read("term"))
	}
	args := strings.SplitN(read("args"), "\n", 2)[0]
	for _, want := range []string{"--disable-hot-restart", "--drain-time-s 90", "--concurrency 2", "-l warning"} {
		if !strings.Contains(args, want) {
			t.Errorf("arguments %q without %q", args, want)
		}
	}
	if read("bootstrap") != "node: {id: x}" {
		t.Errorf("bootstrap %q", read("bootstrap"))
	}
	if strings.Contains(read("env"), "canary") || !strings.Contains(read("env"), "PATH=") {
		t.Errorf("environment: %s", read("env"))
	}
	if _, err := os.Stat(strings.Fields(args)[1]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the bootstrap file stays: %v", err)
	}
	for _, want := range []string{
		`level=WARN msg="low on \"memory\"|%" source=envoy logger=main`, `level=INFO msg=loaded source=envoy logger=config`,
		`level=WARN msg="Backtrace: #0" source=envoy`, `level=WARN msg="no newline" source=envoy`, `level=ERROR`, `exit status 7`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("log without %s:\n%s", want, out.String())
		}
	}
}

func TestRunEndsDuringPause(t *testing.T) {
	var out output
	ctx, cancel := context.WithCancel(t.Context())
	p := &Process{Path: "/nowhere/envoy", Logger: out.logger(), Exited: func(error) { cancel() }}
	if err := p.Run(ctx); err != nil || !strings.Contains(out.String(), "no such file") {
		t.Errorf("%v, log %s", err, out.String())
	}
}

// TestEnvoyDiesWithSluice kills a process that supervises a stand-in, which must go too. The process is this test with SUPERVISE set.
func TestEnvoyDiesWithSluice(t *testing.T) {
	if path := os.Getenv("SUPERVISE"); path != "" {
		_ = (&Process{Path: path, Logger: slog.New(slog.DiscardHandler)}).Run(t.Context())
		return
	}
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends a process with its parent")
	}
	dir := t.TempDir()
	path := standIn(t, "trap 'echo term >"+dir+"/term; exit 0' TERM\necho >"+dir+"/up\nwhile :; do sleep 0.05; done\n")
	exists := func(name string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	c := exec.Command(os.Args[0], "-test.run=^TestEnvoyDiesWithSluice$")
	c.Env = append(os.Environ(), "SUPERVISE="+path, "TMPDIR="+dir)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	harness.Until(t, "the stand-in runs", func() bool { return exists("up") })
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	harness.Until(t, "the stand-in goes", func() bool { return exists("term") })
}

func TestLineWriter(t *testing.T) {
	var out output
	w := &lineWriter{log: out.logger()}
	for _, chunk := range []string{"err", "or|a|b\nde", "bug|c|d\n\n", strings.Repeat("x", 20<<10), "critical|e|f\n", "trace|no third", "\n"} {
		if n, err := w.Write([]byte(chunk)); n != len(chunk) || err != nil {
			t.Fatal(n, err)
		}
	}
	var levels []string
	for line := range strings.Lines(out.String()) {
		for field := range strings.FieldsSeq(line) {
			if level, ok := strings.CutPrefix(field, "level="); ok {
				levels = append(levels, level)
			}
		}
		if len(line) > 3000 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	if want := []string{"ERROR", "DEBUG", "WARN", "ERROR", "WARN"}; !slices.Equal(levels, want) {
		t.Errorf("levels %v, want %v:\n%s", levels, want, out.String())
	}
}

// TestDrain plays Envoy's admin interface: two requests are active at first, and one more before it stops to listen.
func TestDrain(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var calls []string
	left := []int{2, 1, 0, 1, 0}
	stuck := false
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodPost {
			calls = append(calls, r.URL.RequestURI())
			return
		}
		active := 1
		if !stuck {
			active, left = left[0], left[1:]
		}
		calls = append(calls, fmt.Sprint(active))
		fmt.Fprintf(w, "http.admin.downstream_rq_active: 1\nhttp.ingress.downstream_rq_active: %d\n", active)
	})}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	p := &Process{Admin: socket}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := p.Drain(ctx); err != nil {
		t.Error(err)
	}
	want := []string{"/healthcheck/fail", "/drain_listeners?graceful", "2", "1", "0", "/drain_listeners", "1", "0"}
	if !slices.Equal(calls, want) {
		t.Errorf("calls %v, want %v", calls, want)
	}
	mu.Lock()
	stuck, calls = true, nil
	mu.Unlock()
	short, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	if err := p.Drain(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a request that never ends: %v", err)
	}
	mu.Lock()
	if !slices.Contains(calls, "/drain_listeners") {
		t.Errorf("never stopped listening: %v", calls)
	}
	mu.Unlock()
	if err := (&Process{Admin: "127.0.0.1:1"}).Drain(ctx); err == nil {
		t.Error("drained an Envoy that is not there")
	}
}

// FuzzLineWriter: no output of a child, however cut, is lost silently, split wrongly or kept without bound.
func FuzzLineWriter(f *testing.F) {
	f.Add([]byte("info|main|hello\nwarning|"), 3)
	f.Add([]byte("\n\n|||\ncritical|a|b|c\\n"), 1)
	f.Fuzz(func(t *testing.T, text []byte, step int) {
		var whole, cut output
		w := &lineWriter{log: whole.logger()}
		_, _ = w.Write(text)
		w.flush()
		v := &lineWriter{log: cut.logger()}
		for chunk := range slices.Chunk(text, 1+max(step, 0)%64) {
			if n, err := v.Write(chunk); n != len(chunk) || err != nil {
				t.Fatal(n, err)
			}
			if len(v.rest) > 16<<10 {
				t.Fatalf("%d bytes kept", len(v.rest))
			}
		}
		v.flush()
		if len(text) < 16<<10 && strings.Count(whole.String(), "\n") != strings.Count(cut.String(), "\n") {
			t.Errorf("%q and %q", whole.String(), cut.String())
		}
	})
}
