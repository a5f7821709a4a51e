package tenants

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/redis"
	"github.com/sluice-gateway/sluice/policies"
)

// A charge whose answer is lost is refused where the policy wants that. The store made it all the same: what it holds is given back as soon as the store is there.
func TestLostAnswer(t *testing.T) {
	m := miniredis.RunT(t)
	l := lose(t, m.Addr())
	s := l.shared(t, &policies.Redis{Limits: "refuse", Budget: "refuse"})
	c := spending1("x", 200)
	c.Slots = []SlotCharge{{Key: "tenant/a", Limit: 1}}
	other := shared(t, m, policies.Redis{})
	other.balance(t) // the script is there
	l.next.Store(loses)
	if r, err := s.Charge(t.Context(), c); !errors.Is(err, ErrUnavailable) {
		t.Fatal(r, err)
	}
	if b := other.balance(t); b.Held != 200 {
		t.Fatalf("the store has not made the charge: %+v", b)
	}
	l.next.Store(passes)
	harness.Until(t, "what was held is not given back", func() bool { return other.balance(t).Held == 0 })
	c = spending1("y", 0)
	c.Slots = []SlotCharge{{Key: "tenant/a", Limit: 1}}
	if r, err := other.Charge(t.Context(), c); err != nil || r.Refused >= 0 {
		t.Errorf("the slot is taken: %+v %v", r, err)
	}
}

// So is what a charge holds that its gateway refuses alone, when the answer is lost.
func TestLostAnswerRefusedAlone(t *testing.T) {
	m := miniredis.RunT(t)
	l := lose(t, m.Addr())
	s, other := l.shared(t, &policies.Redis{Limits: "local", Budget: "open"}), shared(t, m, policies.Redis{})
	slot := []SlotCharge{{Key: "tenant/a", Limit: 1}}
	free := func() bool {
		r, err := other.Charge(t.Context(), &Charge{ID: "reader", Slots: []SlotCharge{{Key: "tenant/a", Limit: 2}}})
		return err == nil && r.Slots[0] == 1 // its own, which lapses at once
	}
	if !free() { // the script is there
		t.Fatal("the slot is taken from the start")
	}
	s.local.charge(&Charge{ID: "alone", Hold: time.Hour, Slots: slot})
	l.next.Store(loses)
	if r, err := s.Charge(t.Context(), &Charge{ID: "x", Hold: time.Hour, Slots: slot}); err != nil || r.Refused != 0 {
		t.Fatal(r, err)
	}
	if free() {
		t.Fatal("the store has not made the charge")
	}
	l.next.Store(passes)
	harness.Until(t, "the slot is not given back", free)
}

// What a loser does with the next call of a script.
const (
	passes = iota
	loses  // its answer, and from then on it drops
	drops  // the call itself
)

// loser stands between a client and the store.
type loser struct {
	addr string
	next atomic.Int32
}

func lose(t *testing.T, to string) *loser {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &loser{addr: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(c, to) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return p
}

// shared is a store behind it.
func (p *loser) shared(t *testing.T, o *policies.Redis) *Shared {
	t.Helper()
	rdb, err := redis.Open(redis.Options{URL: "redis://" + p.addr, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	s, err := OpenShared(rdb, o, NewMemory())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// serve passes commands on, and answers back.
func (p *loser) serve(c net.Conn, to string) {
	defer c.Close()
	up, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	var script atomic.Bool // called over this connection
	var back sync.WaitGroup
	defer back.Wait()
	defer up.Close()
	back.Go(func() {
		defer c.Close()
		for b := make([]byte, 64<<10); ; {
			n, err := up.Read(b)
			if err != nil || script.Load() && p.next.CompareAndSwap(loses, drops) {
				return
			}
			if _, err := c.Write(b[:n]); err != nil {
				return
			}
		}
	})
	for b := make([]byte, 64<<10); ; {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		if bytes.Contains(bytes.ToLower(b[:n]), []byte("evalsha")) {
			if p.next.Load() == drops {
				return
			}
			script.Store(true)
		}
		if _, err := up.Write(b[:n]); err != nil {
			return
		}
	}
}
