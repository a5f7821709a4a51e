package httpproxy

import (
	"io"
	"sync"
)

// One read of an answer: small for what comes in events, because open streams are many, and large while reads fill their buffer.
const (
	smallBuffer = 4 << 10
	largeBuffer = 32 << 10
)

var (
	smalls = sync.Pool{New: func() any { b := make([]byte, smallBuffer); return &b }}
	larges = sync.Pool{New: func() any { b := make([]byte, largeBuffer); return &b }}
)

// chunks reads an answer. A stream that waits for its next event holds the small buffer only, whatever came before.
type chunks struct {
	body  io.Reader
	small []byte
	large *[]byte // nil = not held
	full  bool    // the last read filled its buffer
}

// next reads once, into memory that is good until the next call.
func (r *chunks) next() ([]byte, error) {
	switch {
	case !r.full:
		r.close()
	case r.large == nil:
		r.large = larges.Get().(*[]byte)
	}
	buf := r.small
	if r.large != nil {
		buf = *r.large
	}
	n, err := r.body.Read(buf)
	r.full = n == len(buf)
	return buf[:n], err
}

func (r *chunks) close() {
	if r.large != nil {
		larges.Put(r.large)
		r.large = nil
	}
}
