package httpproxy

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/sluice-gateway/sluice/proxy"
)

// next reads on. While the beginning of a stream is held back for a time, it is let go when that has passed, whatever the upstream does; not nil = that has ended the
// attempt.
func (c *call) next(in *chunks, watch *watch) (chunk []byte, over *proxy.Verdict, err error) {
	until := c.x.HeldUntil()
	if until.IsZero() {
		chunk, err = in.next()
		return chunk, nil, err
	}
	type reading struct {
		chunk []byte
		err   error
	}
	read := make(chan reading, 1)
	own := *in                   // so that what every attempt has is no memory of its own because of this
	defer func() { *in = own }() // the reader is gone by then
	go func() {
		var r reading
		defer func() {
			if v := recover(); v != nil { // of whatever reads the body: one answer ends, not the process
				if c.h.panicked != nil {
					c.h.panicked(v, debug.Stack())
				}
				r.err = fmt.Errorf("panic: %v", v)
			}
			read <- r
		}()
		r.chunk, r.err = own.next()
	}()
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case r := <-read:
		return r.chunk, nil, r.err
	case <-t.C:
	}
	waits := false
	defer func() {
		if !waits { // the reader must be gone before its buffer is another's, also where something panicked
			watch.cancel()
			<-read
		}
	}()
	if v, ends := c.overdue(watch); ends {
		return nil, &v, nil
	}
	waits = true
	r := <-read
	return r.chunk, nil, r.err
}

// overdue lets go what was held back, or not; true = the verdict ends the attempt.
func (c *call) overdue(watch *watch) (proxy.Verdict, bool) {
	if v, over := c.absent(); over {
		return v, true
	}
	var v proxy.Verdict
	c.out, v = c.x.Overdue(c.out[:0])
	return c.give(v, watch)
}
