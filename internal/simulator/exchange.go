package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// object is a JSON object; encoding/json sorts its keys, so it is written the same way every time.
type object = map[string]any

// apiError is an answer in OpenAI's error form. kind is the wire's "type".
type apiError struct {
	status                     int
	kind, code, param, message string
}

func (e *apiError) Error() string { return e.message }

func (e *apiError) wire() object {
	nullable := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	return object{"error": object{"message": e.message, "type": e.kind, "param": nullable(e.param), "code": nullable(e.code)}}
}

func badRequest(param, format string, args ...any) *apiError {
	return &apiError{status: 400, kind: "invalid_request_error", param: param, message: fmt.Sprintf(format, args...)}
}

// statusError is the error that a fault's status stands for, in the words of the real provider where it has some.
func statusError(f *fault, status int) *apiError {
	e := &apiError{status: status, kind: "invalid_request_error", message: fmt.Sprintf("simulated failure with status %d", status)}
	switch {
	case status == 401:
		e.code = "invalid_api_key"
	case status == 404:
		e.code, e.param = "model_not_found", "model"
	case status == 429 && f.code == "insufficient_quota":
		e.kind = "insufficient_quota"
	case status == 429:
		e.kind, e.code = "requests", "rate_limit_exceeded"
	case status >= 500:
		e.kind = "server_error"
	}
	if f.code != "" {
		e.code = f.code
	}
	if f.kind != "" {
		e.kind = f.kind
	}
	if f.message != "" {
		e.message = f.message
	}
	return e
}

// exchange is one request being answered.
type exchange struct {
	s     *Server
	w     http.ResponseWriter
	rc    *http.ResponseController
	r     *http.Request
	path  string // from /v1/ on
	in    intake
	fault fault
	call  *entry
}

// serve answers the request and says how that ended.
func (x *exchange) serve() Ending {
	err := x.answer()
	if e, ok := errors.AsType[*apiError](err); ok {
		err = x.sendError(e)
	}
	switch {
	case err == nil, errors.Is(err, errEnded):
		return Completed
	case errors.Is(err, errCut):
		return Cut
	default:
		return ClientGone
	}
}

func (x *exchange) answer() error {
	if !x.s.authorized(x.r) {
		return &apiError{status: 401, kind: "invalid_request_error", code: "invalid_api_key", message: "Incorrect API key provided."}
	}
	if err := x.read(); err != nil {
		return err
	}
	f, spec, err := x.s.choose(x.r, x.in.model)
	x.call.note(func(c *Call) { c.Fault = spec })
	if err != nil {
		return err
	}
	x.fault = f
	for name, values := range f.header {
		x.w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	if err := x.wait(f.headersDelay); err != nil {
		return err
	}
	if done, err := x.fail(); done || err != nil {
		return err
	}
	return x.route()
}

// route is the provider's table of paths.
func (x *exchange) route() error {
	method, handle := http.MethodPost, x.echo
	switch {
	case x.path == "/v1/chat/completions":
		handle = x.chat
	case x.path == "/v1/completions":
		handle = x.completions
	case x.path == "/v1/embeddings":
		handle = x.embeddings
	case x.path == "/v1/responses":
		handle = x.responses
	case x.path == "/v1/audio/transcriptions":
		handle = x.transcription
	case x.path == "/v1/models", strings.HasPrefix(x.path, "/v1/models/"):
		method, handle = http.MethodGet, x.models
	case x.path == "/health":
		method, handle = http.MethodGet, func() error { return x.unary(object{"status": "ok"}, 0) }
	case strings.HasPrefix(x.path, "/v1/"):
		method = x.r.Method
	default:
		return &apiError{status: 404, kind: "invalid_request_error", code: "unknown_url", message: "Unknown request URL."}
	}
	if x.r.Method != method {
		x.w.Header().Set("Allow", method)
		return &apiError{status: 405, kind: "invalid_request_error", code: "method_not_allowed", message: "Only " + method + " is allowed here."}
	}
	return handle()
}

// fail acts out the faults that need no answer at all; done says that the exchange is over.
func (x *exchange) fail() (done bool, err error) {
	f := &x.fault
	switch {
	case f.reset:
		return true, x.reset()
	case f.hang:
		return true, x.hang()
	case f.status != 0:
		return true, statusError(f, f.status)
	case f.dribble > 0:
		return true, x.dribble()
	case f.contextLength:
		e := badRequest("messages", "This model's maximum context length is 8192 tokens. However, your messages resulted in %d tokens. Please reduce the length of the messages.", max(8193, x.in.size/4))
		e.code = "context_length_exceeded"
		return true, e
	case f.filter:
		e := badRequest("prompt", "The response was filtered due to the prompt triggering content management policy.")
		e.code = "content_filter"
		return true, e
	case f.html:
		return true, x.send(200, "text/html; charset=utf-8", []byte("<!doctype html><title>Sign in</title><h1>Sign in to the network</h1>\n"))
	case f.empty:
		return true, x.send(200, x.contentType(), nil)
	case f.hangAfter:
		return true, errors.Join(x.open(200, x.contentType()), x.hang())
	case f.comments:
		return true, x.chatter()
	case f.errorEvent.set && !x.in.stream:
		return true, x.sendJSON(200, statusError(f, 500).wire())
	}
	return false, nil
}

func (x *exchange) contentType() string {
	if x.in.stream {
		return "text/event-stream"
	}
	return "application/json"
}

// chatter keeps the connection busy without ever saying anything.
func (x *exchange) chatter() error {
	line := "\n"
	if x.in.stream {
		line = ": keep-alive\n\n"
	}
	if err := x.open(200, x.contentType()); err != nil {
		return err
	}
	for {
		if err := x.write([]byte(line)); err != nil {
			return err
		}
		d := x.fault.delay
		if d == 0 {
			d = time.Second
		}
		if err := x.wait(d); err != nil {
			return err
		}
	}
}

// hang waits for the client to leave.
func (x *exchange) hang() error {
	<-x.r.Context().Done()
	return errGone
}

// wait lets d pass, or less if the client leaves.
func (x *exchange) wait(d time.Duration) error {
	ctx := x.r.Context()
	if ctx.Err() != nil {
		return errGone
	}
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return errGone
	}
}

// reset closes the connection with a TCP reset where it is a TCP connection of HTTP/1, and as hard as it can elsewhere.
func (x *exchange) reset() error {
	x.call.end(Cut) // before the client can see it
	conn, _, err := x.rc.Hijack()
	if err != nil {
		return errCut // HTTP/2, or a recorder: ServeHTTP aborts the handler
	}
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = t.NetConn() // below TLS, which would say goodbye
	}
	switch c := conn.(type) {
	case *net.TCPConn:
		// Without lingering the kernel answers with RST. If it cannot be set, the close below is still a cut.
		_ = c.SetLinger(0)
	case interface{ Reset() }: // a connection in memory
		c.Reset()
	}
	_ = conn.Close()
	return errCut
}

// open sends the response head.
func (x *exchange) open(status int, contentType string) error {
	h := x.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Server", "sluice-simulator")
	if x.in.stream {
		h.Set("Cache-Control", "no-cache")
	}
	x.call.note(func(c *Call) { c.Status = status })
	x.w.WriteHeader(status)
	return x.flush()
}

// write sends bytes now.
func (x *exchange) write(b []byte) error {
	if x.r.Context().Err() != nil {
		return errGone
	}
	for d := x.fault.drip; d > 0 && len(b) > 1; b = b[1:] {
		if _, err := x.w.Write(b[:1]); err != nil {
			return errGone
		}
		if err := errors.Join(x.flush(), x.wait(d)); err != nil {
			return err
		}
	}
	if _, err := x.w.Write(b); err != nil {
		return errGone
	}
	return x.flush()
}

func (x *exchange) flush() error {
	if err := x.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return errGone
	}
	return nil
}

// send answers with a whole body. It does not flush: the end of the answer leaves after the log knows of it.
func (x *exchange) send(status int, contentType string, body []byte) error {
	x.call.note(func(c *Call) { c.Status = status })
	x.w.Header().Set("Content-Type", contentType)
	x.w.Header().Set("Server", "sluice-simulator")
	x.w.WriteHeader(status)
	if _, err := x.w.Write(body); err != nil || x.r.Context().Err() != nil {
		return errGone
	}
	return nil
}

func (x *exchange) sendJSON(status int, v any) error {
	return x.send(status, "application/json", marshal(v))
}

func (x *exchange) sendError(e *apiError) error { return x.sendJSON(e.status, e.wire()) }

// unary answers with v after the time that tokens generated tokens take, broken as the fault says.
func (x *exchange) unary(v any, tokens int) error {
	f := &x.fault
	if err := x.wait(f.firstToken + time.Duration(tokens)*f.delay); err != nil {
		return err
	}
	x.call.note(func(c *Call) { c.TokensOut = tokens })
	body := marshal(v)
	switch {
	case f.garbage.set:
		return x.send(200, "application/json", body[:len(body)*2/3])
	case f.shortLength:
		return x.tooMuch(body)
	case f.drip > 0:
		return errors.Join(x.open(200, "application/json"), x.write(body))
	case f.cut.set, f.stall.set:
		x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		if err := errors.Join(x.open(200, "application/json"), x.write(body[:len(body)/2])); err != nil {
			return err
		}
		if f.cut.set {
			return errCut
		}
		return x.hang()
	}
	return x.send(200, "application/json", body)
}

// marshal writes v as JSON without HTML escapes, as providers do. v is made of the package's own types, which cannot fail.
func marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
