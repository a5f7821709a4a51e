package proxy

import (
	"encoding/binary"
	"math/rand/v2"
)

// newID makes an exchange id. It has to be unique, not secret: the runtime's ChaCha8 source is both and needs no lock.
func newID() (id [16]byte) {
	binary.BigEndian.PutUint64(id[:8], rand.Uint64())
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	return id
}

func randFloat() float64 { return rand.Float64() }
