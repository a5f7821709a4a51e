package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/sluice-gateway/sluice/internal/testkit"
	"github.com/sluice-gateway/sluice/proxy"
)

// played plays Envoy: it calls the phases in ext_proc's order (headers message, whole body message, response headers, body in chunks) and
// carries the attempts with a client of its own that shares no code with the embedded plane.
type played struct{ w *world }

func openPlayed(w *world) asker { return &played{w} }

func (p *played) close() {}

// playing is one request on its way.
type playing struct {
	w      *world
	x      *proxy.Exchange
	req    *http.Request
	body   []byte
	leave  time.Time // zero = the client stays
	answer testkit.Answer
	out    []byte
	last   time.Time // of the last byte to the client
	drains bool      // the client's leaving does not end the attempt
}

func (p *played) ask(r *testkit.Request) testkit.Answer {
	start := time.Now()
	req, err := http.ReadRequest(bufio.NewReader(io.MultiReader(bytes.NewReader(r.Head), bytes.NewReader(r.Body))))
	if err != nil {
		p.w.t.Fatal(err)
	}
	x, reply := p.w.gateway.Begin(context.Background(), proxy.Head{Method: req.Method, URL: req.URL, Header: req.Header, Peer: "10.9.9.9:1", ContentLength: req.ContentLength, Plane: "envoy"})
	c := &playing{w: p.w, x: x, req: req}
	if r.Leave > 0 {
		c.leave = start.Add(r.Leave)
	}
	if reply != nil {
		c.reply(reply)
	} else if time.Sleep(r.Slow()); !r.Whole() {
		c.follow(x.Fail(proxy.CauseClientGone, io.ErrUnexpectedEOF))
	} else {
		c.serve()
	}
	x.End()
	x.End() // the second one must not count
	c.answer.Took = time.Since(start)
	return c.answer
}

// buffered is the request's body, read in pieces: what Envoy buffers.
func (c *playing) buffered(limit int64) []byte {
	var whole []byte
	size := c.w.cut
	if size == 0 {
		size = 32 << 10
	}
	buf := make([]byte, size)
	for int64(len(whole)) <= limit {
		n, err := c.req.Body.Read(buf)
		whole = append(whole, buf[:n]...)
		if err != nil {
			break
		}
	}
	return whole
}

func (c *playing) serve() {
	whole := c.buffered(c.x.BodyLimit())
	switch c.x.BodyMode() {
	case proxy.BodyWhole:
		c.body = whole
	case proxy.BodyForm:
		kept := &cutReader{b: whole, size: c.w.cut}
		if reply := c.x.Form(kept); reply != nil {
			c.reply(reply)
			return
		}
		if err := c.x.FormRest(whole[kept.n:]); err != nil {
			c.follow(c.x.Fail(proxy.CauseBody, err))
			return
		}
	}
	_, reply := c.x.Request(c.body)
	if reply != nil {
		c.reply(reply)
		return
	}
	if c.x.BodyMode() != proxy.BodyWhole {
		c.body = whole
	}
	c.follow(proxy.Verdict{Action: proxy.Next})
}

// cutReader reads at most size bytes at once.
type cutReader struct {
	b       []byte
	n, size int
}

func (r *cutReader) Read(p []byte) (int, error) {
	if r.n == len(r.b) {
		return 0, io.EOF
	}
	if r.size > 0 && len(p) > r.size {
		p = p[:r.size]
	}
	n := copy(p, r.b[r.n:])
	r.n += n
	return n, nil
}

// follow is the loop over verdicts.
func (c *playing) follow(v proxy.Verdict) {
	for {
		switch v.Action {
		case proxy.Next:
			if !c.leave.IsZero() && time.Now().Add(v.Delay).After(c.leave) {
				time.Sleep(time.Until(c.leave)) // virtual
				v = c.x.Fail(proxy.CauseClientGone, nil)
				continue
			}
			c.pause(time.Now().Add(v.Delay))
			v = c.try(v.Attempt)
		case proxy.Wait:
			c.queue()
			v = proxy.Verdict{Action: proxy.Next, Attempt: v.Attempt}
		case proxy.Answer:
			c.reply(v.Reply)
			return
		case proxy.Stop:
			if c.answer.End == "" {
				c.answer.End = "aborted"
			}
			if !c.leave.IsZero() && !time.Now().Before(c.leave) {
				c.answer.End = "left"
			}
			return
		default:
			return
		}
	}
}

// queue waits for a place.
func (c *playing) queue() {
	ready, until := c.x.Waiting()
	select {
	case <-ready:
	case <-time.After(time.Until(until)): // virtual
	}
}

func (c *playing) try(i int) proxy.Verdict {
	up, v := c.x.Attempt(i)
	if v.Action != proxy.More {
		return c.finish(v)
	}
	if c.last.IsZero() {
		c.last = time.Now()
	}
	c.drains = up.Drain
	ctx, cancel := context.WithTimeout(context.Background(), up.Connect)
	defer cancel()
	ctx, cancel = context.WithDeadline(ctx, c.until())
	defer cancel()
	host := up.URL.Host
	if up.URL.Port() == "" {
		host += ":80"
	}
	conn, err := c.w.net.Dial(ctx, "tcp", host)
	if err != nil {
		return c.fail(err, proxy.CauseRefused)
	}
	defer conn.Close()
	_ = conn.SetDeadline(c.until())
	if _, err := conn.Write(c.wire(&up)); err != nil {
		return c.fail(err, proxy.CauseReset)
	}
	br := bufio.NewReader(conn)
	c.await(conn, br)
	resp, err := http.ReadResponse(br, &http.Request{Method: up.Method})
	if err != nil {
		return c.fail(err, proxy.CauseReset)
	}
	v = c.x.Response(resp.StatusCode, resp.Header)
	if v.Action == proxy.More {
		c.head()
	}
	if len(resp.TransferEncoding) == 0 {
		br = nil
	}
	return c.carry(conn, br, resp.Body)
}

// await waits for the upstream's next byte, or for the time at which the plane must look up, breaks the client's silence meanwhile and lets go what was held for its
// time; true = that has ended the attempt.
func (c *playing) await(conn net.Conn, br *bufio.Reader) (proxy.Verdict, bool) {
	for {
		until, held := c.until(), c.x.HeldUntil()
		if !held.IsZero() && (until.IsZero() || held.Before(until)) {
			until = held
		}
		_ = conn.SetReadDeadline(c.sooner(until))
		_, err := br.Peek(3) // the end of a chunk may still be there: two bytes
		_ = conn.SetReadDeadline(c.patience())
		if ne, ok := err.(net.Error); !ok || !ne.Timeout() {
			return proxy.Verdict{}, false
		}
		if !held.IsZero() && !time.Now().Before(held) {
			var v proxy.Verdict
			c.out, v = c.x.Overdue(c.out[:0])
			if c.give(v) {
				return v, true
			}
			continue
		}
		if !c.breakSilence() {
			return proxy.Verdict{}, false
		}
	}
}

// pause sleeps until a time.
func (c *playing) pause(until time.Time) {
	for time.Now().Before(until) {
		time.Sleep(time.Until(c.sooner(until))) // virtual
		c.breakSilence()
	}
}

// sooner is when the silence is to be broken, or the time if that comes first.
func (c *playing) sooner(until time.Time) time.Time {
	if s := c.x.Silence(); s > 0 && (until.IsZero() || c.last.Add(s).Before(until)) {
		return c.last.Add(s)
	}
	return until
}

// breakSilence sends what is due; false: nothing is.
func (c *playing) breakSilence() bool {
	s := c.x.Silence()
	if s == 0 || time.Since(c.last) < s {
		return false
	}
	c.last = time.Now()
	status, fields, comment := c.x.Break()
	if status != 0 {
		c.answer.Status, c.answer.Header = status, header(fields)
	}
	if comment != nil && c.answer.Status != 0 {
		c.answer.Body = append(c.answer.Body, comment...)
	}
	return true
}

// wire is the upstream request's bytes.
func (c *playing) wire(up *proxy.Upstream) []byte {
	var b bytes.Buffer
	b.WriteString(up.Method + " " + up.URL.RequestURI() + " HTTP/1.1\r\nHost: " + up.URL.Host + "\r\n")
	h := http.Header{}
	for _, f := range up.Header {
		h[f.Name] = append(h[f.Name], f.Value)
	}
	body := up.Body
	if body == nil {
		body = c.body
	}
	if s := up.Splice; s != nil {
		body = append(append(append([]byte(nil), body[:s.At]...), s.Insert...), body[s.At+s.Del:]...)
	}
	if len(body) > 0 {
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	_ = h.Write(&b)
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// carry hands the answer to the exchange in pieces.
func (c *playing) carry(conn net.Conn, br *bufio.Reader, body io.Reader) proxy.Verdict {
	size := c.w.cut
	if size == 0 {
		size = 32 << 10
	}
	buf := make([]byte, size)
	for {
		_ = conn.SetReadDeadline(c.patience())
		if br != nil {
			if v, over := c.await(conn, br); over {
				return v
			}
		}
		n, err := body.Read(buf)
		end := errors.Is(err, io.EOF)
		if c.drains {
			if v, left := c.left(); left && v.Action != proxy.Drain {
				return v
			}
		}
		if n > 0 || end {
			var v proxy.Verdict
			c.out, v = c.x.Write(c.out[:0], buf[:n], end)
			if c.give(v) {
				return v
			}
		}
		if err != nil && !end {
			return c.fail(err, proxy.CauseCut)
		}
	}
}

// give sends what came of a chunk, or of none; true = the verdict ends the attempt.
func (c *playing) give(v proxy.Verdict) bool {
	if v.Action == proxy.More || v.Action == proxy.Done || len(c.out) > 0 {
		c.head()
		c.answer.Body = append(c.answer.Body, c.out...)
		if len(c.out) > 0 {
			c.last = time.Now()
		}
	}
	return v.Action != proxy.More && v.Action != proxy.Hold
}

// left tells the exchange, once, that the client has gone.
func (c *playing) left() (proxy.Verdict, bool) {
	if c.leave.IsZero() || time.Now().Before(c.leave) {
		return proxy.Verdict{}, false
	}
	v := c.x.Fail(proxy.CauseClientGone, nil)
	if v.Action == proxy.Drain {
		c.leave, c.answer.End = time.Time{}, "left"
	}
	return v, true
}

// patience is how long a read may take: the leaving of a client does not break off what is drained.
func (c *playing) patience() time.Time {
	if c.drains {
		return c.x.Deadline()
	}
	return c.until()
}

// until is the time at which the plane looks up: the exchange's limit or the client's leaving.
func (c *playing) until() time.Time {
	d := c.x.Deadline()
	if d.IsZero() || !c.leave.IsZero() && c.leave.Before(d) {
		return c.leave
	}
	return d
}

// fail names what went wrong the way a plane must.
func (c *playing) fail(err error, cause proxy.Cause) proxy.Verdict {
	var ne net.Error
	timeout := errors.As(err, &ne) && ne.Timeout()
	limit := c.x.Deadline()
	switch {
	case !c.leave.IsZero() && !time.Now().Before(c.leave):
		cause = proxy.CauseClientGone
	case !limit.IsZero() && !time.Now().Before(limit):
		cause = proxy.CauseLimit
	case timeout && cause == proxy.CauseRefused:
		cause = proxy.CauseConnect
	}
	return c.finish(c.x.Fail(cause, err))
}

func (c *playing) finish(v proxy.Verdict) proxy.Verdict {
	if v.Action == proxy.Done {
		c.head()
		c.answer.Body = append(c.answer.Body, c.x.Interrupted()...)
	}
	return v
}

func (c *playing) head() {
	if c.answer.Status != 0 {
		return
	}
	status, fields := c.x.ResponseHead()
	c.answer.Status, c.answer.Header = status, header(fields)
}

func (c *playing) reply(r *proxy.Reply) {
	c.answer.Status, c.answer.Header, c.answer.Body = r.Status, header(r.Header), r.Whole()
}

func header(fields []proxy.Field) http.Header {
	h := http.Header{}
	for _, f := range fields {
		h[f.Name] = append(h[f.Name], f.Value)
	}
	return h
}
