package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testkit"
)

const (
	openStreams = 2000
	perStream   = 64 << 10 // bytes of heap and stack
)

var streamRequest = func() string {
	body := `{"model":"auto","stream":true,"messages":[{"role":"user","content":"` + strings.Repeat("x", 950) + `"}]}`
	return fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}()

// speakers is an upstream that says each stream's first event, and the rest when it is told to: as little of it as possible is memory.
type speakers struct {
	listener net.Listener
	rest     chan struct{}
	ended    sync.WaitGroup
}

const eventForm = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%03d \"},\"finish_reason\":null}]}\n\n"

const eventsLater = 50

func newSpeakers(n *testkit.Net) *speakers {
	s := &speakers{listener: n.Listen("one.test:9000"), rest: make(chan struct{})}
	go func() {
		for {
			c, err := s.listener.Accept()
			if err != nil {
				return
			}
			s.ended.Go(func() { s.speak(c) })
		}
	}()
	return s
}

func (s *speakers) speak(c net.Conn) {
	defer c.Close()
	if r, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
		return
	} else if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"+eventForm, 0)
	<-s.rest
	for i := range eventsLater {
		fmt.Fprintf(c, eventForm, i+1)
	}
	_, _ = io.WriteString(c, "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
}

// hold opens the streams at a name, waits until each has its first event, and returns what they weigh. Then it lets them go on and holds each to be whole.
func hold(t *testing.T, n *testkit.Net, at string, s *speakers) (heapBytes, stackBytes int64) {
	t.Helper()
	before := weigh()
	conns := make([]net.Conn, openStreams)
	heads := make([][]byte, openStreams)
	var begun sync.WaitGroup
	for i := range conns {
		begun.Go(func() {
			c, err := n.Dial(context.Background(), "tcp", at)
			if err != nil {
				t.Error(err)
				return
			}
			conns[i] = c
			_, _ = io.WriteString(c, streamRequest)
			for buf := make([]byte, 2048); !strings.Contains(string(heads[i]), "000 "); {
				k, err := c.Read(buf)
				if heads[i] = append(heads[i], buf[:k]...); err != nil {
					t.Errorf("stream %d: %v", i, err)
					return
				}
			}
		})
	}
	begun.Wait()
	after := weigh()
	close(s.rest)
	var whole sync.WaitGroup
	for i, c := range conns {
		whole.Go(func() {
			resp, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader(string(heads[i])), c)), nil)
			if err != nil {
				t.Error(err)
				return
			}
			b, err := io.ReadAll(resp.Body)
			text := string(b)
			for k := range eventsLater + 1 {
				at := strings.Index(text, fmt.Sprintf("%03d ", k))
				if at < 0 {
					t.Errorf("stream %d lost event %d: %v", i, k, err)
					return
				}
				text = text[at:]
			}
			if !strings.HasSuffix(text, "data: [DONE]\n\n") {
				t.Errorf("stream %d does not end: %q", i, text)
			}
			c.Close()
		})
	}
	whole.Wait()
	return int64(after.HeapAlloc) - int64(before.HeapAlloc), int64(after.StackInuse) - int64(before.StackInuse)
}

// wires returns the heap of as many connections, alone, each of which has carried a request one way and an event the other.
func wires(t *testing.T) int64 {
	t.Helper()
	n := testkit.NewNet()
	defer n.Close()
	l := n.Listen("wire.test:1")
	before := weigh()
	for range openStreams {
		near, err := n.Dial(context.Background(), "tcp", "wire.test:1")
		if err != nil {
			t.Fatal(err)
		}
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		carryOver(t, near, far, streamRequest)
		carryOver(t, far, near, fmt.Sprintf(eventForm, 0))
	}
	after := weigh()
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

func carryOver(t *testing.T, from, to net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(from, text); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, to, int64(len(text))); err != nil {
		t.Fatal(err)
	}
}

func weigh() (m runtime.MemStats) {
	for range 6 { // each one halves stacks that have become too large
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m
}

// TestOpenStreams: two thousand open streams with requests of 1 KB weigh at most 64 KiB of heap and stack each, and lose no event. What is in this process
// and is not the gateway is weighed alone and taken off: clients and upstream with a connection between them, and the connection that a gateway needs more.
func TestOpenStreams(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes everything heavier: weights mean nothing; make test weighs without it")
	}
	wire := wires(t)
	plain := testkit.NewNet()
	s := newSpeakers(plain)
	heap0, stack0 := hold(t, plain, "one.test:9000", s)
	plain.Close()
	s.ended.Wait()

	w := newWorld(t, []byte(strings.Replace(publicPolicy, "timeouts: {headers: 5s, first_token: 8s, idle: 8s, answer: 10s}", "timeouts: {connect: 9m, headers: 9m, first_token: 9m, idle: 9m}", 1)), 0)
	s = newSpeakers(w.net)
	plane := serveEmbedded(w, nil)
	heap1, stack1 := hold(t, w.net, gatewayName, s)
	heap, stack := (heap1-heap0-wire)/openStreams, (stack1-stack0)/openStreams
	t.Logf("a stream weighs %d bytes of heap and %d of stack; taken off: %d and %d for client and upstream, %d for the second connection", heap, stack, heap0/openStreams, stack0/openStreams, wire/openStreams)
	if heap+stack > perStream {
		t.Errorf("a stream weighs %d bytes, want at most %d", heap+stack, perStream)
	}
	w.net.Close()
	plane.close()
	s.ended.Wait()
}
