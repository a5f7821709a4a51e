package httpproxy

import (
	"fmt"
	"time"

	"github.com/sluice-gateway/sluice/proxy"
)

// next reads on. While the beginning of a stream is held back for a time, it is let go when that has passed, whatever the upstream does; not nil = that has ended the
// attempt.
func (c *call) next(in *chunks, watch *watch) ([]byte, error, *proxy.Verdict) {
	until := c.x.HeldUntil()
	if until.IsZero() {
		chunk, err := in.next()
		return chunk, err, nil
	}
	type reading struct {
		chunk []byte
		err   error
	}
	read := make(chan reading, 1)
	go func() {
		var r reading
		defer func() {
			if v := recover(); v != nil { // of whatever reads the body: one answer ends, not the process
				r.err = fmt.Errorf("panic: %v", v)
			}
			read <- r
		}()
		r.chunk, r.err = in.next()
	}()
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case r := <-read:
		return r.chunk, r.err, nil
	case <-t.C:
	}
	var v proxy.Verdict
	c.out, v = c.x.Overdue(c.out[:0])
	v, over := c.give(v, watch)
	if over {
		watch.cancel() // the reader must be gone before its buffer is another's
	}
	r := <-read
	if over {
		return nil, nil, &v
	}
	return r.chunk, r.err, nil
}
