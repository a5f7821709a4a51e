package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// step is one request: what it carries, what the server does with it, and what its caller does with the answer.
type step struct{ id, carries, server, caller string }

var (
	carried = []string{"nothing", "memory", "long memory", "stream", "chunks", "failing stream"}
	served  = []string{"answer", "chunked", "early", "close", "vanish", "drop", "half", "refuse", "extra", "stall"}
	called  = []string{"read", "give up", "cancel at once", "cancel"}
)

// counting is a server that is told by each request what to do, and counts.
type counting struct {
	mu   sync.Mutex
	seen map[string]int
	here map[string]chan struct{} // by id; closed when the request has come
}

func (s *counting) arrived(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[id]++; s.seen[id] == 1 && s.here[id] != nil {
		close(s.here[id])
	}
}

func (s *counting) serve(nc net.Conn, in *bufio.Reader) {
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		id := r.Header.Get("Id")
		s.arrived(id)
		do := r.Header.Get("Do")
		early := do == "early" || do == "refuse"
		if !early {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return
			}
		}
		head := func(fields string) string { return "HTTP/1.1 200 OK\r\nId: " + id + "\r\n" + fields + "\r\n" }
		length := fmt.Sprintf("Content-Length: %d\r\n", len(id))
		answer := head(length) + id
		switch do {
		case "drop":
			return
		case "stall":
			_, _ = in.ReadByte()
			return
		case "chunked":
			answer = head("Transfer-Encoding: chunked\r\n") + fmt.Sprintf("1\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", id[:1], len(id)-1, id[1:])
		case "close", "refuse":
			answer = head(length+"Connection: close\r\n") + id
		case "half":
			answer = answer[:len(answer)-1]
		case "extra":
			answer += "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
		}
		if _, err := io.WriteString(nc, answer); err != nil {
			return
		}
		switch do {
		case "close", "refuse", "half", "vanish":
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); early && err != nil {
			return
		}
	}
}

func (p step) request(url string) (*http.Request, *body) {
	r := post(url, "")
	r.Header.Set("Id", p.id)
	r.Header.Set("Do", p.server)
	long := bytes.Repeat([]byte(p.id+" "), 10_000)
	var up *body
	switch p.carries {
	case "nothing":
		r.Body, r.GetBody = nil, nil
		return r, nil
	case "memory":
		up, r.ContentLength = newBody(strings.NewReader(p.id)), int64(len(p.id))
	case "long memory", "stream":
		up, r.ContentLength = newBody(bytes.NewReader(long)), int64(len(long))
	case "chunks":
		up, r.ContentLength = newBody(bytes.NewReader(long)), -1
	case "failing stream":
		up, r.ContentLength = newBody(io.MultiReader(bytes.NewReader(long), says(errBroken))), -1
	}
	if r.GetBody = nil; strings.Contains(p.carries, "memory") {
		r.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("not needed") }
	}
	r.Body = up
	return r, up
}

var errBroken = errors.New("the body broke")

// must reports whether the step has to succeed, whatever other requests do: the server answers in full, and no connection dies unannounced.
func (p step) must(dying bool) bool {
	return !dying && p.carries != "failing stream" && p.caller == "read" && strings.Contains("answer chunked early close extra", p.server)
}

func (p step) take(t *rapid.T, tr *Transport, url string, here <-chan struct{}, dying bool) {
	r, up := p.request(url)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if p.caller == "cancel at once" || p.server == "stall" {
		go func() {
			select {
			case <-here:
			case <-ctx.Done():
			}
			cancel()
		}()
	}
	resp, err := tr.RoundTrip(r.WithContext(ctx))
	if err == nil {
		if got := resp.Header.Get("Id"); got != p.id {
			t.Errorf("%+v: the answer is that of %q", p, got)
		}
		switch p.caller {
		case "give up":
		case "cancel":
			cancel()
			fallthrough
		default:
			var got []byte
			if got, err = io.ReadAll(resp.Body); err == nil && string(got) != p.id || !strings.HasPrefix(p.id, string(got)) {
				t.Errorf("%+v: the answer is %q", p, got)
			}
			if err == nil && p.server == "half" {
				t.Errorf("%+v: half an answer is whole", p)
			}
		}
		resp.Body.Close()
	}
	if err != nil && p.must(dying) {
		t.Errorf("%+v: %v", p, err)
	}
	if up != nil {
		if <-up.closed; up.times.Load() != 1 {
			t.Errorf("%+v: the body was closed %d times", p, up.times.Load())
		}
	}
}

// Whatever requests, callers and servers do to one another: no request arrives twice, and every answer belongs to its request.
func TestProperties(t *testing.T) {
	s := &counting{seen: map[string]int{}, here: map[string]chan struct{}{}}
	url := serve(t, s.serve).url
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		tr := &Transport{Dial: new(net.Dialer).DialContext, Idle: 1 << 40, MaxIdle: 2}
		defer tr.CloseIdleConnections()
		var lines [][]step
		dying := false
		for range rapid.IntRange(1, 3).Draw(t, "lines") {
			line := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
				return step{carries: rapid.SampledFrom(carried).Draw(t, "carries"), server: rapid.SampledFrom(served).Draw(t, "server"), caller: rapid.SampledFrom(called).Draw(t, "caller")}
			}), 1, 8).Draw(t, "line")
			for i := range line {
				n++
				line[i].id = fmt.Sprintf("id-%d", n)
				dying = dying || line[i].server == "vanish"
				s.mu.Lock()
				s.here[line[i].id] = make(chan struct{})
				s.mu.Unlock()
			}
			lines = append(lines, line)
		}
		var all sync.WaitGroup
		for _, line := range lines {
			all.Go(func() {
				for _, p := range line {
					s.mu.Lock()
					here := s.here[p.id]
					s.mu.Unlock()
					p.take(t, tr, url, here, dying)
				}
			})
		}
		all.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		for id, times := range s.seen {
			if times > 1 || s.here[id] == nil {
				t.Errorf("request %q arrived %d times", id, times)
			}
		}
	})
}
