package httpproxy

import (
	"net/http"
	"sync"
	"time"
)

// quiet sees to it that a client that waits for a stream is not left without a byte for long. While it is armed its timer writes to the client
// too, between two writes of the call, so everything that goes to the client does so under its lock.
type quiet struct {
	mu    sync.Mutex
	c     *call
	every time.Duration // 0 = not armed
	last  time.Time     // of the last byte
	timer *time.Timer
	over  bool
}

// arm starts the watch, or lets it go on; silence is what the exchange allows.
func (q *quiet) arm(c *call, silence time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if silence == 0 || q.every != 0 || q.over {
		return
	}
	q.c, q.every, q.last = c, silence, time.Now()
	q.timer = time.AfterFunc(silence, q.fire)
}

// fire looks how long the silence has been; the timer is not reset with every event.
func (q *quiet) fire() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.over {
		return
	}
	if left := q.every - time.Since(q.last); left > 0 {
		q.timer.Reset(left)
		return
	}
	q.last = time.Now()
	q.timer.Reset(q.every)
	status, fields, comment := q.c.x.Break()
	switch {
	case comment == nil:
		return
	case status != 0 && !q.c.sent:
		q.c.sent = true
		setHeader(q.c.w.Header(), fields)
		q.c.w.WriteHeader(status)
	case !q.c.sent: // it is just about to be
		return
	}
	q.c.say(comment)
}

// say writes to a client that may not be reading, within unreadTime. A client that has gone is found by whoever waits for the upstream.
func (c *call) say(p []byte) {
	rc := http.NewResponseController(c.w)
	_ = rc.SetWriteDeadline(time.Now().Add(unreadTime)) // not supported = nobody to wait for
	if _, err := c.w.Write(p); err != nil || rc.Flush() != nil {
		return
	}
	_ = rc.SetWriteDeadline(time.Time{})
	if c.hung.Load() {
		c.hangUp()
	}
}

// stop ends the watch: nothing is written after it.
func (q *quiet) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.over = true
	if q.timer != nil {
		q.timer.Stop()
	}
}
