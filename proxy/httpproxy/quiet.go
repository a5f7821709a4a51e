package httpproxy

import (
	"net/http"
	"time"
)

// quiet sees to it that a client that waits for a stream is not left without a byte for long. While it is armed its timer writes to the client
// too, between two writes of the call, so everything that goes to the client does so in turn.
type quiet struct {
	turn  chan struct{} // holds whoever writes; nil = not armed, the call writes alone
	c     *call
	every time.Duration
	last  time.Time // of the last byte
	timer *time.Timer
	over  bool
}

func (q *quiet) lock() {
	if q.turn != nil {
		q.turn <- struct{}{}
	}
}

func (q *quiet) unlock() {
	if q.turn != nil {
		<-q.turn
	}
}

// arm starts the watch unless it is on; silence is what the exchange allows. It is the call's to arm and to stop.
func (q *quiet) arm(c *call, silence time.Duration) {
	if silence == 0 || q.turn != nil {
		return
	}
	q.c, q.every, q.last, q.turn = c, silence, time.Now(), make(chan struct{}, 1)
	q.lock()
	defer q.unlock()
	q.timer = time.AfterFunc(silence, q.fire)
}

// fire looks how long the silence has been; the timer is not reset with every event.
func (q *quiet) fire() {
	q.lock()
	defer q.unlock()
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
		q.c.setHead(fields)
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
	q.lock()
	defer q.unlock()
	q.over = true
	if q.timer != nil {
		q.timer.Stop()
	}
}
