package httpproxy

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/proxy"
)

// watch cancels an attempt when the exchange's deadline has passed. The deadline moves with every event, so the timer is not reset each
// time: when it fires it looks again, and it is reset only for a deadline that came nearer.
type watch struct {
	x      *proxy.Exchange
	cancel context.CancelFunc

	mu      sync.Mutex
	timer   *time.Timer
	armed   time.Time
	expired bool
	stopped bool
}

func newWatch(x *proxy.Exchange, cancel context.CancelFunc) *watch {
	w := &watch{x: x, cancel: cancel}
	w.look()
	return w
}

// look arms the timer for the deadline in force.
func (w *watch) look() {
	d := w.x.Deadline()
	if d.IsZero() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.stopped:
	case w.timer == nil:
		w.armed = d
		w.timer = time.AfterFunc(time.Until(d), w.fire)
	case d.Before(w.armed):
		w.armed = d
		w.timer.Reset(time.Until(d))
	}
}

func (w *watch) fire() {
	d := w.x.Deadline()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	if left := time.Until(d); left > 0 {
		w.armed = d
		w.timer.Reset(left)
		return
	}
	w.expired = true
	w.cancel()
}

func (w *watch) hasExpired() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.expired
}

func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

const (
	drainTime  = 250 * time.Millisecond
	drainBytes = 64 << 10
)

// drain reads what follows an answer's end mark, so that the upstream's connection can be used again. An upstream that does not end its body
// soon loses the connection instead.
func (w *watch) drain(body io.Reader, buf []byte) {
	w.stop()
	t := time.AfterFunc(drainTime, w.cancel)
	defer t.Stop()
	for left := drainBytes; left > 0; {
		n, err := body.Read(buf)
		if err != nil {
			return
		}
		left -= n
	}
}
