package httpproxy

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/proxy"
)

// watch cancels an attempt when the exchange's deadline has passed. The deadline moves with every event, so the timer is not reset each
// time: when it fires it looks again, and it is reset only for a deadline that came nearer. An attempt that is not over some time after
// that waits for a client that does not read, and then the client is hung up on: it must not hold the upstream's slot for ever. A deadline that passes while
// the client takes what it was given says nothing of the upstream: the client has some more time, and then the upstream has its own again.
type watch struct {
	x      *proxy.Exchange
	cancel context.CancelFunc
	hangUp func() // breaks the client's connection

	sending atomic.Bool // the client is written to
	late    atomic.Bool // and was when the deadline passed

	mu      sync.Mutex
	timer   *time.Timer
	armed   time.Time
	expired bool
	stopped bool
	ended   bool // the process ends
}

// unreadTime is how long after a passed deadline a client may go on not reading.
const unreadTime = 15 * time.Second

func newWatch(x *proxy.Exchange, cancel context.CancelFunc, hangUp func()) *watch {
	w := &watch{x: x, cancel: cancel, hangUp: hangUp}
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
	case w.stopped || w.expired:
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
	if w.expired {
		w.hangUp()
		return
	}
	if left := time.Until(d); left > 0 {
		w.armed = d
		w.timer.Reset(left)
		return
	}
	if w.sending.Load() {
		if w.late.Swap(true) {
			w.hangUp()
			return
		}
		w.timer.Reset(unreadTime)
		return
	}
	w.expired = true
	w.timer.Reset(unreadTime)
	w.cancel()
}

// sent says that the client has taken what it was given.
func (w *watch) sent() {
	w.sending.Store(false)
	if !w.late.Load() {
		return
	}
	w.x.Taken()
	d := w.x.Deadline()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.late.Store(false)
	if !w.stopped && !w.expired {
		w.armed = d
		w.timer.Reset(time.Until(d))
	}
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
