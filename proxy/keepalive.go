package proxy

import (
	"net/http"
	"time"
)

// silence is how long the client of a stream may be left without a byte: less than the 15 s after which the most impatient give up.
const silence = 14 * time.Second

var keepAlive = []byte(": keep-alive\n\n")

// The states of the door to the client, which a plane's timer and the phases agree on.
const (
	doorShut      uint32 = iota
	doorOpened           // a head and comments went out before there was an answer (keepalive: early)
	doorCommitted        // the answer has begun
	doorClosed           // the exchange has spoken its last word
)

// Silence is how long the plane may leave the client without a byte before it calls Break; 0 = for ever.
func (x *Exchange) Silence() time.Duration {
	if !x.quiets() || x.route.Keepalive == "off" {
		return 0
	}
	return silence
}

// quiets reports whether the client waits for a stream whose events Sluice knows: a comment between two of them does no harm.
func (x *Exchange) quiets() bool {
	return x.route != nil && x.mode == BodyWhole && x.env.Stream && x.env.Op.Generates()
}

// Break breaks the silence: it returns the comment to send, after the head with the status if that is not 0; nil = nothing may be sent now. A
// plane calls it when the client has every byte that it was given, from any goroutine.
func (x *Exchange) Break() (status int, fields []Field, comment []byte) {
	if d := x.Deadline(); !d.IsZero() && !time.Now().Before(d) {
		return 0, nil, nil // what follows from that comes first
	}
	switch x.door.Load() {
	case doorOpened, doorCommitted:
		return 0, nil, keepAlive
	case doorShut:
		if early := x.early.Load(); early != nil && x.door.CompareAndSwap(doorShut, doorOpened) {
			return http.StatusOK, *early, keepAlive
		}
	}
	return 0, nil, nil
}

// openEarly lets Break open the answer before there is one, where the route says so. Who will answer is not known by then.
func (x *Exchange) openEarly() {
	if x.quiets() && x.route.Keepalive == "early" && x.door.Load() == doorShut {
		fields := x.fields([]Field{{"Content-Type", "text/event-stream"}, {"Cache-Control", "no-cache"}}, nil)
		x.early.Store(&fields)
	}
}

// opened reports whether the client got a head before there was an answer.
func (x *Exchange) opened() bool { return x.door.Load() == doorOpened }
