package testkit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Answer is what a client got.
type Answer struct {
	Status int // 0 = no head came
	Header http.Header
	Body   []byte
	End    string // "" = as it should; aborted: the connection broke off; left: the client went away itself
	Took   time.Duration
}

// Ask plays a request over a connection to a gateway and closes the connection.
func Ask(c Wire, r *Request) Answer {
	defer c.Close()
	start := time.Now()
	if r.script.leave > 0 {
		t := time.AfterFunc(r.script.leave, func() { c.Close() })
		defer t.Stop()
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		r.send(c)
	}()
	a := Receive(c, r.Method)
	a.Took = time.Since(start)
	if a.End != "" && r.script.leave > 0 && a.Took >= r.script.leave {
		a.End = "left"
	}
	c.Close()
	<-sent
	return a
}

// send says the request, step by step.
func (r *Request) send(c Wire) {
	if _, err := c.Write(r.Head); err != nil {
		return
	}
	for _, st := range r.script.steps {
		switch st.do {
		case "delay":
			time.Sleep(st.delay) // virtual
		case "half":
			_ = c.CloseWrite()
			return
		case "cut", "reset":
			c.Reset()
			return
		case "":
			if _, err := c.Write(st.bytes); err != nil {
				return
			}
		}
	}
}

// Receive reads one answer.
func Receive(c net.Conn, method string) Answer {
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return Answer{End: "aborted"}
	}
	defer resp.Body.Close()
	a := Answer{Status: resp.StatusCode, Header: resp.Header}
	a.Body, err = io.ReadAll(resp.Body)
	if err != nil {
		a.End = "aborted"
	}
	return a
}

// Request is one request of a transcript.
type Request struct {
	Method string
	Head   []byte // as on the wire
	Body   []byte
	Wait   time.Duration // passes before it
	Leave  time.Duration // the client leaves so long after it began; 0 = stays
	script *script
}

// Whole reports whether the client says all of its body.
func (r *Request) Whole() bool { return r.script.whole() }

// Slow is how long the client takes to say its body.
func (r *Request) Slow() (d time.Duration) {
	for _, st := range r.script.steps {
		d += st.delay
	}
	return d
}

var errRequest = errors.New("a request begins with its line, such as POST /v1/chat/completions")

// ParseRequest reads the script of a request; its head gets a Host and a length where the text has none.
func ParseRequest(text []byte) (*Request, error) {
	s, err := parseScript(text)
	if err != nil {
		return nil, err
	}
	if len(s.head) == 0 {
		return nil, errRequest
	}
	method, target, ok := strings.Cut(s.head[0], " ")
	if !ok {
		return nil, errRequest
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", method, strings.TrimSuffix(target, " HTTP/1.1"))
	for _, h := range s.head[1:] {
		b.WriteString(h + "\r\n")
	}
	if !hasHeader(s.head, "Host") {
		b.WriteString("Host: sluice.test\r\n")
	}
	body := s.body()
	if method != http.MethodGet && !hasHeader(s.head, "Content-Length") && !hasHeader(s.head, "Transfer-Encoding") {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	return &Request{Method: method, Head: b.Bytes(), Body: body, Wait: s.wait, Leave: s.leave, script: s}, nil
}
