package proxy_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/internal/simulator"
	"github.com/sluice-gateway/sluice/internal/testkit"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/telemetry"
)

// lab is a plane, the embedded one as a rule, before simulated providers, all of it in virtual time over connections in memory. It must be opened inside a bubble.
type lab struct {
	*world
	plane   asker
	servers []*http.Server
	served  sync.WaitGroup
}

func newLab(t testing.TB, policy string, options ...func(*proxy.Options)) *lab {
	return newLabOf(t, policy, drivers[0], options...)
}

// newLabOf is newLab with another way of driving exchanges.
func newLabOf(t testing.TB, policy string, d driver, options ...func(*proxy.Options)) *lab {
	l := &lab{world: newWorld(t, []byte(policy), 0, options...)}
	l.plane = d.open(l.world)
	return l
}

// provider opens a simulated provider at a name of the lab's network.
func (l *lab) provider(host string, o simulator.Options) *simulator.Server {
	s := simulator.New(o)
	l.serve(host, s)
	return s
}

// quiet is where servers of tests complain of clients that leave.
var quiet = log.New(io.Discard, "", 0)

func (l *lab) serve(host string, h http.Handler) {
	s := &http.Server{Handler: h, ErrorLog: quiet}
	l.servers = append(l.servers, s)
	listener := l.net.Listen(host)
	l.served.Go(func() { _ = s.Serve(listener) })
}

// close ends the lab once every exchange has ended, and holds the gateway to its rest: nothing in flight, nothing reckoned, nobody in line.
func (l *lab) close() {
	l.t.Helper()
	for range 1000 {
		if l.gateway.Inflight() == 0 {
			break
		}
		time.Sleep(100 * time.Millisecond) // virtual
	}
	synctest.Wait()
	if n, load := l.gateway.Inflight(), l.gateway.Load(); n != 0 || load.Exchanges != 0 || load.Bytes != 0 {
		l.t.Errorf("at rest %d exchanges are open, the load is %+v", n, load)
	}
	for name := range l.gateway.Snapshot().Policy.Providers {
		if held, waiting, _ := l.gateway.Queued(name); held != 0 || waiting != 0 {
			l.t.Errorf("at rest %s has %d in flight and %d waiting", name, held, waiting)
		}
	}
	for _, p := range l.gateway.Pools().Pools() {
		if f := p.Facts(); f.Inflight != 0 || f.Tokens != 0 {
			l.t.Errorf("at rest pool %s has %d requests and %d tokens in flight", p.Name(), f.Inflight, f.Tokens)
		}
	}
	l.plane.close()
	for _, s := range l.servers {
		_ = s.Close()
	}
	l.net.Close()
	l.served.Wait()
}

// all returns the records so far.
func (l *lab) all() []*telemetry.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.records)
}

// chat is a chat request to the route auto as a script; steps, such as !leave 3s, stand before it.
func chat(t testing.TB, stream bool, steps string, header ...string) *testkit.Request {
	t.Helper()
	text := steps + "POST /v1/chat/completions\nContent-Type: application/json\n"
	for i := 0; i+1 < len(header); i += 2 {
		text += header[i] + ": " + header[i+1] + "\n"
	}
	r, err := testkit.ParseRequest(fmt.Appendf(nil, "%s\n{\"model\":\"auto\",\"stream\":%t,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}\n", text, stream))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tally is how a set of requests ended.
type tally struct {
	mu      sync.Mutex
	answers []testkit.Answer
	wait    sync.WaitGroup
}

func (y *tally) add(a testkit.Answer) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.answers = append(y.answers, a)
}

// count returns how many answers f holds for.
func (y *tally) count(f func(*testkit.Answer) bool) (n int) {
	for i := range y.answers {
		if f(&y.answers[i]) {
			n++
		}
	}
	return n
}

// offer sends requests at a steady pace, whatever becomes of them, and waits for the last answer.
func (l *lab) offer(perSecond int, d time.Duration, request func(i int) *testkit.Request) *tally {
	y := &tally{}
	for i := range int(d.Seconds() * float64(perSecond)) {
		r := request(i)
		y.wait.Go(func() { y.add(l.plane.ask(r)) })
		time.Sleep(time.Second / time.Duration(perSecond)) // virtual
	}
	y.wait.Wait()
	return y
}

// said is an answer as a client reads it, from a stream or a JSON body.
type said struct {
	text, finish, model, code string
	models                    map[string]bool // of every event
	in, out                   int             // usage; -1 = none was told
	done                      bool            // a JSON body, or a stream with [DONE]
	rescued                   bool            // a comment says so
}

func read(t testing.TB, a *testkit.Answer) said {
	t.Helper()
	s := said{in: -1, out: -1, models: map[string]bool{}}
	if a.Status == 0 {
		return s
	}
	if !strings.HasPrefix(a.Header.Get("Content-Type"), "text/event-stream") {
		s.done = true
		s.event(t, string(a.Body))
		return s
	}
	for frame := range strings.SplitSeq(string(a.Body), "\n\n") {
		data, ok := strings.CutPrefix(frame, "data: ")
		s.rescued = s.rescued || strings.HasPrefix(frame, ": rescued")
		switch {
		case data == "[DONE]":
			s.done = true
		case ok:
			s.event(t, data)
		}
	}
	return s
}

// event takes one event, or a whole body.
func (s *said) event(t testing.TB, data string) {
	t.Helper()
	var v struct {
		Model   string
		Choices []struct {
			Message, Delta struct{ Content string }
			Finish         string `json:"finish_reason"`
		}
		Usage *struct {
			In  int `json:"prompt_tokens"`
			Out int `json:"completion_tokens"`
		}
		Error *struct{ Code string }
	}
	if err := json.Unmarshal([]byte(data), &v); err != nil {
		t.Errorf("a client got garbage: %q: %v", data, err)
		return
	}
	if v.Error != nil {
		s.code = v.Error.Code
		return
	}
	s.model, s.models[v.Model] = v.Model, true
	for _, c := range v.Choices {
		s.text += c.Message.Content + c.Delta.Content
		s.finish += c.Finish
	}
	if v.Usage != nil {
		s.in, s.out = v.Usage.In, v.Usage.Out
	}
}
