package httpproxy

import (
	"bytes"
	"io"
	"testing"
)

// bursts is a body that comes in bursts; a read that meets a burst's beginning has waited for it.
type bursts struct {
	sizes  []int
	left   int   // of the burst that is coming in
	waited []int // with how large a buffer each was waited for
}

func (b *bursts) Read(p []byte) (int, error) {
	if b.left == 0 {
		if len(b.sizes) == 0 {
			return 0, io.EOF
		}
		b.left, b.sizes = b.sizes[0], b.sizes[1:]
		b.waited = append(b.waited, len(p))
	}
	n := min(len(p), b.left)
	copy(p, bytes.Repeat([]byte{byte(len(b.sizes))}, n))
	b.left -= n
	return n, nil
}

// TestChunks: an answer in bursts comes whole, and no large buffer is held in wait for the next burst.
func TestChunks(t *testing.T) {
	body := &bursts{sizes: []int{10, smallBuffer - 1, smallBuffer + 1, largeBuffer, 1, 3 * largeBuffer, 10}}
	var want []byte
	for i, n := range body.sizes {
		want = append(want, bytes.Repeat([]byte{byte(len(body.sizes) - i - 1)}, n)...)
	}
	in := &chunks{body: body, small: make([]byte, smallBuffer)}
	defer in.close()
	var got []byte
	for {
		b, err := in.next()
		if got = append(got, b...); err != nil {
			break
		}
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes came, want %d", len(got), len(want))
	}
	for i, n := range body.waited {
		if n != smallBuffer {
			t.Errorf("burst %d was waited for with %d bytes", i, n)
		}
	}
}
