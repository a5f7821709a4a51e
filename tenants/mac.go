package tenants

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"sync/atomic"

	"github.com/sluice-gateway/sluice/policies"
)

// mac is HMAC-SHA-256 under one pepper. It is used again and again, since making one costs more than using it.
type mac struct {
	h   hash.Hash
	buf []byte
}

func newMAC(pepper string) *mac { return &mac{h: hmac.New(sha256.New, []byte(pepper))} }

func (m *mac) of(key string) (sum [sha256.Size]byte) {
	m.h.Reset()
	m.buf = append(m.buf[:0], key...)
	m.h.Write(m.buf)
	clear(m.buf)
	m.buf = m.h.Sum(m.buf[:0])
	copy(sum[:], m.buf)
	return sum
}

// pepper is a secret with the macs made for its present value.
type pepper struct {
	secret policies.Secret
	macs   atomic.Pointer[macs]
}

// idleMACs is how many macs wait for their next use: more than are computed at once.
const idleMACs = 16

// macs are idle macs for one value of a pepper.
type macs struct {
	value string
	idle  chan *mac
}

// mac returns the key's MAC; false when there is no pepper, for then anybody could make one.
func (p *pepper) mac(key string) (sum [sha256.Size]byte, ok bool) {
	value := p.secret.Reveal()
	if value == "" {
		return sum, false
	}
	ms := p.macs.Load()
	if ms == nil || ms.value != value { // the first use, or a refreshed file
		ms = &macs{value: value, idle: make(chan *mac, idleMACs)}
		p.macs.Store(ms)
	}
	var m *mac
	select {
	case m = <-ms.idle:
	default:
		m = newMAC(value)
	}
	sum = m.of(key)
	select {
	case ms.idle <- m:
	default:
	}
	return sum, true
}
