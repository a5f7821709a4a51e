package testkit

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Seen is one request as an upstream saw it.
type Seen struct {
	At     time.Time
	Host   string // the name that it came to
	Method string
	Target string // as on the request line
	Header http.Header
	Body   []byte
	Broken bool // the body ended early
}

// Upstreams are servers that answer from scripts, in order, and remember what they were asked.
type Upstreams struct {
	net  *Net
	wait sync.WaitGroup

	mu      sync.Mutex
	scripts map[string][]*script
	seen    []Seen
	faults  []string
	// Health, when set, is a path that is answered with 200, or 500 if Sick, and leaves no trace.
	Health string
	Sick   bool
	// Linger passes before an answer that has begun breaks off, so that a proxy has passed on what came before.
	Linger time.Duration
	// Turned, when set, is told after a host's next script became another one, before that one can be asked for.
	Turned func(host string)
	// answer, when set, gives the script of an answer in place of the prepared ones.
	answer func(s *Seen) string
}

// NewUpstreams returns upstreams on a network. A host that was given no answer refuses connections.
func NewUpstreams(n *Net) *Upstreams { return &Upstreams{net: n, scripts: map[string][]*script{}} }

// Script gives a host its next answer and opens it.
func (u *Upstreams) Script(host string, text []byte) error {
	s, err := parseScript(text)
	if err != nil {
		return fmt.Errorf("%s: %w", host, err)
	}
	u.mu.Lock()
	_, open := u.scripts[host]
	u.scripts[host] = append(u.scripts[host], s)
	u.mu.Unlock()
	if !open {
		u.open(host)
	}
	return nil
}

// Serve opens hosts whose answers are made for each request; the function gets called one request at a time.
func (u *Upstreams) Serve(answer func(*Seen) string, hosts ...string) {
	u.answer = answer
	for _, h := range hosts {
		u.open(h)
	}
}

func (u *Upstreams) open(host string) {
	l := u.net.listen(host, func(ctx context.Context) error { return u.gate(ctx, host) })
	u.wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			u.wait.Go(func() { u.Talk(host, c.(*Conn)) })
		}
	})
}

// gate is asked before a connection is made.
func (u *Upstreams) gate(ctx context.Context, host string) error {
	switch {
	case u.Take(host, "refuse"):
		return syscall.ECONNREFUSED
	case u.Take(host, "dialhang"):
		<-ctx.Done()
		if d, ok := ctx.Deadline(); ok && !time.Now().Before(d) {
			return timeoutError{}
		}
		return ctx.Err()
	}
	return nil
}

type timeoutError struct{}

func (timeoutError) Error() string { return "i/o timeout" }
func (timeoutError) Timeout() bool { return true }

// Take uses up the host's next script when it begins with a step that concerns the connection: refuse or dialhang.
func (u *Upstreams) Take(host, do string) bool {
	defer u.turned(host)
	u.mu.Lock()
	defer u.mu.Unlock()
	if s := u.scripts[host]; len(s) > 0 && s[0].begins(do) {
		u.scripts[host] = s[1:]
		return true
	}
	return false
}

// Door says how the host meets the next connection: refuse, dialhang, or "" when it takes it.
func (u *Upstreams) Door(host string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	left, known := u.scripts[host]
	switch {
	case !known && u.answer == nil, len(left) > 0 && left[0].begins("refuse"):
		return "refuse"
	case len(left) > 0 && left[0].begins("dialhang"):
		return "dialhang"
	}
	return ""
}

// turned tells whoever keeps real listeners that the host's door may be another one.
func (u *Upstreams) turned(host string) {
	if u.Turned != nil {
		u.Turned(host)
	}
}

// Wait waits until every server has stopped; the network must be closed.
func (u *Upstreams) Wait() { u.wait.Wait() }

// Seen returns the requests so far, in order of arrival.
func (u *Upstreams) Seen() []Seen {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]Seen(nil), u.seen...)
}

// Faults lists what did not go by the script: requests that none was left for, and scripts that nobody asked for.
func (u *Upstreams) Faults() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	faults := append([]string(nil), u.faults...)
	for host, left := range u.scripts {
		if len(left) > 0 {
			faults = append(faults, fmt.Sprintf("%s: %d scripted answers were never asked for", host, len(left)))
		}
	}
	return faults
}

// Talk serves one connection to the host, until it ends.
func (u *Upstreams) Talk(host string, c Wire) {
	defer c.Close()
	br := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if u.Health != "" && r.URL.Path == u.Health {
			status := "200 OK"
			if u.Sick {
				status = "500 Internal Server Error"
			}
			if _, err := io.WriteString(c, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\n\r\n"); err != nil || u.closes(host) {
				return
			}
			continue
		}
		seen := Seen{At: time.Now(), Host: host, Method: r.Method, Target: r.RequestURI, Header: r.Header}
		if r.Host != host {
			seen.Header.Set("Host", r.Host)
		}
		seen.Body, err = io.ReadAll(r.Body)
		seen.Broken = err != nil
		s := u.next(seen)
		if s == nil || !u.play(c, br, s) || u.closes(host) {
			return
		}
	}
}

// next books a request and finds its answer.
func (u *Upstreams) next(seen Seen) *script {
	defer u.turned(seen.Host)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.seen = append(u.seen, seen)
	if seen.Broken {
		return nil
	}
	if u.answer != nil {
		s, err := parseScript([]byte(u.answer(&seen)))
		if err != nil {
			u.faults = append(u.faults, err.Error())
			return nil
		}
		return s
	}
	left := u.scripts[seen.Host]
	if len(left) == 0 {
		u.faults = append(u.faults, fmt.Sprintf("%s: no answer is scripted for %s %s", seen.Host, seen.Method, seen.Target))
		return nil
	}
	u.scripts[seen.Host] = left[1:]
	return left[0]
}

// closes reports whether the host's next script needs a new connection.
func (u *Upstreams) closes(host string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	left := u.scripts[host]
	return len(left) > 0 && (left[0].begins("refuse") || left[0].begins("dialhang"))
}

// play says a script; false = the connection is done.
func (u *Upstreams) play(c Wire, br *bufio.Reader, s *script) bool {
	length, chunked := -1, false
	for _, st := range s.steps {
		switch st.do {
		case "delay":
			if !pause(c, br, st.delay) {
				return false
			}
		case "hang":
			_, _ = br.Peek(1) // until the other side goes
			return false
		case "cut":
			u.linger(length)
			return false
		case "reset":
			u.linger(length)
			c.Reset()
			return false
		case "head":
			var head []byte
			head, length, chunked = s.wire()
			if _, err := c.Write(head); err != nil {
				return false
			}
		default:
			if !say(c, st.bytes, chunked) {
				return false
			}
		}
	}
	if chunked {
		_, err := io.WriteString(c, "0\r\n\r\n")
		return err == nil
	}
	return length >= 0
}

func (u *Upstreams) linger(length int) {
	if u.Linger > 0 && length >= 0 {
		time.Sleep(u.Linger)
	}
}

// pause waits as long as the other side stays.
func pause(c Wire, br *bufio.Reader, d time.Duration) bool {
	_ = c.SetReadDeadline(time.Now().Add(d))
	_, err := br.Peek(1)
	_ = c.SetReadDeadline(time.Time{})
	var ne net.Error
	if err == nil {
		return true
	}
	if e, ok := err.(net.Error); ok {
		ne = e
	}
	return ne != nil && ne.Timeout()
}

func say(c Wire, b []byte, chunked bool) bool {
	if chunked {
		b = fmt.Appendf(nil, "%x\r\n%s\r\n", len(b), b)
	}
	_, err := c.Write(b)
	return err == nil
}

// wire is the head of an answer with its framing: streams are chunked, everything else has a length. A body that will be cut promises
// more than comes.
func (s *script) wire() (head []byte, length int, chunked bool) {
	var b bytes.Buffer
	for _, h := range s.head {
		b.WriteString(h + "\r\n")
	}
	text := b.String()
	status, _, _ := strings.Cut(strings.TrimPrefix(s.head[0], "HTTP/1.1 "), " ")
	switch {
	case hasHeader(s.head, "Content-Length"):
		length = 0
	case hasHeader(s.head, "Transfer-Encoding"):
		chunked = true
	case strings.Contains(text, "text/event-stream"):
		chunked = true
		b.WriteString("Transfer-Encoding: chunked\r\n")
	case status == "204" || status == "304":
		length = 0
	default:
		length = len(s.body())
		if !s.whole() {
			length += 1000
		}
		fmt.Fprintf(&b, "Content-Length: %d\r\n", length)
	}
	b.WriteString("\r\n")
	return b.Bytes(), length, chunked
}
