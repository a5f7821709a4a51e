package proxy

import (
	"slices"
	"strconv"
	"time"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/router/signs"
)

// An escalation throws an answer away that shows by its own looks that it is no good, and asks a model of a stronger tier instead. It happens
// before the client's first byte only: of a stream the beginning is held back for it, a JSON answer is there as a whole.

// maxDoubted bounds how much of an answer is looked at, in bytes.
const maxDoubted = 256 << 10

// doubt is an answer that is looked at before the client gets any of it.
type doubt struct {
	signs.Answer
	since  time.Time // of its first real event
	pieces int       // real events: servers send a token at a time
	size   int       // bytes of text and arguments
	calls  []int     // indices of the tool calls, as in Arguments
	chance float64   // sum of the log probabilities
}

// spare is a whole answer that was thrown away. The client gets it after all when nobody stronger could answer.
type spare struct {
	attempt *attempt
	index   int // in the record's attempts
	body    []byte
}

// doubtful opens the look at an answer, where its route wants one and somebody stronger could be asked.
func (x *Exchange) doubtful(a *attempt) *doubt {
	e := x.escalation()
	if e == nil || x.escalations >= e.Max || x.env.N > 1 || !x.env.Op.Generates() || x.mode != BodyWhole {
		return nil
	}
	if _, ok := x.stronger(a); !ok {
		return nil
	}
	d := &doubt{Answer: signs.Answer{JSON: x.env.JSON, Spoken: router.Language}}
	if c := x.decision; c != nil && c.Class != "translation" {
		d.Asked = c.Facts.Req.Language.String()
	}
	return d
}

func (x *Exchange) escalation() *policies.Escalate {
	if x.route == nil {
		return nil
	}
	return x.route.Escalate
}

// stronger finds the plan's next entry of a tier above the attempt's that can be asked now. What stands before the attempt has had its turn.
func (x *Exchange) stronger(a *attempt) (i int, ok bool) {
	if x.asked >= x.plan.Total || !time.Now().Before(x.total) {
		return 0, false
	}
	p := x.s.Policy
	rank := p.Rank(a.plan.Tier)
	for j := x.planIndex + 1; j < len(x.plan.Attempts); j++ {
		pa := &x.plan.Attempts[j]
		if rank >= 0 && p.Rank(pa.Tier) > rank && x.stillUsable(pa.Model) {
			return j, true
		}
	}
	return 0, false
}

// weigh takes an event of a doubted answer and returns the sign for which it is to be thrown away. What has been looked at for long enough is
// doubted no more.
func (x *Exchange) weigh(a *attempt, e *llm.Event) signs.Sign {
	d, rule := a.doubt, x.escalation()
	if !d.take(e, x.env.MaxTokens == 0) {
		a.doubt = nil
		return signs.None
	}
	switch {
	case d.Whole:
	case !x.streams(a) || !e.Real():
		return signs.None
	case d.since.IsZero():
		d.since = time.Now()
		fallthrough
	default:
		if d.pieces < rule.Tokens && time.Since(d.since) < rule.Time && len(x.held) < maxHeld/2 {
			return signs.None
		}
	}
	return x.verdict(a)
}

// verdict ends the look at an answer, with the sign for which it is to be thrown away.
func (x *Exchange) verdict(a *attempt) signs.Sign {
	if sign := a.doubt.Find(x.escalation().On); sign != signs.None {
		if _, ok := x.stronger(a); ok {
			return sign
		}
		a.tape.bar()
	}
	a.doubt = nil
	return signs.None
}

// undoubted reports whether nobody looks at the answer only because nobody stronger can be asked just now: the next one may be thrown away.
func (x *Exchange) undoubted(a *attempt) bool {
	e, p := x.escalation(), x.s.Policy
	if e == nil || a.doubt != nil || x.escalations >= e.Max || x.plan.Total < 2 {
		return false
	}
	rank := p.Rank(a.plan.Tier)
	above := func(tier string) bool { return rank >= 0 && p.Rank(tier) > rank }
	return slices.ContainsFunc(x.plan.Attempts[x.planIndex+1:], func(pa policies.Attempt) bool { return above(pa.Tier) }) ||
		slices.ContainsFunc(x.decision.Rejected, func(r policies.Rejected) bool { return r.Down && above(p.Models[r.Model].Tier) })
}

// HeldUntil is when the beginning of a stream that is held back for a look at it has waited for long enough; the zero time when none is. If nothing has come by then
// the plane calls Overdue.
func (x *Exchange) HeldUntil() time.Time {
	a := x.attempt
	if a == nil || a.doubt == nil || a.doubt.since.IsZero() {
		return time.Time{}
	}
	return a.doubt.since.Add(x.escalation().Time)
}

// Overdue lets the beginning go that was held back, or throws the answer away. What it returns is as Write's.
func (x *Exchange) Overdue(dst []byte) ([]byte, Verdict) {
	a, from := x.attempt, len(dst)
	if x.HeldUntil().IsZero() {
		return dst, Verdict{Action: Hold}
	}
	if sign := x.verdict(a); sign != signs.None {
		return x.escalate(dst, from, a, nil, sign)
	}
	dst = x.letGo(dst, a)
	x.rec.BytesOut += int64(len(dst) - from)
	return dst, Verdict{Action: More}
}

// take adds an event to what is looked at; false: it is too much, or nothing that could be looked at.
func (d *doubt) take(e *llm.Event, free bool) bool {
	if e.Kind == llm.EventText || e.Kind == llm.EventTool {
		d.size += len(e.Text)
	}
	if d.size > maxDoubted || e.Kind == llm.EventData {
		return false
	}
	if e.Real() {
		d.pieces++
	}
	switch e.Kind {
	case llm.EventText:
		d.Text = append(d.Text, e.Text...)
		if sum, n := signs.LogProbs(e.Logprobs); n > 0 {
			d.chance, d.Tokens = d.chance+sum, d.Tokens+n
			d.LogProb = d.chance / float64(d.Tokens)
		}
	case llm.EventRefusal:
		d.Refused = true
	case llm.EventTool:
		d.call(e)
	case llm.EventFinish:
		d.Cut = free && e.Finish == "length"
	case llm.EventEnd:
		d.Whole = true
	}
	return true
}

// call adds a piece of a tool call's arguments.
func (d *doubt) call(e *llm.Event) {
	for i, tool := range d.calls {
		if tool == e.Tool {
			d.Arguments[i] = append(d.Arguments[i], e.Text...)
			return
		}
	}
	d.calls, d.Arguments = append(d.calls, e.Tool), append(d.Arguments, append([]byte(nil), e.Text...))
}

// escalate throws the answer of the attempt away, at the event that decided it (nil = the time did), and has the next tier asked.
func (x *Exchange) escalate(dst []byte, from int, a *attempt, e *llm.Event, sign signs.Sign) ([]byte, Verdict) {
	i, _ := x.stronger(a)
	if a.doubt.Whole {
		dst = x.emit(dst, a, e)
		body := append(append([]byte(nil), x.held...), dst[from:]...)
		x.spare = &spare{attempt: a, index: a.rec.Index, body: body}
	}
	a.doubt = nil
	a.rec.Escalated, x.rec.Escalated = sign, sign
	x.rec.Reason += " escalated=" + sign
	x.escalations++
	x.held = x.held[:0]
	x.endAttempt(a)
	return dst[:from], Verdict{Action: Next, Attempt: i}
}

// spared answers with the answer that was thrown away: somebody stronger was to give a better one, and could not.
func (x *Exchange) spared() (Verdict, bool) {
	s := x.spare
	if s == nil {
		return Verdict{}, false
	}
	x.spare, x.sparedAt = nil, &s.index
	x.attempt, x.failed, x.finished = s.attempt, nil, true
	x.warnings = append(x.warnings, "no stronger model could answer: this is the first answer")
	late := x.commit(s.attempt.status)
	x.rec.Outcome = "ok"
	if late {
		return x.lastWord(s.body), true
	}
	x.rec.BytesOut = int64(len(s.body))
	fields := s.attempt.head
	if !x.streams(s.attempt) {
		fields = append(fields, Field{"Content-Length", strconv.Itoa(len(s.body))})
	}
	return Verdict{Action: Answer, Reply: &Reply{Status: s.attempt.status, Header: x.clientFields(fields), Body: s.body}}, true
}
