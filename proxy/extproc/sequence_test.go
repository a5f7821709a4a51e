package extproc_test

import (
	"flag"
	"strconv"
	"sync"
	"testing"
	"time"

	ext "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"pgregory.net/rapid"
)

// vocabulary are the messages of which sequences are made.
var vocabulary = []func() *ext.ProcessingRequest{
	func() *ext.ProcessingRequest { return post() },
	func() *ext.ProcessingRequest { return requestBody(chat("direct")) },
	func() *ext.ProcessingRequest { return requestBody(chat("carried")) },
	func() *ext.ProcessingRequest { return requestBody("{") },
	func() *ext.ProcessingRequest {
		return responseHead(false, "ext-cluster", ":status", "200")
	},
	func() *ext.ProcessingRequest {
		return responseHead(false, "ext-cluster", ":status", "500")
	},
	func() *ext.ProcessingRequest {
		return responseHead(true, "ext-cluster", ":status", "429")
	},
	func() *ext.ProcessingRequest {
		return responseHead(false, "", ":status", "413")
	},
	func() *ext.ProcessingRequest { return responseBody("x") },
	func() *ext.ProcessingRequest {
		return requestHead(true, ":method", "POST", ":path", "/v1/chat/completions")
	},
	func() *ext.ProcessingRequest {
		return requestHead(false, ":method", "POST", ":path", "/v1/files", "content-type", "multipart/form-data; boundary=b")
	},
	func() *ext.ProcessingRequest {
		return requestHead(false, ":method", "GET", ":path", "\x00", "", "", "x bad\x00name", "\xff")
	},
	func() *ext.ProcessingRequest {
		return responseHead(false, "ext-cluster", ":status", "abc", "", "")
	},
	func() *ext.ProcessingRequest { return &ext.ProcessingRequest{} },
	func() *ext.ProcessingRequest {
		return &ext.ProcessingRequest{Request: &ext.ProcessingRequest_RequestHeaders{}}
	},
	func() *ext.ProcessingRequest {
		return &ext.ProcessingRequest{Request: &ext.ProcessingRequest_ResponseTrailers{ResponseTrailers: &ext.HttpTrailers{}}}
	},
}

// FuzzSequence says messages in any order: no step panics, every exchange ends once, and nothing is left of it.
func FuzzSequence(f *testing.F) {
	f.Add([]byte{0, 1, 4})
	f.Add([]byte{0, 1, 5, 8})
	f.Add([]byte{0, 2, 6})
	f.Add([]byte{0, 7, 8})
	f.Add([]byte{9, 10, 11})
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		k := w.talk()
		k.t = t
		for _, i := range b[:min(len(b), 8)] {
			k.send(vocabulary[int(i)%len(vocabulary)]())
		}
		_ = k.g.CloseSend()
		for {
			if _, err := k.g.Recv(); err != nil {
				break
			}
		}
		k.cancel()
		w.table.Sweep(time.Now().Add(time.Hour), 0, nil) // what is direct has no log here
		waiting, _, _ := w.table.Counts()
		w.mu.Lock()
		defer w.mu.Unlock()
		ids := map[[16]byte]bool{}
		for _, r := range w.records {
			if ids[r.ID] {
				t.Errorf("two records of %x", r.ID)
			}
			ids[r.ID] = true
		}
		w.records = w.records[:0]
		if len(w.panics) > 0 || waiting != 0 || w.gateway.Inflight() != 0 {
			t.Errorf("panics %v, %d wait, %d open", w.panics, waiting, w.gateway.Inflight())
		}
	})
}

var streams = flag.Int("streams", 2000, "streams of TestManyStreams; 10000 is what a gateway is made for")

// TestManyStreams holds many direct answers open at once, and ends each by its log.
func TestManyStreams(t *testing.T) {
	n := *streams
	w := newWorld(t)
	ids := make(chan string, n)
	work := make(chan struct{}, n)
	for range n {
		work <- struct{}{}
	}
	close(work)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range work {
				k := w.talk()
				k.say(post())
				k.say(requestBody(chat("direct")))
				r := k.say(responseHead(false, "ext-cluster", ":status", "200"))
				ids <- setHeaders(r.GetResponseHeaders().GetResponse().GetHeaderMutation())["x-sluice-request-id"]
			}
		})
	}
	all.Wait()
	if c := w.server.Counts(); c.Streams != int64(n) || c.Waiting != int64(n) || c.Direct != int64(n) {
		t.Errorf("%+v", c)
	}
	l := w.logs()
	for range n {
		l.send(whole(<-ids, nil))
	}
	for range n {
		<-w.arrived
	}
	w.settled(n)
}

// TestRandomWorlds runs requests with random ends side by side: one record each, nothing left.
func TestRandomWorlds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		kinds := rapid.SliceOfN(rapid.IntRange(0, 4), 1, 12).Draw(rt, "kinds")
		w := newWorld(t)
		w.upstream = answering(sse)
		l := w.logs()
		var mu sync.Mutex
		var all sync.WaitGroup
		for _, kind := range kinds {
			all.Go(func() {
				k := w.talk()
				id, r := k.opened("direct")
				if len(chainOf(t, r)) == 1 { // the target's breaker is open by now
					w.claim(id, false)
					return
				}
				switch kind {
				case 0, 1: // carried; its log comes before or after the stream's end
					k.say(responseHead(false, "ext-cluster", ":status", "200"))
					if kind == 1 {
						k.cancel()
					}
					mu.Lock()
					l.send(try(id, "ext-cluster", 200, nil, nil), whole(id, map[string]any{"input": 1, "output": 2}))
					mu.Unlock()
				case 2: // taken over
					mu.Lock()
					l.send(try(id, "ext-cluster", 500, nil, nil))
					mu.Unlock()
					w.claim(id, true)
					k.say(responseHead(false, "sluice_executor", ":status", "200"))
				case 3: // the client leaves while the executor claims
					mu.Lock()
					l.send(try(id, "ext-cluster", 0, nil, nil))
					mu.Unlock()
					go k.cancel()
					w.claim(id, true)
					mu.Lock()
					l.send(left(id))
					mu.Unlock()
				default:
					k.cancel()
					mu.Lock()
					l.send(left(id))
					mu.Unlock()
				}
			})
		}
		all.Wait()
		for range kinds {
			w.record()
		}
		w.settled(len(kinds))
	})
}

// BenchmarkStream is one direct request: three messages of ext_proc and two log entries, with the client's side of gRPC in memory.
func BenchmarkStream(b *testing.B) {
	for _, size := range []int{1, 64} {
		b.Run(strconv.Itoa(size)+"k", func(b *testing.B) {
			w := newWorld(b)
			l := w.logs()
			body := requestBody(`{"model":"direct","stream":true,"messages":[{"role":"user","content":"` + filler(size<<10-200) + `"}]}`)
			head, answer := post(), responseHead(false, "ext-cluster", ":status", "200")
			b.ReportAllocs()
			for b.Loop() {
				k := w.talk()
				k.say(head)
				k.say(body)
				r := k.say(answer)
				id := setHeaders(r.GetResponseHeaders().GetResponse().GetHeaderMutation())["x-sluice-request-id"]
				l.send(try(id, "ext-cluster", 200, nil, nil), whole(id, nil))
				k.cancel()
				<-w.arrived
			}
		})
	}
}

func filler(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "lorem ipsum dolor "[i%18]
	}
	return string(b)
}
