package extproc

import (
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-gateway/sluice/internal/wire"
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
	s    *Server
	g    grpc.ServerStream
	node string

	mu      sync.Mutex
	phase   phase
	closed  bool
	x       *proxy.Exchange // nil before Begin, and where another plane has the request
	client  http.Header
	cluster string       // the target's; "" = the executor carries
	answer  http.Header  // what is replaced by an error of ours
	instead *proxy.Reply // by this one, where it does not depend on the body
	timer   *time.Timer
}

// take answers one message.
func (st *stream) take(m wire.Message) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.phase == over {
		return nil
	}
	var f func() *answer
	switch {
	case m.Kind == wire.RequestHeaders && st.phase == wantHead:
		f = func() *answer { return st.begin(m) }
	case m.Kind == wire.RequestBody && st.phase == wantBody:
		f = func() *answer { return st.decide(m.Body, to(wire.RequestBody)) }
	case m.Kind == wire.ResponseHeaders && st.phase <= wantAnswer: // Envoy's own replies get here from any earlier phase
		f = func() *answer { return st.answered(m) }
	case m.Kind == wire.ResponseBody && st.phase == wantErrorBody:
		f = func() *answer { return st.render(m.Body) }
	}
	if f == nil {
		st.s.violations.Add(1)
		st.s.o.Logger.Error("ext_proc message out of order: the filter's processing mode is not this gateway's", "phase", int(st.phase))
		return status.Error(codes.FailedPrecondition, "message out of order")
	}
	return st.say(f)
}

// say sends what f returns, or a clean error when f panics. The lock is held.
func (st *stream) say(f func() *answer) error {
	var r *answer
	st.s.guard(func() { r = f() }, func(err error) {
		r = st.reply(internalError, "internal_error")
		if st.x != nil {
			st.s.guard(func() {
				if said := st.step(func() (proxy.Owner, *answer) { return st.follow(st.x.Fail(proxy.CausePanic, err)) }); said != nil {
					r = said
				}
			}, func(error) {})
		}
	})
	if r == nil {
		return nil
	}
	return st.g.SendMsg(&r.Answer)
}

// step runs f if the exchange is still this stage's, and returns what f says.
func (st *stream) step(f func() (proxy.Owner, *answer)) (r *answer) {
	st.s.o.Table.Step(st.x, proxy.OwnerOpen, func() (next proxy.Owner) {
		next, r = f()
		return next
	})
	return r
}

// follow ends the exchange by a verdict; its reply, if there is one, takes the place of whatever Envoy has.
func (st *stream) follow(v proxy.Verdict) (proxy.Owner, *answer) {
	if v.Action == proxy.Answer {
		return proxy.OwnerEnded, st.reply(v.Reply, st.x.Record().ErrorCode)
	}
	return proxy.OwnerEnded, nil
}

// reply is the stream's last word.
func (st *stream) reply(r *proxy.Reply, code string) *answer {
	st.phase = over
	st.stop()
	return immediate(r, code)
}

// begin opens the exchange.
func (st *stream) begin(m wire.Message) *answer {
	head, ok := requestHead(st.g.Context(), m)
	if !ok {
		return st.reply(badPath, "bad_path")
	}
	if st.s.o.Snapshot != nil {
		head.Snapshot = st.s.o.Snapshot(st.node)
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
	st.x, st.client, st.phase = x, head.Header, wantBody
	st.s.o.Table.Add(x)
	r := begun(x.ID())
	if m.End {
		return st.decide([]byte{}, r)
	}
	return r
}

// decide has the exchange decide about the whole body: a chain of clusters, written into r, or a reply.
func (st *stream) decide(body []byte, r *answer) *answer {
	said := st.step(func() (proxy.Owner, *answer) {
		up, reply := st.plan(body)
		if reply != nil {
			return proxy.OwnerEnded, st.reply(reply, st.x.Record().ErrorCode)
		}
		st.phase = wantAnswer
		r.chain(st.cluster)
		if up == nil {
			st.s.handed.Add(1)
			return proxy.OwnerOpen, r
		}
		r.prepare(up, st.client)
		st.timer = time.AfterFunc(st.patience(), st.expire)
		return proxy.OwnerOpen, r
	})
	if said == nil {
		return st.reply(lost, "exchange_lost")
	}
	return said
}

// plan makes the first attempt where Envoy can carry it; without one the executor carries.
func (st *stream) plan(body []byte) (*proxy.Upstream, *proxy.Reply) {
	plan, reply := st.x.Request(body)
	if reply != nil {
		return nil, reply
	}
	direct, _ := st.x.Direct()
	if direct && len(body) > 0 {
		st.cluster, direct = st.s.o.Clusters(st.node, plan.Attempts[0].Model.Provider, st.x.Allowance())
	}
	if !direct || st.cluster == "" {
		st.cluster = ""
		return nil, nil
	}
	up, v := st.x.Attempt(0)
	switch v.Action {
	case proxy.More:
		st.x.Carry()
		return &up, nil
	case proxy.Answer:
		return nil, v.Reply
	}
	if st.cluster = ""; v.Action != proxy.Wait { // the executor waits
		st.x.HandOver(v)
	}
	return nil, nil
}

// answered takes the response's head: the target's, the executor's, or that of a reply which Envoy made up.
func (st *stream) answered(m wire.Message) *answer {
	code, header, upstream := responseHead(m)
	st.phase, st.answer = passed, header
	if st.x == nil {
		return pass(upstream)
	}
	said := st.step(func() (proxy.Owner, *answer) {
		switch {
		case !upstream:
		case !st.x.Prepared(): // the executor answered and had not claimed it, or it would not be open: it began the request afresh
			st.s.defaulted.Add(1)
			st.s.o.Logger.Warn("a request reached the executor without its exchange")
			st.x.Drop()
			return proxy.OwnerEnded, nil
		case header.Get(wire.HeaderRequestID) == idText(st.x.ID()): // a target's failure led to an executor who did not know it: it says the id
			st.s.defaulted.Add(1)
		case code >= 200 && code <= 299:
			st.s.direct.Add(1)
			r := directHead(st.x.DirectHead(code, header))
			return st.logged(), r
		default:
			if v := st.x.Response(code, header); v.Action == proxy.Hold && !m.End {
				st.phase = wantErrorBody
				return proxy.OwnerOpen, buffer(upstream)
			}
			_, v := st.x.Write(nil, nil, true)
			return st.follow(v)
		}
		v := st.x.Local(code)
		if v.Action == proxy.Answer && !m.End {
			st.instead, st.phase = v.Reply, wantErrorBody
			return proxy.OwnerEnded, buffer(upstream)
		}
		return st.follow(v)
	})
	if st.phase != wantErrorBody {
		st.stop()
	}
	if said == nil {
		return pass(upstream)
	}
	return said
}

// render makes the client's error of a refusal's body.
func (st *stream) render(body []byte) *answer {
	st.phase = passed
	st.stop()
	if st.instead == nil {
		st.step(func() (proxy.Owner, *answer) {
			_, v := st.x.Write(nil, body, true)
			st.instead = v.Reply
			return proxy.OwnerEnded, nil
		})
	}
	return rendered(st.instead, st.answer)
}

// slack is how much later than the target's cluster the stage notices a limit that both keep: the cluster moves on to the executor, the stage can only
// end the exchange.
const slack = 500 * time.Millisecond

// patience is how long the stage waits for the target's head.
func (st *stream) patience() time.Duration {
	wait := time.Until(st.x.Deadline())
	if st.x.Allowance()-wait < slack {
		wait += slack
	}
	return wait
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
	_ = st.say(func() *answer { // a stream that cannot be written to ends by itself
		return st.step(func() (proxy.Owner, *answer) { return st.follow(st.x.Fail(proxy.CauseLimit, nil)) })
	})
}

// interrupt ends the request because the gateway stops. What another plane has, that plane ends.
func (st *stream) interrupt() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed || st.phase == over || st.x == nil {
		return
	}
	_ = st.say(func() *answer {
		if st.x.Owner() == proxy.OwnerDirect {
			return st.reply(lost, "shutdown") // the answer has begun, so Envoy cuts it; its log says so
		}
		return st.step(func() (proxy.Owner, *answer) { return st.follow(st.x.Fail(proxy.CauseRefused, nil)) })
	})
}

func (st *stream) stop() {
	if st.timer != nil {
		st.timer.Stop()
	}
}

// close ends what nobody took over: the client left. Of a request that Envoy had sent to the target its log tells whether the client left or the
// answer broke off before its head got here.
func (st *stream) close() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.closed = true
	st.stop()
	if st.x != nil {
		st.s.guard(func() { st.step(st.left) }, func(error) {})
	}
}

func (st *stream) left() (proxy.Owner, *answer) {
	if st.cluster != "" && (st.phase == wantAnswer || st.phase == wantErrorBody && st.instead == nil) {
		return st.logged(), nil
	}
	return proxy.OwnerEnded, nil
}

// logged hands the exchange to its log, which may have been there before.
func (st *stream) logged() proxy.Owner {
	if st.x.Foretold() {
		return proxy.OwnerEnded
	}
	return proxy.OwnerDirect
}
