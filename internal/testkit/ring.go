package testkit

// ring is a queue of bytes that moves none of them when it is read, however little a read takes.
type ring struct {
	buf     []byte
	head, n int // the first byte, and how many there are
}

// read takes out what fits into b.
func (r *ring) read(b []byte) int {
	done := 0
	for done < len(b) && r.n > 0 {
		k := copy(b[done:], r.buf[r.head:min(r.head+r.n, len(r.buf))])
		r.head, r.n, done = (r.head+k)%len(r.buf), r.n-k, done+k
	}
	return done
}

// write puts b in, growing by doubles.
func (r *ring) write(b []byte) {
	if need := r.n + len(b); need > len(r.buf) {
		grown := make([]byte, max(need, 2*len(r.buf)))
		r.n = r.read(grown)
		r.buf, r.head = grown, 0
	}
	for len(b) > 0 {
		end := (r.head + r.n) % len(r.buf)
		k := copy(r.buf[end:min(end+len(r.buf)-r.n, len(r.buf))], b)
		r.n, b = r.n+k, b[k:]
	}
}
