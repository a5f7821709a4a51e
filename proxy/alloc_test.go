//go:build !race

package proxy_test

import (
	"testing"

	"github.com/sluice-gateway/sluice/proxy"
)

// The ceilings of allocations: of all phases of a pass-through unary exchange, and of an event of a passing stream.
const (
	unaryCeiling = 40
	eventCeiling = 0
)

func TestUnaryAllocations(t *testing.T) {
	r := newRig(t, false)
	if n := testing.AllocsPerRun(200, func() { r.unary(t) }); n > unaryCeiling {
		t.Errorf("%v allocations an exchange, at most %d", n, unaryCeiling)
	}
}

func TestPassEventAllocations(t *testing.T) {
	r := newRig(t, true)
	x := r.stream(t)
	n := testing.AllocsPerRun(200, func() {
		if _, v := x.Write(r.dst[:0], passEvent, false); v.Action != proxy.More {
			t.Fatal(v)
		}
	})
	x.End()
	if n > eventCeiling {
		t.Errorf("%v allocations an event, at most %d", n, eventCeiling)
	}
}
