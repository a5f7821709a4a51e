package testkit

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func TestRingIsAQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r ring
		var want []byte
		next := byte(0)
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				b := make([]byte, rapid.IntRange(0, 40).Draw(t, "n"))
				for i := range b {
					next++
					b[i] = next
				}
				r.write(b)
				want = append(want, b...)
			},
			"read": func(t *rapid.T) {
				b := make([]byte, rapid.IntRange(0, 40).Draw(t, "n"))
				n := r.read(b)
				if n != min(len(b), len(want)) || !bytes.Equal(b[:n], want[:n]) {
					t.Fatalf("read %x of %x", b[:n], want)
				}
				want = want[n:]
			},
			"": func(t *rapid.T) {
				if r.n != len(want) {
					t.Fatalf("%d bytes are held, not %d", r.n, len(want))
				}
			},
		})
	})
}
