package proxy

import (
	"bytes"
	"errors"
	"time"

	"github.com/sluice-gateway/sluice/internal/sse"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers"
	"github.com/sluice-gateway/sluice/providers/openai"
)

// A rescue carries on a stream that broke after its first byte. Another attempt of the plan is held to what the client has: it goes on with
// that text where it is the same model and can, and else begins anew and stays unheard until it has said the very same again. What
// differs ends the stream in one error.

// The ways of a rescuing attempt, as records name them.
const (
	rescueContinued  = "continued"  // it was given the text and goes on with it
	rescueReproduced = "reproduced" // it was asked as the first one was
)

var errMismatch = errors.New("the answer was not said again as it was")

// rescuing is an attempt that carries a stream on.
type rescuing struct {
	prefix bool // it was given the text
	from   int  // where in the delivered text what it was given ends
	tokens int  // an estimate of what had been delivered
	cursor cursor
	// again counts the bytes of the answer's beginning that an attempt with a prefix has said: a server that does not know how to go on
	// begins anew.
	again int
	said  bool // its first word was heard
}

// restart is how many bytes of the delivered text's beginning nobody says by chance, and restartWhole of how many a text must be that is said by chance
// no more once all of it is.
const (
	restart      = 32
	restartWhole = 12
)

// rescuable reports whether the stream that begins may be carried on, should it break.
func (x *Exchange) rescuable(a *attempt) bool {
	e := x.env
	return a.stream && e.Stream && e.Op.Generates() && x.mode == BodyWhole && x.route != nil && x.route.Rescue != "off" &&
		e.N == 1 && !e.Logprobs && !e.Grammar && !e.JSON && e.Unfoldable == ""
}

// rescue finds out how a stream goes on whose attempt has failed: with another attempt of the plan, or not.
func (x *Exchange) rescue(err *llm.Error, act policies.Action) Verdict {
	a := x.attempt
	r := a.rescue
	refused := r != nil && r.prefix && err.Class == llm.ClassClient // it does not take an answer's beginning: it may do without
	if refused {
		x.unprefixed = append(x.unprefixed, a.plan.Model)
		act = policies.Action{SameModel: true, MoveOn: true}
	}
	mismatch := a.rec.Cause == causeMismatch
	if mismatch || act.Final || a.finishes > 0 || !x.delivered.able() || !time.Now().Before(x.total) {
		return x.interrupt()
	}
	i, delay, ok := x.next(err, act)
	if !ok {
		return x.interrupt()
	}
	if refused {
		delay = 0
	}
	return Verdict{Action: Next, Attempt: i, Delay: delay}
}

// interrupt ends a committed stream with one clear error and no end mark.
func (x *Exchange) interrupt() Verdict {
	x.finished = true
	x.rec.Outcome, x.rec.ErrorCode = "interrupted", "stream_interrupted"
	said := &llm.Error{Source: llm.SourceUpstream, Class: llm.ClassStreamBroken, Status: 502, Type: "server_error", Code: "stream_interrupted", Message: "The answer was interrupted and is not complete."}
	return x.lastWord(x.voice.AppendError(nil, said))
}

// lastWord ends what the client has had a part of, or a head, with p: Write appends it, else it is what Interrupted returns.
func (x *Exchange) lastWord(p []byte) Verdict {
	x.held = append(x.held[:0], p...)
	x.rec.BytesOut += int64(len(p))
	return Verdict{Action: Done}
}

const causeMismatch = "mismatch"

// openRescue prepares an attempt that carries the stream on.
func (x *Exchange) openRescue(a *attempt) {
	d := &x.delivered
	r := &rescuing{tokens: d.tokens()}
	a.rescue, a.rec.Rescue, a.rec.RescueAt = r, rescueReproduced, len(d.text)
	if !x.continues(a) {
		return
	}
	reasoning, text, _ := d.prefix()
	text = bytes.TrimRight(text, " \t\r\n") // templates trim: the space must be said again
	if len(text) == 0 {
		return
	}
	r.prefix, r.from = true, len(reasoning)+len(text)
	r.cursor = cursor{run: len(d.runs) - 1, at: r.from, level: r.from == len(d.text)}
	a.rec.Rescue = rescueContinued
}

// continues reports whether the attempt can be given the text so far: natively by the model that wrote it, by another one where the route says so.
func (x *Exchange) continues(a *attempt) bool {
	if a.plan.Model != x.delivered.author && x.route.Rescue != "continue" {
		return false
	}
	for _, m := range x.unprefixed {
		if m == a.plan.Model {
			return false
		}
	}
	_, able := providers.Continuation(a.provider)
	_, _, text := x.delivered.prefix()
	return text && (able || x.env.Op == llm.OpCompletions) && openai.CanContinue(x.env)
}

// begun is the edit of the body of an attempt that is given the text so far.
func (x *Exchange) begun(a *attempt) *openai.Begun {
	if a.rescue == nil || !a.rescue.prefix {
		return nil
	}
	c, _ := providers.Continuation(a.provider)
	reasoning, _, _ := x.delivered.prefix()
	b := &openai.Begun{Continuation: c, Text: string(x.delivered.text[len(reasoning):a.rescue.from]), Tokens: a.rescue.tokens}
	if a.provider.Own { // others may refuse a member that they do not know
		b.Reasoning = string(reasoning)
	}
	return b
}

// carryOn takes an event of a rescuing attempt; false: it says something else than what the client has.
func (x *Exchange) carryOn(dst []byte, a *attempt, e *llm.Event) ([]byte, bool) {
	r := a.rescue
	switch e.Kind {
	case llm.EventComment:
		return a.enc.Append(dst, e), true
	case llm.EventFinish, llm.EventEnd:
		return x.concluded(dst, a, e)
	case llm.EventData:
		return dst, false
	case llm.EventText, llm.EventReasoning, llm.EventRefusal, llm.EventTool:
	default:
		return dst, true
	}
	if r.prefix && e.Kind == llm.EventText && (!r.said || r.again > 0) {
		return x.restarted(dst, a, e)
	}
	dst, ok := x.takenBack(dst, a)
	if !ok {
		return dst, false
	}
	return x.followed(dst, a, *e)
}

// concluded takes the end of a choice or of the stream: all that the client has must have been said again. Of a text whose last spaces the
// attempt was not given they may be missing.
func (x *Exchange) concluded(dst []byte, a *attempt, e *llm.Event) ([]byte, bool) {
	dst, ok := x.takenBack(dst, a)
	if !ok || !a.rescue.cursor.level && !a.rescue.prefix {
		return dst, false
	}
	if e.Kind == llm.EventEnd {
		return x.rescued(dst, a, e), true
	}
	x.rec.Rescued = true
	return a.enc.Append(dst, e), true
}

// takenBack delivers what looked like the answer's beginning and goes on otherwise; false: it is too much for chance.
func (x *Exchange) takenBack(dst []byte, a *attempt) ([]byte, bool) {
	n := a.rescue.again
	if n == 0 || n >= restart {
		return dst, n == 0
	}
	a.rescue.again = 0
	_, text, _ := x.delivered.prefix()
	said := bytes.Clone(text[:n]) // to deliver it may move the text
	return x.followed(dst, a, llm.Event{Kind: llm.EventText, Text: said})
}

// followed delivers what of an event is new.
func (x *Exchange) followed(dst []byte, a *attempt, e llm.Event) ([]byte, bool) {
	left, fresh, ok := x.delivered.follow(&a.rescue.cursor, e)
	if !ok || !fresh {
		return dst, ok
	}
	left.Logprobs = nil
	x.delivered.keep(&left, a.plan.Model)
	x.rec.Rescued = true
	return a.enc.Append(dst, &left), true
}

// restarted looks whether an attempt that was given the text says it from its beginning instead of going on. A few equal bytes are chance;
// all of them are swallowed; many that are not all are another answer.
func (x *Exchange) restarted(dst []byte, a *attempt, e *llm.Event) ([]byte, bool) {
	if len(e.Text) == 0 {
		return dst, true
	}
	r := a.rescue
	reasoning, text, _ := x.delivered.prefix()
	r.said = true
	if len(text) < restartWhole || r.from < len(x.delivered.text) && r.again == 0 && e.Text[0] == x.delivered.text[r.from] {
		return x.followed(dst, a, *e)
	}
	n := min(len(text)-r.again, len(e.Text))
	same := 0
	for same < n && text[r.again+same] == e.Text[same] {
		same++
	}
	before := r.again
	r.again += same
	switch {
	case r.again == len(text): // all of it: what follows is new
		r.prefix, r.again = false, 0
		r.cursor = cursor{run: len(x.delivered.runs) - 1, at: len(reasoning) + len(text), level: true}
		a.rec.Rescue = rescueReproduced
		if same == len(e.Text) {
			return dst, true
		}
		rest := *e
		rest.Text = e.Text[same:]
		return x.followed(dst, a, rest)
	case same == len(e.Text):
		return dst, true
	case r.again >= restart:
		return dst, false
	}
	r.again = before
	dst, ok := x.takenBack(dst, a)
	if !ok {
		return dst, false
	}
	return x.followed(dst, a, *e)
}

// rescued ends a stream that was carried on: the count of the whole answer for a client that asked, and a word on what happened.
func (x *Exchange) rescued(dst []byte, a *attempt, end *llm.Event) []byte {
	if x.env.UsageAsked && a.seenUsage {
		u, _ := x.wholeUsage(a)
		dst = a.enc.Append(dst, &llm.Event{Kind: llm.EventUsage, Usage: u})
	}
	if x.rec.Rescued {
		dst = sse.AppendComment(dst, x.rescueWord(a))
	}
	return a.enc.Append(dst, end)
}

// rescueWord is the comment that a rescued stream ends with.
func (x *Exchange) rescueWord(a *attempt) string {
	if x.s.Policy.Server.Headers != "full" {
		return "rescued"
	}
	return "rescued: " + a.rec.Rescue + " by " + a.plan.Model.Key
}

// wholeUsage is the count of a rescued answer: the prompt of the first attempt and the completion as it was delivered, of which a part may be
// an estimate.
func (x *Exchange) wholeUsage(a *attempt) (u llm.Usage, k llm.UsageKind) {
	u, k = a.rec.Usage, a.rec.UsageKind
	if a.rec.End.IsZero() { // before endAttempt has settled it
		u, k = a.usage, llm.UsageReported
	}
	if r := a.rescue; r.prefix { // what it was given came on top of the prompt, and is a part of the answer
		u.Output += r.tokens
		u.Input = max(u.Input-r.tokens, 0)
		k = llm.UsageEstimated
	}
	first := &x.rec.Attempts[x.opener]
	switch {
	case first.UsageKind == llm.UsageReported:
		u.Input, u.Cached, u.CacheWrite = first.Usage.Input, first.Usage.Cached, first.Usage.CacheWrite
	case first.Model != a.rec.Model: // another model's word on the same prompt
		k = llm.UsageEstimated
	}
	return u, k
}

// deliveredUsage is the count of an answer that broke off for good, or whose client left, while it was carried on.
func (x *Exchange) deliveredUsage() llm.Usage {
	u := x.rec.Attempts[x.opener].Usage
	u.Output, u.Reasoning = x.delivered.tokens(), 0
	return u
}
