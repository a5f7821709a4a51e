package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server under measurement. Its output goes to a file that is cut back between measurements: a pipe would wake the loader
// for each log line and charge that to whoever logs.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	output string
	ended  chan struct{}
	ready  time.Duration // from the start to the first 200 of /readyz
}

const (
	readyLimit = 20 * time.Second
	stopLimit  = 5 * time.Second
	tailBytes  = 8 << 10
)

// start runs a command and waits until ready answers 200; with an empty ready, somebody else will find out.
func start(ctx context.Context, dir, name, ready string, argv ...string) (*process, error) {
	p := &process{output: filepath.Join(dir, name+".log"), ended: make(chan struct{})}
	file, err := os.OpenFile(p.output, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = file, file
	p.cmd.Dir, p.cmd.Env = dir, environment(dir)
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	if ready == "" {
		return p, nil
	}
	if err := p.await(ctx, ready); err != nil {
		p.stop()
		return nil, fmt.Errorf("%s: %w\n%s", name, err, p.tail())
	}
	p.ready = time.Since(begin)
	return p, nil
}

// environment is the least that a process needs: nothing that tunes the Go runtime, exports telemetry or holds a provider's key, so that
// every target runs at its defaults.
func environment(home string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home, "XDG_STATE_HOME=" + home}
}

func (p *process) await(ctx context.Context, ready string) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	pool := newTransport(1)
	defer pool.CloseIdleConnections()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, ready, nil)
		if err != nil {
			return err
		}
		if resp, err := pool.RoundTrip(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", ctx.Err())
		case <-p.ended:
			return errors.New("ended before it was ready")
		case <-tick.C:
		}
	}
}

// stop asks, then kills. It is safe to call twice.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.stdin.Close()
	select {
	case <-p.ended:
	case <-time.After(stopLimit):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// trim empties the log.
func (p *process) trim() { _ = os.Truncate(p.output, 0) }

// tail is the end of the log, for an error's sake.
func (p *process) tail() string {
	b, err := os.ReadFile(p.output)
	if err != nil {
		return ""
	}
	return string(b[max(0, len(b)-tailBytes):])
}

// cpu is the processor time that the process has used so far, user and system, in steps of 10 ms. ok is false where the kernel does not
// say.
func cpu(pid int) (used time.Duration, ok bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	return parseStat(string(b))
}

// parseStat reads utime and stime, fields 14 and 15 of proc_pid_stat(5). The name in field 2 may hold blanks and brackets.
func parseStat(stat string) (time.Duration, bool) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go supports
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, false
	}
	var sum time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil || n < 0 {
			return 0, false
		}
		sum += time.Duration(n) * tick
	}
	return sum, true
}

// memory is the resident set of a process, now and at its highest, in bytes; zeros where the kernel does not say.
func memory(pid int) (rss, peak int64) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, 0
	}
	return parseStatus(string(b))
}

func parseStatus(status string) (rss, peak int64) {
	for line := range strings.Lines(status) {
		name, rest, _ := strings.Cut(line, ":")
		n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		if err != nil {
			continue
		}
		switch name {
		case "VmRSS":
			rss = n << 10
		case "VmHWM":
			peak = n << 10
		}
	}
	return rss, peak
}

// freeAddress is a loopback address that nobody listens on at the moment.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// children are the processes that a process has started and that still are.
func children(parent int) []int {
	var found []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err == nil && parseParent(string(b)) == parent {
			found = append(found, pid)
		}
	}
	return found
}

// parseParent reads ppid, field 4 of proc_pid_stat(5); 0 when it is not there.
func parseParent(stat string) int {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	n, err := strconv.Atoi(fields[1])
	if err != nil || n < 0 {
		return 0
	}
	return n
}
