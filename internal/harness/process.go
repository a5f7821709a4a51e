// Package harness runs the real programs for tests: the built binary, the real pool, and what a test asks them.
//
// Its invariant: nothing outlives the test that started it, and a process that ends when its test did not end it fails that test. It never
// sleeps for a fixed time: it polls for what a test waits for, up to a limit that only turns a hang into a failure.
package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience is how long anything may take on a busy machine before a test calls it a hang.
const Patience = 60 * time.Second

// Build builds the package pkg of the module in the folder from, statically, into the file out. With SLUICE_TEST_RACE set the race detector is in it,
// and a race that it finds fails the test through the exit code.
func Build(from, pkg, out string) error {
	args := []string{"build", "-o", out}
	env := append(os.Environ(), "CGO_ENABLED=0")
	if os.Getenv("SLUICE_TEST_RACE") != "" {
		args, env = append(args, "-race"), append(os.Environ(), "CGO_ENABLED=1")
	}
	cmd := exec.Command("go", append(args, pkg)...)
	cmd.Dir, cmd.Env = from, env
	if msg, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, msg)
	}
	return nil
}

// Process is a child of a test.
type Process struct {
	Out, Err *Output // what it wrote so far

	name   string
	cmd    *exec.Cmd
	ended  chan struct{} // closed when it has ended; then err is set
	err    error
	mu     sync.Mutex
	wanted bool // the test ended it
}

// Start starts a process with additions to the environment. When the test ends, so does the process, by SIGTERM.
func Start(t testing.TB, env []string, name string, args ...string) *Process {
	t.Helper()
	p := &Process{Out: newOutput(), Err: newOutput(), name: filepath.Base(name), cmd: exec.Command(name, args...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.Out, p.Err
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() { p.stop(t) })
	return p
}

func (p *Process) stop(t testing.TB) {
	if p.Ended() {
		if !p.isWanted() {
			t.Errorf("%s ended before the test did: %v\n%s", p.name, p.err, p.Err.Tail(30))
		}
		return
	}
	p.Signal(t, syscall.SIGTERM)
	select {
	case <-p.ended:
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("%s: exit code %d after SIGTERM\n%s", p.name, code, p.Err.Tail(60))
		}
	case <-time.After(Patience):
		t.Errorf("%s is still there %v after SIGTERM", p.name, Patience)
		p.Kill(t)
	}
}

func (p *Process) isWanted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wanted
}

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// Signal sends a signal.
func (p *Process) Signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal %s: %v", p.name, err)
	}
}

// Pause stops every thread of the process and returns once each has stopped: a signal alone is only on its way. SIGCONT ends it. Linux.
func (p *Process) Pause(t testing.TB) {
	t.Helper()
	p.Signal(t, syscall.SIGSTOP)
	Poll(t, p.name+" stops", func() error {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
		if err != nil {
			return err
		}
		for _, name := range stats {
			text, err := os.ReadFile(name)
			if err != nil {
				continue // a thread that has ended
			}
			if _, state, ok := strings.Cut(string(text), ") "); !ok || !strings.HasPrefix(state, "T") {
				return fmt.Errorf("%s: %.1s", name, state)
			}
		}
		return nil
	})
}

// Kill ends the process as a crash would, and waits until it is gone.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	p.wanted = true
	p.mu.Unlock()
	p.Signal(t, syscall.SIGKILL)
	<-p.ended
}

// Exit waits for the end of a process that the test has made end, and returns its exit code.
func (p *Process) Exit(t testing.TB) int {
	t.Helper()
	p.mu.Lock()
	p.wanted = true
	p.mu.Unlock()
	select {
	case <-p.ended:
	case <-time.After(Patience):
		t.Fatalf("%s has not ended in %v\n%s", p.name, Patience, p.Err.Tail(30))
	}
	return p.cmd.ProcessState.ExitCode()
}

// Output keeps what a process writes. Readers wait for lines without polling files.
type Output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{} // closed at the next write
}

func newOutput() *Output { return &Output{changed: make(chan struct{})} }

// Write appends; it never fails.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(p)
	close(o.changed)
	o.changed = make(chan struct{})
	return len(p), nil
}

// String is everything so far.
func (o *Output) String() string {
	s, _ := o.look()
	return s
}

func (o *Output) look() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String(), o.changed
}

// Tail returns the last n lines.
func (o *Output) Tail(n int) string {
	lines := strings.Split(strings.TrimRight(o.String(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Line waits for the first whole line for which match holds and returns it.
func (p *Process) Line(t testing.TB, o *Output, what string, match func(string) bool) string {
	t.Helper()
	limit := time.After(Patience)
	for {
		ended := p.Ended() // before the look: then what it wrote last is seen
		text, changed := o.look()
		whole := text[:strings.LastIndexByte(text, '\n')+1]
		for line := range strings.Lines(whole) {
			if match(line) {
				return strings.TrimRight(line, "\n")
			}
		}
		if ended {
			t.Fatalf("%s ended (%v) without %s\n%s", p.name, p.err, what, p.Err.Tail(30))
		}
		select {
		case <-changed:
		case <-p.ended:
		case <-limit:
			t.Fatalf("%s: no %s in %v\n%s", p.name, what, Patience, p.Err.Tail(30))
		}
	}
}

// Record is one line of a JSON log.
type Record map[string]any

// Text is the field's string, "" for none.
func (r Record) Text(field string) string {
	s, _ := r[field].(string)
	return s
}

// Number is the field's number, 0 for none.
func (r Record) Number(field string) float64 {
	n, _ := r[field].(float64)
	return n
}

// Records are the lines of a JSON log whose message is msg.
func (o *Output) Records(msg string) []Record {
	var all []Record
	for line := range strings.Lines(o.String()) {
		var r Record
		if json.Unmarshal([]byte(line), &r) == nil && r.Text("msg") == msg {
			all = append(all, r)
		}
	}
	return all
}
