package httpproxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gateway/sluice/proxy"
)

// short is a connection that takes so many bytes and then fails.
type short struct {
	net.Conn
	room  int
	wrote bytes.Buffer
}

var errFull = errors.New("full")

func (s *short) Write(p []byte) (int, error) {
	n := min(len(p), s.room)
	s.room -= n
	s.wrote.Write(p[:n])
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestClientWrites(t *testing.T) {
	const text = "X-One: 1\r\nX-Two: 2\r\n"
	for _, tt := range []struct{ name, in, want string }{
		{"an answer", "HTTP/1.1 200 OK\r\nDate: now\r\n\r\nbody", "HTTP/1.1 200 OK\r\n" + text + "Date: now\r\n\r\nbody"},
		{"of 1.0", "HTTP/1.0 404 Not Found\r\n\r\n", "HTTP/1.0 404 Not Found\r\n" + text + "\r\n"},
		{"an interim one", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"},
		{"a frame of HTTP/2", "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
		{"a body", "HTTP/1.1 is a protocol", "HTTP/1.1 is a protocol"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := &short{room: 1 << 20}
			c := &client{Conn: out, next: &lines{text: []byte(text)}}
			n, err := c.Write([]byte(tt.in))
			if got := out.wrote.String(); got != tt.want || n != len(tt.in) || err != nil {
				t.Errorf("wrote %q, %d, %v\nwant  %q", got, n, err, tt.want)
			}
			if waits := c.next != nil; waits != (tt.want == tt.in) {
				t.Errorf("the lines wait: %v", waits)
			}
		})
	}
}

// What bids a client send its body is written by whoever reads that, while the handler may be about to answer: the lines are none of its business.
func TestClientWritesInterim(t *testing.T) {
	c := &client{Conn: &short{room: 1 << 10}}
	var interim sync.WaitGroup
	interim.Go(func() { _, _ = c.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")) })
	c.next = new(lines) // the race detector sees whether the other one looked at it
	interim.Wait()
	if c.next == nil {
		t.Error("the lines are gone")
	}
}

// net/http finds out by a connection's type that it is one of TLS.
func TestListenLeavesTLS(t *testing.T) {
	secure := httptest.NewTLSServer(nil)
	config := secure.TLS.Clone()
	client := secure.Client()
	secure.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan bool, 1)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{w: w, r: r}
		c.setHead([]proxy.Field{{Name: "X-One", Value: "1"}})
		said <- r.TLS != nil
	})}
	go func() { _ = s.Serve(Listen(s, tls.NewListener(l, config))) }()
	defer s.Close()
	defer client.CloseIdleConnections()
	resp, err := client.Get("https://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if !<-said || resp.Header.Get("X-One") != "1" {
		t.Errorf("no request over TLS, or without its head: %v", resp.Header)
	}
}

// A write that breaks off tells how much of what it was given has left, whatever went between.
func TestClientWritesInPart(t *testing.T) {
	const in, text = "HTTP/1.1 200 OK\r\nDate: now\r\n\r\n", "X-One: 1\r\n"
	const first = len("HTTP/1.1 200 OK\r\n")
	for room := range len(in) + len(text) {
		out := &short{room: room}
		c := &client{Conn: out, next: &lines{text: []byte(text)}}
		n, err := c.Write([]byte(in))
		want := room
		if room > first {
			want = max(first, room-len(text))
		}
		if n != want || !errors.Is(err, errFull) {
			t.Errorf("room for %d: %d, %v, want %d", room, n, err, want)
		}
	}
}

// What goes past net/http and what does not is one head to a client: the same one as over HTTP/2 or without Listen.
func TestHeadIsWhole(t *testing.T) {
	fields := []proxy.Field{
		{Name: "Content-Type", Value: "text/plain"}, {Name: "X-Sluice-Model", Value: "m"}, {Name: "X-Twice", Value: "a"}, {Name: "X-Twice", Value: "b"},
		{Name: "X-Broken", Value: "one\r\nSet-Cookie: two"}, {Name: "Openai-Version", Value: "1"}, {Name: "Content-Length", Value: "2"},
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		c := &call{w: w, r: r}
		c.setHead(fields)
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte("ok"))
	})
	ask := func(t *testing.T, past bool) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: handler}
		if past {
			l = Listen(s, l)
		}
		go func() { _ = s.Serve(l) }()
		defer s.Close()
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		var all []string
		for range 2 { // over one connection: nothing of the first is in the second
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+l.Addr().String(), strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Expect", "100-continue")
			resp, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			resp.Header.Del("Date")
			all = append(all, fmt.Sprint(resp.StatusCode, resp.Header, string(body)))
		}
		if all[0] != all[1] {
			t.Errorf("first  %s\nsecond %s", all[0], all[1])
		}
		return all[0]
	}
	if past, not := ask(t, true), ask(t, false); past != not {
		t.Errorf("past net/http %s\nthrough it     %s", past, not)
	}
}
