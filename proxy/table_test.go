package proxy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/telemetry"
)

const tablePolicy = `version: 1
providers:
  pool: {engine: vllm, endpoints: [http://pool.test:8000, http://pool.test:8001]}
models:
  small: {provider: pool, name: small-1b, context: 8k}
routes:
  direct: {carrier: envoy, rules: [{name: all, use: [small]}]}
`

// tableWorld is a gateway with a table, and the records that came of it.
type tableWorld struct {
	gateway *proxy.Gateway
	table   *proxy.Table

	mu      sync.Mutex
	records map[[16]byte]int
	last    *telemetry.Record
}

func newTableWorld(t testing.TB) *tableWorld {
	w := &tableWorld{table: proxy.NewTable(), records: map[[16]byte]int{}}
	w.gateway = proxy.NewGateway(compile(t, []byte(tablePolicy)), proxy.Options{Router: router.New(router.Options{}), Emit: func(r *telemetry.Record) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.records[r.ID]++
		w.last = r
	}})
	return w
}

func (w *tableWorld) begin() *proxy.Exchange {
	x, reply := w.gateway.Begin(context.Background(), proxy.Head{Method: http.MethodPost, URL: &url.URL{Path: "/v1/chat/completions"}, Header: http.Header{}, ContentLength: -1, Plane: "envoy"})
	if reply != nil {
		panic(string(reply.Body))
	}
	w.table.Add(x)
	return x
}

var tableBody, _ = json.Marshal(map[string]any{"model": "direct", "stream": true, "messages": []any{map[string]any{"role": "user", "content": "hello there"}}})

// prepare has the exchange decided and its first attempt made for Envoy.
func (w *tableWorld) prepare(x *proxy.Exchange) bool {
	return w.table.Step(x, proxy.OwnerOpen, func() proxy.Owner {
		if _, reply := x.Request(tableBody); reply != nil {
			panic(string(reply.Body))
		}
		if ok, why := x.Direct(); !ok {
			panic(why)
		}
		if _, v := x.Attempt(0); v.Action != proxy.More {
			panic(fmt.Sprint(v))
		}
		x.Carry()
		return proxy.OwnerOpen
	})
}

func (w *tableWorld) direct(x *proxy.Exchange) bool {
	return w.table.Step(x, proxy.OwnerOpen, func() proxy.Owner {
		x.DirectHead(200, http.Header{"Content-Type": {"text/event-stream"}})
		return proxy.OwnerDirect
	})
}

// slots is how many requests the pool believes to be in flight.
func (w *tableWorld) slots() (n int) {
	for _, e := range w.gateway.Pools().Pool("pool").Status() {
		n += e.Inflight
	}
	return n
}

// tableModel is what must hold of one exchange.
type tableModel struct {
	x        *proxy.Exchange
	owner    proxy.Owner
	prepared bool
	resumed  bool
}

// TestTableMachine runs the steps of ext_proc, executor, logs, sweep and reload in every order: an exchange goes from open over direct or claimed
// to ended, by whoever may; it is run once, ends once, with one record; and its slot is given back.
func TestTableMachine(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		w := newTableWorld(tb)
		var all []*tableModel
		some := func(t *rapid.T) *tableModel {
			if len(all) == 0 {
				t.Skip("no exchange")
			}
			return all[rapid.IntRange(0, len(all)-1).Draw(t, "exchange")]
		}
		end := func(t *rapid.T, m *tableModel, from proxy.Owner, ok bool, outcome string) {
			if want := m.owner == from; ok != want {
				t.Fatalf("ended from %v: %v, owner %v", from, ok, m.owner)
			}
			if ok {
				m.owner = proxy.OwnerEnded
				if w.last.ID != m.x.ID() || w.last.Outcome != outcome {
					t.Fatalf("outcome %s, want %s", w.last.Outcome, outcome)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"begin": func(t *rapid.T) {
				if len(all) < 8 {
					all = append(all, &tableModel{x: w.begin()})
				}
			},
			"prepare": func(t *rapid.T) {
				m := some(t)
				if m.prepared || m.owner != proxy.OwnerOpen {
					t.Skip("not now")
				}
				m.prepared = w.prepare(m.x)
			},
			"direct": func(t *rapid.T) {
				m := some(t)
				if !m.prepared {
					t.Skip("not now")
				}
				if ok := w.direct(m.x); ok != (m.owner == proxy.OwnerOpen) {
					t.Fatalf("direct: %v, owner %v", ok, m.owner)
				} else if ok {
					m.owner = proxy.OwnerDirect
				}
			},
			"the stage's end": func(t *rapid.T) {
				m := some(t)
				end(t, m, proxy.OwnerOpen, w.table.End(m.x, proxy.OwnerOpen, nil), "client_gone")
			},
			"claim": func(t *rapid.T) {
				m := some(t)
				if !m.prepared {
					t.Skip("not now")
				}
				x, known := w.table.Claim(m.x.ID())
				if (x != nil) != (m.owner == proxy.OwnerOpen) || known != (m.owner != proxy.OwnerEnded) {
					t.Fatalf("claim: %v, known %v, owner %v", x != nil, known, m.owner)
				}
				if x != nil {
					m.owner = proxy.OwnerClaimed
				}
			},
			"resume": func(t *rapid.T) {
				m := some(t)
				if m.owner != proxy.OwnerClaimed || m.resumed {
					t.Skip("not now")
				}
				m.resumed = true
				var why *proxy.Failure
				select {
				case f := <-m.x.Learned():
					why = &f
				default:
				}
				if v := m.x.Resume(why); v.Action == proxy.Next {
					m.x.Attempt(v.Attempt)
				}
			},
			"the executor's end": func(t *rapid.T) {
				m := some(t)
				if m.owner == proxy.OwnerClaimed && !m.resumed {
					t.Skip("not now")
				}
				ok := w.table.End(m.x, proxy.OwnerClaimed, func(x *proxy.Exchange) { x.Fail(proxy.CauseClientGone, nil) })
				if ok != (m.owner == proxy.OwnerClaimed) {
					t.Fatalf("ended: %v, owner %v", ok, m.owner)
				}
				if ok {
					m.owner = proxy.OwnerEnded
				}
			},
			"log of the attempt": func(t *rapid.T) { some(t).x.Learn(proxy.Failure{Status: 500}) },
			"log of the request": func(t *rapid.T) {
				m := some(t)
				end(t, m, proxy.OwnerDirect, w.table.End(m.x, proxy.OwnerDirect, func(x *proxy.Exchange) { x.Settle(proxy.DirectEnd{BytesOut: 10}) }), "ok")
			},
			"early sweep": func(t *rapid.T) {
				if n := w.table.Sweep(time.Now(), time.Second, nil); n != 0 {
					t.Fatalf("%d exchanges swept before their limit", n)
				}
			},
			"late sweep": func(t *rapid.T) {
				want := 0
				for _, m := range all {
					if m.prepared && (m.owner == proxy.OwnerOpen || m.owner == proxy.OwnerDirect) {
						m.owner = proxy.OwnerEnded
						want++
					}
				}
				if n := w.table.Sweep(time.Now().Add(time.Hour), 0, nil); n != want {
					t.Fatalf("%d exchanges swept, want %d", n, want)
				}
			},
			"reload": func(t *rapid.T) { w.gateway.Swap(compile(tb, []byte(tablePolicy))) },
			"": func(t *rapid.T) {
				waiting := 0
				for _, m := range all {
					ended := m.owner == proxy.OwnerEnded
					if !ended {
						waiting++
					}
					if m.x.Owner() != m.owner || (w.table.Find(m.x.ID()) == nil) != ended {
						t.Fatalf("owner %v, want %v", m.x.Owner(), m.owner)
					}
					if n := w.records[m.x.ID()]; n > 1 || (n == 1) != ended {
						t.Fatalf("%d records, owner %v", n, m.owner)
					}
				}
				if n, _, _ := w.table.Counts(); int(n) != waiting || int(w.gateway.Inflight()) != waiting {
					t.Fatalf("%d in the table, %d in flight, want %d", n, w.gateway.Inflight(), waiting)
				}
				if waiting == 0 && w.slots() != 0 {
					t.Fatalf("%d slots are out", w.slots())
				}
			},
		})
	})
}

// TestTableHammer lets everybody reach for the same exchanges at once: each is had by one.
func TestTableHammer(t *testing.T) {
	const n = 300
	w := newTableWorld(t)
	xs := make([]*proxy.Exchange, n)
	for i := range xs {
		xs[i] = w.begin()
		w.prepare(xs[i])
	}
	runs := make([]int, n) // written by the one who claimed
	var all sync.WaitGroup
	each := func(f func(i int, x *proxy.Exchange)) {
		all.Go(func() {
			for i, x := range xs {
				f(i, x)
			}
		})
	}
	for range 2 {
		each(func(_ int, x *proxy.Exchange) { w.direct(x) })
		each(func(i int, x *proxy.Exchange) {
			if c, _ := w.table.Claim(x.ID()); c != nil {
				runs[i]++
				c.Resume(nil)
				w.table.End(c, proxy.OwnerClaimed, nil)
			}
		})
		each(func(_ int, x *proxy.Exchange) { x.Learn(proxy.Failure{Status: 500}) })
		each(func(_ int, x *proxy.Exchange) {
			w.table.End(x, proxy.OwnerDirect, func(x *proxy.Exchange) { x.Settle(proxy.DirectEnd{}) })
		})
	}
	each(func(i int, x *proxy.Exchange) {
		if i%7 == 0 {
			w.table.End(x, proxy.OwnerOpen, nil)
		}
	})
	all.Go(func() {
		for range 20 {
			w.table.Sweep(time.Now(), 0, nil)
			w.gateway.Swap(w.gateway.Snapshot().Policy)
		}
	})
	all.Wait()
	w.table.Sweep(time.Now().Add(time.Hour), 0, nil)
	for i, x := range xs {
		if runs[i] > 1 || w.records[x.ID()] != 1 {
			t.Errorf("exchange %d: run %d times, %d records", i, runs[i], w.records[x.ID()])
		}
	}
	if waiting, _, _ := w.table.Counts(); waiting != 0 || w.gateway.Inflight() != 0 || w.slots() != 0 {
		t.Errorf("%d wait, %d open, %d slots out", waiting, w.gateway.Inflight(), w.slots())
	}
}
