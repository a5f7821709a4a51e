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
	"slices"
	"strconv"
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

// Whatever a client writes on one connection, it reads the same as without Listen, but for the order of a head's lines.
func TestConnectionIsTheSame(t *testing.T) {
	long := strings.Repeat("x", 6<<10) // than net/http's buffer
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{w: w, r: r}
		fields := []proxy.Field{{Name: "X-Path", Value: r.URL.Path}, {Name: "Etag", Value: "1"}, {Name: "X-Path", Value: "again"}}
		switch r.URL.Path {
		case "/long":
			fields = append(fields, proxy.Field{Name: "X-Long", Value: long}, proxy.Field{Name: "Long", Value: long})
		case "/close":
			fields = append(fields, proxy.Field{Name: "Connection", Value: "close"})
		case "/full": // an answer before the body was read
			_ = http.NewResponseController(w).EnableFullDuplex()
		}
		w.Header()["Date"] = nil
		c.setHead(fields)
		status := http.StatusOK
		if n, err := strconv.Atoi(r.URL.Path[1:]); err == nil {
			status = n
		}
		w.WriteHeader(status)
		switch r.URL.Path {
		case "/stream":
			for range 2 {
				_ = http.NewResponseController(w).Flush()
				_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\n")
			}
		case "/panic":
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		default:
			_, _ = io.WriteString(w, "body\r\n")
		}
		_, _ = io.Copy(io.Discard, r.Body)
	})
	const end = "GET /end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n" }
	for _, said := range []string{
		end, get("/a") + get("/b") + get("/stream") + get("/c") + end, get("/204") + get("/304") + get("/404") + get("/600") + end,
		"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n" + end, get("/long") + get("/long") + end, get("/close") + end, get("/panic"),
		"GET /a HTTP/1.0\r\n\r\n", "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + end, "GET /stream HTTP/1.0\r\n\r\n",
		get("/a") + "GET /b HTTP/1.1\r\n\r\n", get("/a") + "nonsense\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n1" + end,
		"POST /full HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n1" + end, "POST /full HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n" + end,
	} {
		reads := func(past bool) string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := &http.Server{Handler: handler}
			in := l
			if past {
				in = Listen(s, l)
			}
			go func() { _ = s.Serve(in) }()
			defer s.Close()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, said); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(string(got), "\r\n")
			for from := range lines { // a head ends with an empty line
				if n := slices.Index(lines[from:], ""); n > 1 && strings.HasPrefix(lines[from], "HTTP/1.") {
					slices.Sort(lines[from+1 : from+n])
				}
			}
			return strings.Join(lines, "\n")
		}
		if past, not := reads(true), reads(false); past != not {
			t.Errorf("%.200q\npast net/http %.2000q\nthrough it     %.2000q", said, past, not)
		}
	}
}
