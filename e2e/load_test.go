//go:build real

package e2e

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluice-gateway/sluice/internal/harness"
)

// load is a set of clients that ask one request after the other until they are told to stop.
type load struct {
	answered atomic.Int64
	stop     context.CancelFunc
	clients  sync.WaitGroup

	mu     sync.Mutex
	failed []error
}

// startLoad starts n clients. one makes the k-th request of all and returns what was wrong with its answer.
func startLoad(t *testing.T, n int, one func(k int64) error) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop}
	var next atomic.Int64
	for range n {
		l.clients.Go(func() {
			for ctx.Err() == nil {
				if err := one(next.Add(1)); err != nil {
					l.fail(err)
					continue
				}
				l.answered.Add(1)
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, err)
}

// more waits for n further answers.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	want := l.answered.Load() + n
	harness.Poll(t, fmt.Sprintf("%d more answers", n), func() error {
		if got := l.answered.Load(); got < want {
			return fmt.Errorf("%d of %d; failed: %v", got, want, l.errors())
		}
		return nil
	})
}

// end lets what is under way finish.
func (l *load) end() {
	l.stop()
	l.clients.Wait()
}

func (l *load) errors() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]error(nil), l.failed...)
}

// check ends the load and fails the test for every request that was lost.
func (l *load) check(t *testing.T) {
	t.Helper()
	l.end()
	for _, err := range l.errors() {
		t.Error(err)
	}
	t.Logf("%d answers", l.answered.Load())
}
