package proxy

import (
	"errors"
	"net/http"
	"time"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers/openai"
	"github.com/sluice-gateway/sluice/router/pool"
)

var errTruncated = errors.New("the answer ended early")

// Fail tells the exchange what went wrong outside its bytes. After Done the plane sends Interrupted and ends the body cleanly; after Next it
// goes on as ever, also when the client has had a part of the answer.
func (x *Exchange) Fail(c Cause, err error) Verdict {
	if x.finished && c != CausePanic {
		return Verdict{Action: Stop}
	}
	switch c {
	case CauseClientGone:
		return x.clientGone()
	case CausePanic:
		return x.internal(err)
	case CauseBody:
		return x.clientBody(err)
	case CauseStop:
		return x.stopped()
	}
	e := x.cause(c, err)
	if x.attempt == nil { // nobody was asked
		x.worst.all++
		if c == CauseRefused {
			x.worst.refused++
		}
		return x.giveUp(e)
	}
	name := c.String()
	if c == CauseLimit {
		name = x.limitName()
	}
	if x.attempt.embeds {
		return x.embedFailed(e, name)
	}
	var v Verdict
	switch a := x.attempt; {
	case a.whole(x.env.N) && a.kind == answerEvents: // nothing is missing but the end mark
		var out []byte
		if out, v = x.writeEvents(nil, nil, true); v.Action == Done {
			x.held = out
		}
	case x.committed && a.kind == answerOpaque: // bytes that are not ours to end: only a broken connection says that they broke off
		a.rec.Class, a.rec.Cause = e.Class, name
		x.endAttempt(a)
		x.finished, x.rec.Outcome, x.rec.ErrorCode = true, "interrupted", "stream_interrupted"
		return Verdict{Action: Stop}
	default:
		v = x.attemptFailed(e, name)
	}
	return v
}

// cause classifies what a plane saw.
func (x *Exchange) cause(c Cause, err error) *llm.Error {
	switch c {
	case CauseLimit, CauseConnect:
		return &llm.Error{Source: llm.SourceUpstream, Class: llm.ClassTimeout, Status: 504, Type: "server_error", Code: "upstream_timeout", Message: "The model did not answer in time.", Err: err}
	case CauseCut:
		return garbled(errTruncated)
	}
	return &llm.Error{Source: llm.SourceUpstream, Class: llm.ClassTransient, Status: 502, Type: "server_error", Code: "upstream_failed", Message: "The connection to the model failed.", Err: err}
}

// limitName says which limit ran out.
func (x *Exchange) limitName() string {
	a := x.attempt
	switch {
	case !x.total.IsZero() && !time.Now().Before(x.total):
		return "total"
	case a == nil:
		return "limit"
	case a.embeds:
		return causeLookup
	case a.first && (a.stream && x.env.Stream || a.kind == answerOpaque):
		return "idle"
	case !x.env.Stream:
		return "answer"
	case a.status == 0:
		return "headers"
	}
	return "first_token"
}

// garbled is an answer that was cut or makes no sense.
func garbled(err error) *llm.Error {
	var e *llm.Error
	if errors.As(err, &e) {
		return e
	}
	return &llm.Error{Source: llm.SourceUpstream, Class: llm.ClassStreamBroken, Status: 502, Type: "server_error", Code: "upstream_failed", Message: "The model's answer broke off or could not be read.", Err: err}
}

// empty is a 200 with nothing in it.
func empty() *llm.Error {
	return &llm.Error{Source: llm.SourceUpstream, Class: llm.ClassStreamBroken, Status: 502, Type: "server_error", Code: "upstream_failed", Message: "The model answered with nothing."}
}

// attemptFailed books the failure of the attempt in flight and finds what comes next.
func (x *Exchange) attemptFailed(err *llm.Error, cause string) Verdict {
	a := x.attempt
	a.rec.Class, a.rec.Cause = err.Class, cause
	x.failed = err
	x.held = x.held[:0]
	act := policies.ActionFor(string(err.Class))
	x.book(a, err, act, cause)
	x.endAttempt(a)
	if x.committed {
		return x.rescue(err, act)
	}
	if !time.Now().Before(x.total) {
		return x.giveUp(x.cause(CauseLimit, nil))
	}
	if act.Final || a.direct || !x.ruling().Retries(string(err.Class), retryCause(cause)) {
		return x.giveUp(err)
	}
	if i, delay, ok := x.next(err, act); ok {
		return Verdict{Action: Next, Attempt: i, Delay: delay}
	}
	return x.giveUp(err)
}

// retryCause is what a route's attempts.on calls a cause; "" leaves it to the class.
func retryCause(cause string) string {
	switch cause {
	case "refused", "connect_timeout", "not_sent", "queue":
		return "connect"
	case "reset", "cut":
		return "reset"
	case "headers", "first_token", "idle", "answer", "total":
		return "timeout"
	case "event":
		return "error_event"
	}
	return ""
}

// book counts the failure and tells breaker, pool and credential what it means for others.
func (x *Exchange) book(a *attempt, err *llm.Error, act policies.Action, cause string) {
	x.worst.all++
	if err.RetryAfter > 0 && (x.worst.soonest == 0 || err.RetryAfter < x.worst.soonest) {
		x.worst.soonest = err.RetryAfter
	}
	switch {
	case err.Class == llm.ClassThrottle || err.Class == llm.ClassQuotaHard:
		x.worst.throttled++
	case cause == CauseRefused.String() || cause == "not_sent" || cause == "queue":
		x.worst.refused++
	}
	x.tell(a, err, act, cause)
	if a.slot != nil && (act.SameModel || act.MoveOn) {
		x.tried = append(x.tried, a.slot.Host())
	}
}

// tell is what others than this exchange learn of a failure.
func (x *Exchange) tell(a *attempt, err *llm.Error, act policies.Action, cause string) {
	full := a.provider.Own && (err.Class == llm.ClassThrottle || err.Class == llm.ClassCapacity)
	if a.lease != nil {
		if act.Breaker && !full {
			a.lease.Done(false)
		} else {
			a.lease.Cancel()
		}
	}
	switch {
	case full && a.slot != nil: // an own endpoint without room is not ill, and its neighbours may have some
		x.g.breakers.Cool(breakerKey(a.plan.Model, "", a.slot.Host()), time.Now().Add(min(cooldown(err), time.Second)))
	case act.Cooldown && !a.provider.Own:
		model := "" // a refused or spent key is so for every model
		if err.Class == llm.ClassThrottle || a.status == http.StatusForbidden {
			model = a.plan.Model.Name
		}
		x.g.creds.Park(a.provider, a.cred, model, time.Now().Add(cooldown(err)))
	}
	if a.slot != nil && (act.SameModel || act.MoveOn) && cause == CauseRefused.String() {
		x.g.pools.Pool(a.provider.Name).Fail(a.slot.Endpoint())
	}
}

// cooldown is how long a credential rests after a throttle, a spent quota or a refusal.
func cooldown(err *llm.Error) time.Duration {
	switch {
	case err.RetryAfter > 0:
		return min(err.RetryAfter, 10*time.Minute)
	case err.Class == llm.ClassThrottle:
		return 5 * time.Second
	}
	return time.Minute
}

// waitable is the longest Retry-After that is waited out.
const waitable = 5 * time.Second

// next finds the plan's next entry after a failure: the same model once more where the class allows it and the total limit leaves the time, else the
// next model that can be asked now.
func (x *Exchange) next(err *llm.Error, act policies.Action) (i int, delay time.Duration, ok bool) {
	if x.asked >= x.plan.Total {
		return 0, 0, false
	}
	at := x.planIndex
	cur := x.plan.Attempts[at].Model
	if delay, ok := x.again(err, act); ok && time.Now().Add(delay).Before(x.total) && x.g.retries.may(cur) {
		return at + 1, delay, true
	}
	if !act.MoveOn {
		return 0, 0, false
	}
	for j := at + 1; j < len(x.plan.Attempts); j++ {
		m := x.plan.Attempts[j].Model
		if x.plan.Attempts[j].By == policies.ByEscalation && x.plan.Attempts[at].By != policies.ByEscalation {
			continue
		}
		if m == cur || act.Larger && m.Context != 0 && m.Context <= cur.Context {
			continue
		}
		if usable, _, _ := x.usableNow(m); usable {
			return j, 0, true
		}
	}
	return 0, 0, false
}

// again says whether the same model is asked once more, and after how long.
func (x *Exchange) again(err *llm.Error, act policies.Action) (delay time.Duration, ok bool) {
	cur := x.plan.Attempts[x.planIndex].Model
	if same := x.planIndex + 1; same == len(x.plan.Attempts) || x.plan.Attempts[same].Model != cur {
		return 0, false
	}
	throttled := err.Class == llm.ClassThrottle
	full := throttled || err.Class == llm.ClassCapacity
	switch {
	case act.Cooldown && x.otherCredential(), full && x.attempt.provider.Own && x.stillUsable(cur), x.committed && x.otherEndpoint(cur):
		return 0, true // another key, another endpoint
	case err.Once, err.RetryAfter > waitable: // it asks for no more, or for none so soon
		return 0, false
	case !throttled:
		return x.backoff(err), act.SameModel && x.stillUsable(cur)
	case err.RetryAfter == 0 || x.waited[cur]:
		return 0, false
	}
	if x.waited == nil {
		x.waited = map[*policies.Model]bool{}
	}
	x.waited[cur] = true
	return err.RetryAfter, true
}

// otherCredential reports whether the provider has another key that does not rest.
func (x *Exchange) otherCredential() bool {
	p := x.attempt.provider
	if len(p.Keys) < 2 {
		return false
	}
	_, parked := x.g.creds.Parked(p, x.attempt.plan.Model.Name, time.Now())
	return !parked
}

// otherEndpoint reports whether a model's pool has an endpoint that this exchange has not seen fail.
func (x *Exchange) otherEndpoint(m *policies.Model) bool {
	p := x.g.pools.Pool(m.Provider.Name)
	if !m.Provider.Own || p == nil {
		return false
	}
	for _, e := range p.Status() {
		if rests, _ := x.g.rests(breakerKey(m, "", e.Host)); !rests && e.State != pool.Down && e.State != pool.Loading && !x.hasTried(e.Host) {
			return true
		}
	}
	return false
}

func (x *Exchange) stillUsable(m *policies.Model) bool {
	ok, _, _ := x.usableNow(m)
	return ok && x.crowdedOut != m.Provider
}

// backoff is full jitter over a window that doubles with each request made: a second endpoint of a pool needs none.
func (x *Exchange) backoff(err *llm.Error) time.Duration {
	if err.RetryAfter > 0 {
		return err.RetryAfter
	}
	if x.attempt.provider.Own && len(x.attempt.provider.Endpoints) > 1 {
		return 0
	}
	window := min(100*time.Millisecond<<min(x.asked, 6), 2*time.Second)
	return time.Duration(x.g.jitter() * float64(window))
}

// giveUp answers the client: the plan is used up, or the failure is the client's business.
func (x *Exchange) giveUp(err *llm.Error) Verdict {
	if v, ok := x.spared(); ok {
		return v
	}
	return x.answer(x.verdictOn(err))
}

// answer ends an exchange before its first byte with an error: as a status, or as an event where a head went out early.
func (x *Exchange) answer(said *llm.Error) Verdict {
	reply := x.refuse(said, false)
	if x.door.Swap(doorClosed) == doorOpened { // too late for a status
		x.rec.Status = http.StatusOK
		return x.lastWord(openai.AppendErrorEvent(nil, said))
	}
	return Verdict{Action: Answer, Reply: reply}
}

// verdictOn turns the last failure into what the client is told, by the contract's table of statuses.
func (x *Exchange) verdictOn(err *llm.Error) *llm.Error {
	w := &x.worst
	switch err.Class {
	case llm.ClassClient, llm.ClassFiltered, llm.ClassContextOverflow:
		return err
	}
	said := *err
	switch {
	case w.throttled == w.all && w.all > 0:
		said.Status, said.Type, said.Code = 429, "rate_limit_error", "rate_limit_exceeded"
		said.Message, said.RetryAfter = "Every model that may answer this request is limited by its provider now.", max(w.soonest, time.Second)
	case w.shed == w.all && w.all > 0:
		said.RetryAfter = max(w.soonest, time.Second)
	case w.refused == w.all && w.all > 0:
		said.Status, said.Type, said.Code = 503, "server_error", "no_target_available"
		said.Message, said.RetryAfter = x.unavailable(), max(w.soonest, 2*time.Second)
	case err.Class == llm.ClassAuth:
		said.Status, said.Type, said.Code = 502, "server_error", "upstream_auth_failed"
		said.Message = "The provider refused the gateway's credential."
	case err.Class == llm.ClassTimeout:
		said.Status, said.Type, said.Code = 504, "server_error", "upstream_timeout"
	default:
		said.Status, said.Type, said.Code = 502, "server_error", "upstream_failed"
		said.Message = "The model's provider failed to answer."
	}
	return &said
}

func (x *Exchange) unavailable() string {
	msg := "No target that may answer this request is available now"
	for i, name := range x.rec.Boundaries {
		if i == 0 {
			msg += " (bound by "
		} else {
			msg += ", "
		}
		msg += "\"" + name + "\""
	}
	if len(x.rec.Boundaries) > 0 {
		msg += ")"
	}
	return msg + "."
}

// clientGone ends an exchange whose client left: nobody's failure.
func (x *Exchange) clientGone() Verdict {
	x.finished = true
	x.rec.Outcome = "client_gone"
	if x.opened() {
		x.rec.Status = http.StatusOK
	}
	a := x.attempt
	if a == nil || !a.rec.End.IsZero() {
		return Verdict{Action: Stop}
	}
	a.rec.Class, a.rec.Cause = llm.ClassCanceled, CauseClientGone.String()
	if a.lease != nil {
		a.lease.Cancel()
	}
	if x.draining() {
		x.drained, x.left = true, a.outBytes
		a.doubt = nil   // nobody is to get a better answer
		x.leaveFlight() // who waits for the answer does not wait for this
		return Verdict{Action: Drain}
	}
	x.endAttempt(a)
	return Verdict{Action: Stop}
}

// clientBody ends an exchange whose own body broke off or was refused while it was streamed up.
func (x *Exchange) clientBody(err error) Verdict {
	if a := x.attempt; a != nil && a.rec.End.IsZero() {
		a.rec.Class, a.rec.Cause = llm.ClassClient, CauseBody.String()
		if a.lease != nil {
			a.lease.Cancel()
		}
		x.endAttempt(a)
	}
	if x.committed {
		return x.clientGone()
	}
	if x.form != nil && !errors.Is(err, ErrTooLarge) {
		return Verdict{Action: Answer, Reply: x.refuseForm(err)}
	}
	var full *llm.Error
	if errors.As(err, &full) && full.Code == "overloaded" {
		return Verdict{Action: Answer, Reply: x.refuse(full, true)}
	}
	if errors.Is(err, ErrTooLarge) {
		return Verdict{Action: Answer, Reply: x.refuse(tooLarge(x.BodyLimit()), true)}
	}
	return x.clientGone()
}

// internal answers a panic: the exchange ends, the process does not.
func (x *Exchange) internal(err error) Verdict {
	e := &llm.Error{Status: 500, Type: "server_error", Code: "internal_error", Message: "The gateway failed to handle this request.", Err: err}
	if a := x.attempt; a != nil && a.rec.End.IsZero() {
		a.rec.Cause = CausePanic.String()
		if a.lease != nil {
			a.lease.Cancel()
		}
		x.endAttempt(a)
	}
	if x.committed || x.opened() {
		x.finished = true
		x.rec.Outcome, x.rec.ErrorCode = "internal_error", e.Code
		return Verdict{Action: Stop}
	}
	return Verdict{Action: Answer, Reply: x.refuse(e, true)}
}
