package proxy

import (
	"net/http"
	"time"

	"github.com/sluice-gateway/sluice/cache"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/router"
)

// Direct reports whether an external proxy may carry the plan's first attempt: it can send one prepared request and pass the answer on,
// no more. What must be touched on its way back is the executor's, and why says what that is.
func (x *Exchange) Direct() (ok bool, why string) {
	if x.plan.Carrier != "envoy" {
		return false, x.plan.Why
	}
	m := x.plan.Attempts[0].Model
	switch {
	case x.mode != BodyWhole || x.pass != nil:
		return false, "the body is not read"
	case x.env.Op == llm.OpOpaque:
		return false, "the answer is not read"
	case x.escalation() != nil:
		return false, "an answer that is no good is asked for again"
	case x.touchesCache():
		return false, "the answer is recorded for the cache"
	case x.folds(m):
		return false, "the answer is folded from a stream"
	case m.Provider.Proxy != nil:
		return false, "the provider is reached through an egress proxy"
	case m.Provider.Cancel == "drain":
		return false, "on_cancel is drain"
	case x.g.breakers.HalfOpen(m.Provider.Name, m.Name): // the request may have to be the probe
		return false, "the target is half-open"
	}
	return true, "the route's carrier"
}

// Carry says that the external proxy carries the attempt in flight. Its failure before the answer's head is Resume's, its end Settle's.
func (x *Exchange) Carry() {
	x.attempt.direct = true
	x.rec.Carried = "envoy"
}

// DirectHead takes the head of the attempt's answer of 2xx and returns the client's headers of Sluice and the names of those that are not
// the client's business.
func (x *Exchange) DirectHead(status int, h http.Header) (set []Field, remove []string) {
	a := x.attempt
	a.status, a.rec.Status = status, status
	a.rec.FirstByte = time.Now()
	x.g.creds.Observe(a.provider, a.cred, h)
	x.succeeded(a)
	x.commit(status)
	x.forget()
	for name := range h {
		if drops(name) && name != "Content-Length" && name != "Transfer-Encoding" {
			remove = append(remove, name)
		}
	}
	return x.clientFields(nil), remove
}

// forget lets go of the body, which nobody can send again: a stream lasts for minutes. What counts it stays.
func (x *Exchange) forget() {
	env := *x.env
	env.ContentBytes = 4 * env.PromptTokens()
	env.Body, env.Doc, env.Turns, env.Media, env.Images, env.Tools, env.ToolBytes = nil, nil, nil, nil, 0, 0, 0
	x.env, x.body = &env, nil
	if x.decision != nil {
		x.decision.Facts, x.decision.Content = policies.Facts{}, router.Content{}
	}
}

// Allowance is how long the answer of an attempt that an external proxy carries may take from its first byte sent to its last one received.
func (x *Exchange) Allowance() time.Duration {
	if x.env.Stream {
		return x.timeouts().Total
	}
	return x.timeouts().Answer
}

// DirectEnd is what a log says of an answer that an external proxy carried.
type DirectEnd struct {
	Usage    llm.Usage
	HasUsage bool
	BytesOut int64
	Took     time.Duration // from the request's begin to the last byte sent; 0 = unknown, the end is now
	Cause    Cause         // with Broken
	Broken   bool          // the answer did not come to its end
	Status   int           // that the client got; 0 = unknown, or none
}

// Settle ends an exchange that an external proxy carried.
func (x *Exchange) Settle(e DirectEnd) {
	a := x.attempt
	if x.finished || a == nil {
		return
	}
	x.rec.BytesOut = e.BytesOut
	if a.usage, a.seenUsage = e.Usage, e.HasUsage; !e.HasUsage {
		a.outBytes = int(e.BytesOut)
		if x.env.Stream {
			a.outBytes /= frameOverhead
		}
	}
	switch {
	case !e.Broken && e.Status < 400:
		if !x.committed && e.Status != 0 {
			x.commit(e.Status)
		}
		x.finished, x.rec.Outcome = true, "ok"
		x.remember(a)
	case e.Cause == CauseClientGone:
		x.clientGone()
	case e.Status >= 400:
		x.replaced(e)
	default:
		x.finished, x.rec.Outcome, x.rec.ErrorCode = true, "interrupted", "stream_interrupted"
		a.rec.Class, a.rec.Cause = llm.ClassStreamBroken, e.Cause.String()
	}
	x.endAttempt(a)
	if end := x.rec.Start.Add(e.Took); e.Took > 0 && end.After(a.rec.FirstByte) && end.Before(a.rec.End) { // logs come late
		a.rec.End, x.rec.End = end, end
	}
}

// Told reports whether the client was given a head, and with it the exchange's id.
func (x *Exchange) Told() bool { return x.door.Load() != doorShut }

// Foretell keeps what a log said while the plane had not finished with the exchange: logs and messages take different ways.
func (x *Exchange) Foretell(e DirectEnd) { x.foretold = &e }

// Foretold settles an exchange whose log was there first; false when it is still to come.
func (x *Exchange) Foretold() bool {
	if x.foretold != nil {
		x.Settle(*x.foretold)
	}
	return x.foretold != nil
}

// replaced ends an exchange whose client got an error of the external proxy's: the answer broke off before its head could be passed on.
func (x *Exchange) replaced(e DirectEnd) {
	if !e.Broken {
		e.Cause = CauseCut
	}
	a, err := x.attempt, *x.cause(e.Cause, nil)
	err.Status = e.Status
	switch e.Status {
	case http.StatusInternalServerError:
		err.Code = "internal_error"
	case http.StatusServiceUnavailable:
		err.Code = "no_target_available"
	case http.StatusGatewayTimeout:
		err.Code = "upstream_timeout"
	}
	x.finished, x.rec.Status, x.rec.ErrorCode, x.rec.Outcome = true, e.Status, err.Code, outcome(&err)
	a.rec.Class, a.rec.Cause, a.outBytes = err.Class, e.Cause.String(), 0
	a.rec.FirstToken, x.rec.FirstToken = time.Time{}, time.Time{}
}

// frameOverhead is how many bytes of a stream of chat chunks come to one byte of text: for the estimate of a stream that nobody counted.
const frameOverhead = 48

// Failure is what is known of the first attempt when the executor takes over.
type Failure struct {
	Status int // 0 = no answer
	Header http.Header
	Cause  Cause
}

// HandOver leaves it to the executor to follow a verdict on an attempt that was never sent.
func (x *Exchange) HandOver(v Verdict) { x.handed = &v }

// Resume goes on with an exchange that the executor claimed, at the right index of its plan. f is nil when nothing is known of a prepared first
// attempt but that it failed.
func (x *Exchange) Resume(f *Failure) Verdict {
	x.rec.Carried = "executor"
	a := x.attempt
	switch {
	case a == nil:
		return Verdict{Action: Next}
	case x.handed != nil:
		return *x.handed
	}
	a.direct = false
	if f == nil {
		return x.Fail(CauseReset, nil)
	}
	return x.judge(f)
}

// judge takes a failure of the attempt in flight as if this plane had seen it.
func (x *Exchange) judge(f *Failure) Verdict {
	if f.Status == 0 {
		return x.Fail(f.Cause, nil)
	}
	x.Response(f.Status, f.Header)
	_, v := x.Write(nil, nil, true)
	return v
}

// Local judges an answer that the external proxy made up: it could not read the request, or it reached neither target nor executor.
func (x *Exchange) Local(status int) Verdict {
	switch {
	case status == http.StatusRequestEntityTooLarge:
		return x.Fail(CauseBody, ErrTooLarge)
	case x.env == nil:
		return x.Fail(CauseBody, nil)
	case x.handed != nil:
		return x.giveUp(x.failed)
	}
	select {
	case f := <-x.learned:
		return x.judge(&f)
	default:
	}
	if status == http.StatusGatewayTimeout {
		return x.Fail(CauseLimit, nil)
	}
	return x.Fail(CauseRefused, nil)
}

// Drop forgets an exchange that another plane begins afresh: it leaves no record.
func (x *Exchange) Drop() {
	if x.ended {
		return
	}
	x.ended = true
	x.settleAttempt()
	x.land(nil, cache.Died) // nobody must wait for it, least of all the exchange that is begun afresh
	x.leave()
	x.tab.Cancel()
	x.g.inflight.Add(-1)
	x.s.live.Add(-1)
	x.g.total.Add(-1)
}

// Body returns the client's body. It lives until End.
func (x *Exchange) Body() []byte { return x.body }

// Learn tells a waiting executor what became of the first attempt. Only the first word counts.
func (x *Exchange) Learn(f Failure) {
	select {
	case x.learned <- f:
	default:
	}
}

// Learned gives what Learn was told.
func (x *Exchange) Learned() <-chan Failure { return x.learned }

// Prepared reports whether a first attempt was written for an external proxy to send.
func (x *Exchange) Prepared() bool { return x.attempt != nil && x.handed == nil }
