package envoy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Version is an Envoy release: major, minor, patch.
type Version [3]int

var (
	Oldest = Version{1, 40, 0} // has the filters and the cluster specifier that the configuration needs
	Newest = Version{1, 40, 2} // the newest patch known when this was written
)

// String is the release as Envoy writes it: 1.40.2.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

// Less orders releases.
func (v Version) Less(w Version) bool { return slices.Compare(v[:], w[:]) < 0 }

// Find names the Envoy to run: given, else $ENVOY_PATH, else envoy of PATH. It asks the binary for its version and refuses one that is too
// old. Nothing is ever downloaded.
func Find(ctx context.Context, given string) (path string, v Version, err error) {
	if given == "" {
		given = os.Getenv("ENVOY_PATH")
	}
	if given == "" {
		given = "envoy"
	}
	path, err = exec.LookPath(given)
	if err != nil {
		return "", v, fmt.Errorf("no Envoy found (%w): install Envoy %s or newer and put it on PATH, or name it in $ENVOY_PATH; "+
			"Sluice downloads nothing by itself", err, Oldest)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	m := release.FindSubmatch(out)
	if err != nil || m == nil {
		return "", v, fmt.Errorf("%s --version does not answer like an Envoy (%v): %s", path, err, Clean(string(out)))
	}
	for i := range v {
		v[i], _ = strconv.Atoi(string(m[i+1])) // digits by the expression
	}
	if v.Less(Oldest) {
		return "", v, fmt.Errorf("%s is Envoy %s; %s or newer is needed", path, v, Oldest)
	}
	return path, v, nil
}

// release is in "envoy  version: <commit>/1.40.2/Clean/RELEASE/BoringSSL".
var release = regexp.MustCompile(`version: [0-9a-f]+/([0-9]{1,6})\.([0-9]{1,6})\.([0-9]{1,6})`)

// Process is one supervised Envoy. Fields are set before Run and not changed.
type Process struct {
	Path        string        // of the binary, from Find
	Bootstrap   []byte        // JSON or YAML
	Admin       string        // the bootstrap's admin address: a Unix socket's path or host:port; needed by Drain
	DrainTime   time.Duration // above the longest total limit of a request; default 10 min
	Concurrency int           // worker threads; 0 = one a core
	LogLevel    string        // Envoy's -l; default warning
	Logger      *slog.Logger  // default slog.Default(); Envoy's lines carry source=envoy
	Exited      func(error)   // called at every exit that nobody asked for, for metrics
}

const (
	backOffFirst = 200 * time.Millisecond
	backOffMost  = 10 * time.Second
	steady       = time.Minute     // after which an exit counts as the first one again
	termTime     = 5 * time.Second // from SIGTERM to SIGKILL
)

// Run keeps Envoy running until ctx ends: an exit is logged and followed by a new start after a growing pause. At the end Envoy is asked to
// go and, after 5 s, killed; Run returns when it is gone. Stop order: readiness off, Drain, then end ctx, then ext_proc and the executor.
func (p *Process) Run(ctx context.Context) error {
	// The kernel ends Envoy when the thread that started it dies: the thread must live as long as Sluice.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	log := p.Logger
	if log == nil {
		log = slog.Default()
	}
	dir, err := os.MkdirTemp("", "sluice-envoy-")
	if err != nil {
		return fmt.Errorf("envoy: %w", err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "bootstrap.yaml") // YAML takes JSON as well
	if err := os.WriteFile(file, p.Bootstrap, 0o600); err != nil {
		return fmt.Errorf("envoy: %w", err)
	}
	for pause := backOffFirst; ; pause = min(2*pause, backOffMost) {
		began := time.Now()
		err := p.once(ctx, file, log)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > steady {
			pause = backOffFirst
		}
		log.Error("envoy ended by itself and is started again", "error", err, "after", time.Since(began).Round(time.Millisecond), "pause", pause)
		if p.Exited != nil {
			p.Exited(err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

func (p *Process) once(ctx context.Context, file string, log *slog.Logger) error {
	drain, level := p.DrainTime, p.LogLevel
	if drain == 0 {
		drain = 10 * time.Minute
	}
	if level == "" {
		level = "warning"
	}
	args := []string{
		"-c", file, "--disable-hot-restart", "--drain-time-s", strconv.Itoa(int(drain.Seconds())), "--drain-strategy", "immediate",
		"-l", level, "--log-format", "%l|%n|%v", "--log-format-escaped",
	}
	if p.Concurrency > 0 {
		args = append(args, "--concurrency", strconv.Itoa(p.Concurrency))
	}
	c := exec.CommandContext(ctx, p.Path, args...)
	c.Env = environment(os.Environ())
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = termTime
	lines := &lineWriter{log: log.With("source", "envoy")}
	c.Stdout, c.Stderr = lines, lines // one writer: exec copies both from one goroutine
	bindToParent(c)
	err := c.Run()
	lines.flush()
	if err == nil {
		err = fmt.Errorf("exit status 0")
	}
	return err
}

// environment keeps what a process needs to run; Sluice's own holds the providers' keys, and Envoy must never have them.
func environment(all []string) []string {
	return slices.DeleteFunc(all, func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return !slices.Contains([]string{"PATH", "HOME", "TMPDIR", "LANG", "TZ", "LD_LIBRARY_PATH"}, name)
	})
}

// lineWriter turns Envoy's output into log records. Lines end at a newline or at 16 KiB.
type lineWriter struct {
	log  *slog.Logger
	rest []byte
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		at := bytes.IndexByte(w.rest, '\n')
		if at < 0 && len(w.rest) < 16<<10 {
			return len(b), nil
		}
		if at < 0 {
			w.flush()
			return len(b), nil
		}
		w.line(string(w.rest[:at]))
		w.rest = w.rest[at+1:]
	}
}

func (w *lineWriter) flush() {
	if len(w.rest) > 0 {
		w.line(string(w.rest))
	}
	w.rest = nil
}

var levels = map[string]slog.Level{
	"trace": slog.LevelDebug, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn, "error": slog.LevelError, "critical": slog.LevelError,
}

// unescape undoes --log-format-escaped, which makes one line of every message.
var unescape = strings.NewReplacer(`\n`, " ", `\t`, " ", `\'`, "'", `\"`, `"`, `\\`, `\`)

// line logs one line; what has not our format (a crash's trace, the C library) is a warning as it stands.
func (w *lineWriter) line(text string) {
	parts := strings.SplitN(text, "|", 3)
	if level, ok := levels[parts[0]]; ok && len(parts) == 3 {
		if strings.Contains(parts[2], "marked as work-in-progress") {
			level = slog.LevelDebug // what the configuration needs is known to be that
		}
		w.log.Log(context.Background(), level, Clean(unescape.Replace(parts[2])), "logger", parts[1])
	} else if text != "" {
		w.log.Warn(Clean(text))
	}
}

// Drain lets a running Envoy finish: its health check fails and connections are told to go, while requests are still taken; when none is
// active, or half of ctx's time is over, it stops listening and waits for what is left. It returns ctx's error with requests still active.
func (p *Process) Drain(ctx context.Context) error {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		network := "tcp"
		if strings.Contains(p.Admin, "/") {
			network = "unix"
		}
		return new(net.Dialer).DialContext(ctx, network, p.Admin)
	}}}
	defer client.CloseIdleConnections()
	half := ctx
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		half, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	for _, phase := range []struct {
		ctx   context.Context
		posts []string
	}{{half, []string{"healthcheck/fail", "drain_listeners?graceful"}}, {ctx, []string{"drain_listeners"}}} {
		for _, post := range phase.posts {
			if _, err := admin(ctx, client, http.MethodPost, post); err != nil {
				return fmt.Errorf("drain envoy: %w", err)
			}
		}
		for {
			stats, err := admin(phase.ctx, client, http.MethodGet, `stats?filter=^http\..*\.downstream_rq_active$`)
			if err == nil && active(stats) == 0 {
				break
			}
			select {
			case <-time.After(50 * time.Millisecond):
				continue
			case <-phase.ctx.Done():
			}
			break
		}
	}
	return ctx.Err()
}

// active sums the gauges of requests in flight, without the admin's own.
func active(stats string) int {
	sum := 0
	for line := range strings.Lines(stats) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if n, err := strconv.Atoi(value); err == nil && name != "http.admin.downstream_rq_active" {
			sum += n
		}
	}
	return sum
}

func admin(ctx context.Context, client *http.Client, method, path string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://envoy/"+path, nil)
	if err != nil {
		return "", err
	}
	answer, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("admin %s: %s", path, answer.Status)
	}
	return string(body), err
}

// Clean bounds a peer's text for logs and status: 2 KiB, valid, one line.
func Clean(text string) string {
	if len(text) > 2048 {
		text = text[:2048]
	}
	return strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
}
