package httpproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/proxy"
)

// Handler serves the data listener.
type Handler struct {
	// Dial makes upstream connections, within the context's time; nil = the network's. It must be set before the first request.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	gateway    *proxy.Gateway
	transports *transports
	open       *open
	panicked   func(v any, stack []byte)
}

// New returns a handler that drives the gateway's exchanges. panicked is told of recovered panics; nil = nobody.
func New(g *proxy.Gateway, panicked func(v any, stack []byte)) *Handler {
	h := &Handler{gateway: g, panicked: panicked, open: newOpen()}
	h.transports = newTransports(h.dial)
	return h
}

// Close closes idle upstream connections.
func (h *Handler) Close() { h.transports.close() }

// lingerTime is how long a refused client may go on sending a body that is thrown away, so that it gets to read why.
const lingerTime = 500 * time.Millisecond

// call is one request on its way through the plane.
type call struct {
	h    *Handler
	x    *proxy.Exchange
	w    http.ResponseWriter
	r    *http.Request
	body []byte // whole body; nil when it streams
	up   *upload
	sent bool // the head went to the client
	out  []byte

	drains bool // the attempt in flight is read on when the client leaves
	gone   bool // it is

	quiet quiet
	hung  atomic.Bool // the client was hung up on
}

// ServeHTTP carries one exchange.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.serve(w, r, "embedded") }

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, plane string) {
	x, reply := h.begin(r, plane)
	c := &call{h: h, x: x, w: w, r: r}
	defer func() {
		x.End()
		x.Release()
	}()
	defer c.recover()
	if reply != nil {
		c.reply(reply)
		return
	}
	c.serve()
}

func (h *Handler) begin(r *http.Request, plane string) (*proxy.Exchange, *proxy.Reply) {
	return h.gateway.Begin(r.Context(), proxy.Head{Method: r.Method, URL: r.URL, Header: r.Header, Peer: r.RemoteAddr, ContentLength: r.ContentLength, Plane: plane})
}

// recover turns a panic into the exchange's failure: one request ends, not the process.
func (c *call) recover() {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	if c.h.panicked != nil {
		c.h.panicked(v, debug.Stack())
	}
	verdict := c.x.Fail(proxy.CausePanic, fmt.Errorf("panic: %v", v))
	if verdict.Action == proxy.Answer && !c.sent {
		c.reply(verdict.Reply)
		return
	}
	panic(http.ErrAbortHandler)
}

func (c *call) serve() {
	if !c.receive() {
		return
	}
	if c.up != nil {
		defer c.up.close()
	}
	if _, reply := c.x.Request(c.body); reply != nil {
		c.reply(reply)
		return
	}
	c.run(proxy.Verdict{Action: proxy.Next})
}

// run is the loop of attempts, from a verdict on.
func (c *call) run(v proxy.Verdict) {
	buf := smalls.Get().(*[]byte)
	defer smalls.Put(buf)
	defer c.quiet.stop()
	for {
		switch v.Action {
		case proxy.Next:
			if over := c.wait(v.Delay); over != nil {
				v = *over
				continue
			}
			v = c.try(v.Attempt, *buf)
		case proxy.Wait:
			v = c.queue(v.Attempt)
		case proxy.Answer:
			c.reply(v.Reply)
			return
		case proxy.Stop:
			panic(http.ErrAbortHandler) // the client must not take a broken body, or none, for a whole answer
		default:
			return
		}
	}
}

// wait sleeps through a back-off; not nil = what follows from something else that came before its end.
func (c *call) wait(d time.Duration) *proxy.Verdict {
	if d <= 0 {
		return nil
	}
	return c.until(time.Now().Add(d), nil)
}

// until waits for a point in time or for ready, whatever is first; not nil = the client left, or the process ends.
func (c *call) until(at time.Time, ready <-chan struct{}) *proxy.Verdict {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	cause := proxy.CauseClientGone
	select {
	case <-t.C:
		return nil
	case <-ready:
		return nil
	case <-c.h.open.over:
		cause = proxy.CauseStop
	case <-c.r.Context().Done():
	}
	v := c.finish(c.x.Fail(cause, c.r.Context().Err()))
	return &v
}

// queue waits for a place among a provider's requests.
func (c *call) queue(i int) proxy.Verdict {
	ready, until := c.x.Waiting()
	if over := c.until(until, ready); over != nil {
		return *over
	}
	return proxy.Verdict{Action: proxy.Next, Attempt: i}
}

// try makes one attempt and carries its answer as far as its verdicts go. An open stream spends its life in here, and its goroutine keeps the stack that
// this takes: what is needed to send the request is in the frame of takeOff, which is gone by then.
func (c *call) try(i int, buf []byte) proxy.Verdict {
	var f flight
	defer c.land(&f)
	if v, over := c.takeOff(&f, i); over {
		return v
	}
	return c.carry(f.body, buf, f.watch)
}

// flight is what an attempt holds of the plane; the zero value holds nothing.
type flight struct {
	cancel context.CancelFunc
	watch  *watch
	resp   *http.Response
	body   io.Reader // the answer's, to be read on
}

// takeOff sends the attempt's request and takes the head of its answer; true = the verdict ends the attempt.
func (c *call) takeOff(f *flight, i int) (proxy.Verdict, bool) {
	up, v := c.x.Attempt(i)
	if v.Action != proxy.More {
		return c.finish(v), true
	}
	c.quiet.arm(c, c.x.Silence())
	parent := c.r.Context()
	if c.drains = up.Drain; c.drains {
		parent = context.WithoutCancel(parent)
	}
	ctx, cancel := context.WithCancel(context.WithValue(parent, connectKey{}, up.Connect))
	f.cancel, f.watch = cancel, newWatch(c.x, cancel, c.hangUp)
	c.h.open.add(f.watch)
	resp, err := c.h.transports.of(up.Provider).RoundTrip(c.request(ctx, &up))
	if err != nil {
		return c.fail(f.watch, err, true), true
	}
	f.resp = resp
	if resp.StatusCode == http.StatusSwitchingProtocols { // nobody asked for it, and reading from what follows would heed no limit
		resp.Body.Close()
		resp.Body = http.NoBody
	}
	if f.body, err = decoded(resp, c.x.Reads()); err != nil { // before the exchange sees the head, which changes with it
		return c.fail(f.watch, err, false), true
	}
	v = c.x.Response(resp.StatusCode, resp.Header)
	f.watch.look()
	if v.Action == proxy.More {
		if err := c.head(); err != nil {
			return c.x.Fail(proxy.CauseClientGone, err), true // its bytes pass unread: nothing is drained
		}
	}
	return v, false
}

func (c *call) land(f *flight) {
	if f.resp != nil {
		f.resp.Body.Close()
	}
	if f.watch != nil {
		c.h.open.remove(f.watch)
		f.watch.stop()
		f.cancel()
	}
}

// hangUp makes writes to the client fail, now and from now on.
func (c *call) hangUp() {
	c.hung.Store(true)
	_ = http.NewResponseController(c.w).SetWriteDeadline(time.Unix(1, 0)) // not supported = nobody to hang up on
}

// carry copies the answer, chunk by chunk, through the exchange.
func (c *call) carry(body io.Reader, buf []byte, watch *watch) proxy.Verdict {
	in := chunks{body: body, small: buf}
	defer in.close()
	for {
		chunk, over, err := c.next(&in, watch)
		if over != nil {
			return *over
		}
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			if len(chunk) > 0 {
				if v, stop := c.pass(chunk, false, watch); stop {
					return v
				}
			}
			return c.fail(watch, err, false)
		}
		if v, stop := c.pass(chunk, end, watch); stop {
			if v.Action == proxy.Done && !end {
				watch.drain(body, buf)
			}
			return v
		}
	}
}

// pass hands a chunk to the exchange and what comes of it to the client; true = the verdict ends the attempt.
func (c *call) pass(chunk []byte, end bool, watch *watch) (proxy.Verdict, bool) {
	if v, over := c.absent(); over {
		return v, true
	}
	if c.x.Streams() { // what comes of a piece is mostly as long, and grows by its events
		c.out = slices.Grow(c.out[:0], len(chunk))
	}
	var v proxy.Verdict
	c.out, v = c.x.Write(c.out[:0], chunk, end)
	return c.give(v, watch)
}

// absent looks whether the client has left an attempt that does not end with that by itself; true = now it does.
func (c *call) absent() (proxy.Verdict, bool) {
	err := c.r.Context().Err()
	if !c.drains || c.gone || err == nil {
		return proxy.Verdict{}, false
	}
	return c.leave(err)
}

// give sends the client what came of a chunk, or of none; true = the verdict ends the attempt.
func (c *call) give(v proxy.Verdict, watch *watch) (proxy.Verdict, bool) {
	watch.look()
	switch v.Action {
	case proxy.Hold:
		return v, false
	case proxy.Answer, proxy.Stop:
		return v, true
	}
	if v.Action == proxy.Next && len(c.out) == 0 {
		return v, true
	}
	watch.sending.Store(true)
	c.x.Giving()
	err := c.send(c.out)
	c.x.Given()
	watch.sent()
	if err != nil && v.Action != proxy.Done {
		return c.leave(err)
	}
	return v, v.Action != proxy.More
}

// leave tells the exchange that the client has gone; true = that ends the attempt.
func (c *call) leave(err error) (proxy.Verdict, bool) {
	v := c.x.Fail(proxy.CauseClientGone, err)
	c.gone = v.Action == proxy.Drain
	return v, !c.gone
}

// fail names what the plane saw and asks what follows from it.
func (c *call) fail(watch *watch, err error, dialing bool) proxy.Verdict {
	v := c.x.Fail(c.causeOf(watch, err, dialing), err)
	if v.Action == proxy.Drain { // there is nothing left to read
		v.Action = proxy.Stop
	}
	return c.finish(v)
}

// finish sends the last word of a stream that ended outside its bytes.
func (c *call) finish(v proxy.Verdict) proxy.Verdict {
	if v.Action == proxy.Done {
		_ = c.send(c.x.Interrupted())
	}
	return v
}

// send writes to the client, the head first, and flushes: an event must not wait for the next one. A head leaves with the bytes that it begins.
func (c *call) send(p []byte) error {
	c.quiet.lock()
	defer c.quiet.unlock()
	begun := c.begin()
	if len(p) == 0 && !begun {
		return nil
	}
	if len(p) > 0 {
		c.quiet.last = time.Now()
		if _, err := c.w.Write(p); err != nil {
			return err
		}
	}
	return c.flush()
}

// head sends the head of an answer whose first bytes may take their time.
func (c *call) head() error {
	c.quiet.lock()
	defer c.quiet.unlock()
	if !c.begin() {
		return nil
	}
	return c.flush()
}

// begin writes the head, unless that is done, for whoever holds the lock and flushes.
func (c *call) begin() bool {
	if c.sent {
		return false
	}
	c.sent = true
	status, fields := c.x.ResponseHead()
	c.setHead(fields)
	if h := c.w.Header(); h["Content-Type"] == nil {
		h["Content-Type"] = nil // the upstream said none: the server must not guess one
	}
	c.w.WriteHeader(status)
	return true
}

// flush sends what was written of a stream.
func (c *call) flush() error {
	if !c.x.Streams() {
		return nil
	}
	return http.NewResponseController(c.w).Flush()
}

func (c *call) reply(r *proxy.Reply) {
	c.quiet.lock()
	defer c.quiet.unlock()
	c.sent = true
	c.setHead(r.Header)
	if r.Close {
		c.w.Header().Set("Connection", "close")
		// net/http would wait for the rest of a body that nobody reads, for as long as the client likes.
		_ = http.NewResponseController(c.w).SetReadDeadline(time.Now().Add(lingerTime)) // not supported = nothing to wait for
	}
	if n := len(r.Body) + len(r.Rest); n > tellsLength {
		c.w.Header()["Content-Length"] = []string{strconv.Itoa(n)}
	}
	c.w.WriteHeader(r.Status)
	if c.r.Method != http.MethodHead {
		c.deliver(r.Body, r.Rest)
	}
}

// tellsLength is the longest body, in bytes, whose length net/http tells by itself; a longer one it would send in chunks.
const tellsLength = 2 << 10

// replyPiece is how much of a long reply is written at once, in bytes.
const replyPiece = 128 << 10

// deliver writes the body of a reply. A long one, which is a recorded answer, goes piece by piece: a client has unreadTime for each.
func (c *call) deliver(p, rest []byte) {
	rc := http.NewResponseController(c.w)
	long := len(p)+len(rest) > replyPiece
	for len(p)+len(rest) > 0 {
		if len(p) == 0 {
			p, rest = rest, nil
		}
		n := min(len(p), replyPiece)
		if long {
			_ = rc.SetWriteDeadline(time.Now().Add(unreadTime)) // not supported = nobody to wait for
		}
		if _, err := c.w.Write(p[:n]); err != nil {
			return
		}
		p = p[n:]
	}
	if long && rc.Flush() == nil { // while there still is a limit
		_ = rc.SetWriteDeadline(time.Time{})
	}
}

// setHeader adds the fields. The values share one array: a slice of each field's own costs an allocation a field.
func setHeader(h http.Header, fields []proxy.Field) {
	values := make([]string, len(fields))
	for i, f := range fields {
		if old, ok := h[f.Name]; ok {
			h[f.Name] = append(old, f.Value)
			continue
		}
		values[i] = f.Value
		h[f.Name] = values[i : i+1 : i+1]
	}
}
