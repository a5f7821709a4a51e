package extproc

import (
	"encoding/hex"
	"net/http"
	"sync"
	"time"

	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-gateway/sluice/proxy"
)

// phase is what a stream waits for.
type phase uint8

const (
	wantHead      phase = iota // request headers
	wantBody                   // the request's body, or the headers of Envoy's own refusal of it
	wantAnswer                 // response headers
	wantErrorBody              // the response's body, which our mode override asked for
	passed                     // nothing: everything was said, and Envoy knows
	over                       // nothing: our reply is on its way, and what crossed it is of no interest
)

// stream is one request on its way through Envoy. Its lock is held while a message is answered and while a timer speaks out of turn.
type stream struct {
	s *Server
	g extproc.ExternalProcessor_ProcessServer

	mu      sync.Mutex
	phase   phase
	closed  bool
	x       *proxy.Exchange // nil before Begin, and where another plane has the request
	head    http.Header     // the client's
	cluster string          // the target's; "" = the executor carries
	answer  http.Header     // what is replaced by an error of ours
	instead *proxy.Reply    // by this one, where it does not depend on the body
	timer   *time.Timer
}

// take answers one message.
func (st *stream) take(m *extproc.ProcessingRequest) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.phase == over {
		return nil
	}
	if !st.expects(m) {
		st.s.violations.Add(1)
		st.s.o.Logger.Error("ext_proc message out of order: the filter's processing mode is not this gateway's", "phase", int(st.phase))
		return status.Error(codes.FailedPrecondition, "message out of order")
	}
	return st.say(func() *extproc.ProcessingResponse { return st.step(m) })
}

// expects holds the order of messages. Envoy's own replies reach the response's phase from any earlier one.
func (st *stream) expects(m *extproc.ProcessingRequest) bool {
	switch r := m.Request.(type) {
	case *extproc.ProcessingRequest_RequestHeaders:
		return st.phase == wantHead && r.RequestHeaders != nil
	case *extproc.ProcessingRequest_RequestBody:
		return st.phase == wantBody && r.RequestBody != nil
	case *extproc.ProcessingRequest_ResponseHeaders:
		return st.phase <= wantAnswer && r.ResponseHeaders != nil
	case *extproc.ProcessingRequest_ResponseBody:
		return st.phase == wantErrorBody && r.ResponseBody != nil
	}
	return false
}

func (st *stream) step(m *extproc.ProcessingRequest) *extproc.ProcessingResponse {
	switch r := m.Request.(type) {
	case *extproc.ProcessingRequest_RequestHeaders:
		return st.begin(r.RequestHeaders, attribute(m, "source.address"))
	case *extproc.ProcessingRequest_RequestBody:
		return bodyAnswer(st.decide(r.RequestBody.Body))
	case *extproc.ProcessingRequest_ResponseHeaders:
		return st.answered(r.ResponseHeaders, attribute(m, "xds.cluster_name"), attribute(m, "response.code_details"))
	}
	return st.render(m.GetResponseBody().Body)
}

// say sends what f returns, or a clean error when f panics. The lock is held.
func (st *stream) say(f func() *extproc.ProcessingResponse) error {
	var r *extproc.ProcessingResponse
	st.s.guard(func() { r = f() }, func(err error) { r = st.broken(err) })
	if r == nil {
		return nil
	}
	return st.g.Send(r)
}

// broken answers for a step that panicked.
func (st *stream) broken(err error) (r *extproc.ProcessingResponse) {
	r = st.reply(internalError, "internal_error")
	if st.x != nil {
		st.s.guard(func() {
			st.end(func() proxy.Verdict { return st.x.Fail(proxy.CausePanic, err) }, func(said *extproc.ProcessingResponse) { r = said })
		}, func(error) {})
	}
	return r
}

// begin opens the exchange.
func (st *stream) begin(h *extproc.HttpHeaders, peer string) *extproc.ProcessingResponse {
	head, ok := requestHead(st.g.Context(), h, peer)
	if !ok {
		return st.reply(badPath, "bad_path")
	}
	x, refusal := st.s.o.Gateway.Begin(st.g.Context(), head)
	if refusal != nil {
		defer x.End()
		return st.reply(refusal, x.Record().ErrorCode)
	}
	if x.BodyMode() != proxy.BodyWhole {
		x.Drop() // an upload must not be buffered: the chain's default, the executor, begins it afresh
		st.phase = passed
		return streamUp()
	}
	st.x, st.head, st.phase = x, head.Header, wantBody
	st.s.o.Table.Add(x)
	id := x.ID()
	said := withID(hex.EncodeToString(id[:]))
	if h.EndOfStream {
		d, refused := st.decide(nil)
		if refused != nil {
			return refused
		}
		chain(said, d.cluster)
	}
	return said
}

// decision is what the body's answer tells Envoy.
type decision struct {
	cluster string // "" = the executor only
	up      proxy.Upstream
	client  http.Header
}

// decide has the exchange decide about the whole body: a chain of clusters, or a reply.
func (st *stream) decide(body []byte) (d *decision, refused *extproc.ProcessingResponse) {
	own := st.s.o.Table.Step(st.x, proxy.OwnerOpen, func() proxy.Owner {
		var reply *proxy.Reply
		if d, reply = st.plan(body); reply != nil {
			refused = st.reply(reply, st.x.Record().ErrorCode)
			return proxy.OwnerEnded
		}
		return proxy.OwnerOpen
	})
	switch {
	case !own:
		return nil, st.reply(lost, "exchange_lost")
	case refused != nil:
		return nil, refused
	}
	st.phase = wantAnswer
	if d.cluster == "" {
		st.s.handed.Add(1)
		return d, nil
	}
	st.cluster = d.cluster
	st.timer = time.AfterFunc(time.Until(st.x.Deadline()), st.expire)
	return d, nil
}

// plan makes the first attempt where Envoy can carry it.
func (st *stream) plan(body []byte) (*decision, *proxy.Reply) {
	if body == nil {
		body = []byte{}
	}
	plan, reply := st.x.Request(body)
	if reply != nil {
		return nil, reply
	}
	direct, _ := st.x.Direct()
	cluster := ""
	if direct && len(body) > 0 {
		cluster, direct = st.s.o.Clusters(plan.Attempts[0].Model.Provider, st.x.Allowance())
	}
	if !direct || cluster == "" {
		return &decision{}, nil
	}
	up, v := st.x.Attempt(0)
	switch v.Action {
	case proxy.More:
		st.x.Carry()
		return &decision{cluster: cluster, up: up, client: st.head}, nil
	case proxy.Answer:
		return nil, v.Reply
	}
	st.x.HandOver(v)
	return &decision{}, nil
}

// answered takes the response's head: the target's, the executor's, or that of a reply which Envoy made up.
func (st *stream) answered(h *extproc.HttpHeaders, cluster, details string) *extproc.ProcessingResponse {
	code, header := responseHead(h)
	local := st.phase < wantAnswer || code >= 400 && details != "" && details != viaUpstream
	st.phase, st.answer = passed, header
	said := passHead()
	if st.x == nil {
		return said
	}
	st.s.o.Table.Step(st.x, proxy.OwnerOpen, func() proxy.Owner {
		switch {
		case local:
		case !st.x.Prepared(): // the executor answered and had not claimed it: it began the request afresh
			st.s.defaulted.Add(1)
			st.s.o.Logger.Warn("a request reached the executor without its exchange", "details", details)
			st.x.Drop()
			return proxy.OwnerEnded
		case cluster != "" && cluster != st.cluster:
			st.s.defaulted.Add(1)
		case code >= 200 && code <= 299:
			st.s.direct.Add(1)
			st.stop()
			said = directHead(st.x.DirectHead(code, header))
			return proxy.OwnerDirect
		default:
			if v := st.x.Response(code, header); v.Action == proxy.Hold && !h.EndOfStream {
				st.phase = wantErrorBody
				said = bufferBody()
				return proxy.OwnerOpen
			}
			_, v := st.x.Write(nil, nil, true)
			return st.verdict(v, func(r *extproc.ProcessingResponse) { said = r })
		}
		v := st.x.Local(code)
		if v.Action == proxy.Answer && !h.EndOfStream {
			st.instead, st.phase = v.Reply, wantErrorBody
			said = bufferBody()
			return proxy.OwnerEnded
		}
		return st.verdict(v, func(r *extproc.ProcessingResponse) { said = r })
	})
	if st.phase != wantErrorBody {
		st.stop()
	}
	return said
}

const viaUpstream = "via_upstream"

// verdict ends the exchange; its reply, if there is one, takes the place of whatever Envoy has.
func (st *stream) verdict(v proxy.Verdict, say func(*extproc.ProcessingResponse)) proxy.Owner {
	if v.Action == proxy.Answer {
		say(st.reply(v.Reply, st.x.Record().ErrorCode))
	}
	return proxy.OwnerEnded
}

// render makes the client's error of a refusal's body.
func (st *stream) render(body []byte) *extproc.ProcessingResponse {
	st.phase = passed
	st.stop()
	if st.instead == nil {
		st.s.o.Table.Step(st.x, proxy.OwnerOpen, func() proxy.Owner {
			if _, v := st.x.Write(nil, body, true); v.Action == proxy.Answer {
				st.instead = v.Reply
			}
			return proxy.OwnerEnded
		})
	}
	return rendered(st.instead, st.answer)
}

// reply is the stream's last word.
func (st *stream) reply(r *proxy.Reply, code string) *extproc.ProcessingResponse {
	st.phase = over
	st.stop()
	return immediate(r, code)
}

// end ends an exchange that is still this stage's by what fail says of it.
func (st *stream) end(fail func() proxy.Verdict, say func(*extproc.ProcessingResponse)) {
	st.s.o.Table.Step(st.x, proxy.OwnerOpen, func() proxy.Owner { return st.verdict(fail(), say) })
}

// expire speaks out of turn: the target was silent for too long. Envoy drops it and sends our reply.
func (st *stream) expire() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed || st.phase != wantAnswer && st.phase != wantErrorBody {
		return
	}
	if left := time.Until(st.x.Deadline()); left > 0 {
		st.timer.Reset(left)
		return
	}
	_ = st.say(func() (r *extproc.ProcessingResponse) { // a stream that cannot be written to ends by itself
		st.end(func() proxy.Verdict { return st.x.Fail(proxy.CauseLimit, nil) }, func(said *extproc.ProcessingResponse) { r = said })
		return r
	})
}

// interrupt ends the request because the gateway stops.
func (st *stream) interrupt() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed || st.phase == over {
		return
	}
	_ = st.say(func() (r *extproc.ProcessingResponse) {
		if st.x == nil {
			return nil // nothing began, or another plane has it
		}
		if st.x.Owner() == proxy.OwnerDirect {
			return st.reply(lost, "shutdown") // the answer has begun, so Envoy cuts it; its log says so
		}
		st.end(func() proxy.Verdict { return st.x.Fail(proxy.CauseRefused, nil) }, func(said *extproc.ProcessingResponse) { r = said })
		return r
	})
}

func (st *stream) stop() {
	if st.timer != nil {
		st.timer.Stop()
	}
}

// last reports whether nothing is left to be said.
func (st *stream) last() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.phase >= passed
}

// close ends what nobody took over: the client left.
func (st *stream) close() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.closed = true
	st.stop()
	if st.x != nil {
		st.s.guard(func() {
			st.s.o.Table.Step(st.x, proxy.OwnerOpen, func() proxy.Owner { return proxy.OwnerEnded })
		}, func(error) {})
	}
}
