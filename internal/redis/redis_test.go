package redis

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/sluice-gateway/sluice/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// listener keeps what a client says of its uses.
type listener struct {
	mu   sync.Mutex
	said []string
}

func (l *listener) changed(use string, away bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	word := " back"
	if away {
		word = " away"
	}
	l.said = append(l.said, use+word)
}

func open(t *testing.T, url string, timeout time.Duration, log *bytes.Buffer) (*Client, *listener) {
	t.Helper()
	l := new(listener)
	c, err := Open(Options{URL: url, Timeout: timeout, Changed: l.changed, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, l
}

func ping(c *Client, use string) error {
	return c.Run(context.Background(), use, func(ctx context.Context, r Commands) error { return r.Ping(ctx).Err() })
}

func TestRunAndMissing(t *testing.T) {
	m := miniredis.RunT(t)
	c, l := open(t, "redis://"+m.Addr(), 5*time.Second, new(bytes.Buffer))
	if err := ping(c, "cache"); err != nil {
		t.Fatal(err)
	}
	err := c.Run(t.Context(), "cache", func(ctx context.Context, r Commands) error { return r.Get(ctx, Prefix+"none").Err() })
	if !errors.Is(err, ErrMissing) || c.Away("cache") || len(l.said) > 0 {
		t.Errorf("%v, away %v, said %v", err, c.Away("cache"), l.said)
	}
}

// A use that lost the store is told once, leaves it alone for a rest, and is told once that it is back. Other uses know nothing of it.
func TestAwayAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down, log := true, new(bytes.Buffer)
		c, l := open(t, "redis://127.0.0.1:1", time.Second, log)
		calls := 0
		try := func() error {
			return c.Run(t.Context(), "limits", func(context.Context, Commands) error {
				if calls++; down {
					return errors.New("LOADING Redis is loading the dataset in memory")
				}
				return nil
			})
		}
		for range 10 {
			if try() == nil {
				t.Fatal("served")
			}
		}
		if calls != 1 || !c.Away("limits") || c.Away("budget") {
			t.Errorf("%d calls, away %v %v", calls, c.Away("limits"), c.Away("budget"))
		}
		for range 100 { // 50 s
			time.Sleep(rest)
			_ = try()
		}
		if calls != 101 || strings.Count(log.String(), "level=WARN") != 1 {
			t.Errorf("%d calls, log %s", calls, log)
		}
		time.Sleep(logEvery)
		_ = try()
		if n := strings.Count(log.String(), "level=WARN"); n != 2 {
			t.Errorf("%d warnings after more than a minute", n)
		}
		down = false
		if try(); !c.Away("limits") {
			t.Error("asked before its rest was over")
		}
		time.Sleep(rest)
		if err := try(); err != nil || c.Away("limits") {
			t.Errorf("still away: %v", err)
		}
		if !slices.Equal(l.said, []string{"limits away", "limits back"}) {
			t.Error(l.said)
		}
	})
}

// An error of one key does not keep the others from being asked.
func TestWrongType(t *testing.T) {
	m := miniredis.RunT(t)
	c, _ := open(t, "redis://"+m.Addr(), 5*time.Second, new(bytes.Buffer))
	if err := m.Set("text", "x"); err != nil {
		t.Fatal(err)
	}
	err := c.Run(t.Context(), "budget", func(ctx context.Context, r Commands) error { return r.HGetAll(ctx, "text").Err() })
	if err == nil || !c.Away("budget") {
		t.Fatalf("%v", err)
	}
	if err := ping(c, "budget"); err != nil || c.Away("budget") {
		t.Errorf("not asked: %v", err)
	}
}

// A server that takes connections and never answers holds nobody longer than the timeout.
func TestSilentServer(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c, _ := open(t, "redis://"+silent.Addr().String(), 50*time.Millisecond, new(bytes.Buffer))
	done := make(chan error, 1)
	go func() { done <- ping(c, "limits") }()
	select {
	case err := <-done:
		if err == nil {
			t.Error("served")
		}
	case <-time.After(time.Minute):
		t.Fatal("a call hangs")
	}
}

// The caller's own end is nobody's failure.
func TestCallerGone(t *testing.T) {
	m := miniredis.RunT(t)
	c, _ := open(t, "redis://"+m.Addr(), 5*time.Second, new(bytes.Buffer))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := c.Run(ctx, "limits", func(ctx context.Context, r Commands) error { return r.Ping(ctx).Err() })
	if err == nil || c.Away("limits") {
		t.Errorf("%v, away %v", err, c.Away("limits"))
	}
}

func TestOpenRefuses(t *testing.T) {
	const canary = "canary-password"
	for _, url := range []string{"", "http://x", "redis://:" + canary + "@host:port/0", "redis://u:" + canary + "@\x7f"} {
		_, err := Open(Options{URL: url, Timeout: time.Second})
		if err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := Open(Options{URL: "redis://127.0.0.1:1"}); err == nil {
		t.Error("no timeout")
	}
	for _, url := range []string{"rediss://u:p@host:6379/3", "redis://host:1?addr=host:2&addr=host:3"} {
		c, err := Open(Options{URL: url, Timeout: time.Second})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		_ = c.Close()
	}
}
