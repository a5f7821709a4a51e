package proxy

import (
	"bytes"
	"strconv"
	"time"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/providers/openai"
)

// maxHeld bounds what is held back of a stream before its first real event.
const maxHeld = 256 << 10

// Write takes the next bytes of the upstream's answer and appends what they cause for the client to dst. end says that the answer is complete
// (its framing ended cleanly; a lost connection is Fail(CauseCut)). Its output does not depend on where the bytes were cut.
func (x *Exchange) Write(dst, chunk []byte, end bool) ([]byte, Verdict) {
	a := x.attempt
	if x.drained {
		return dst, x.drain(chunk, end)
	}
	switch {
	case a.embeds:
		return dst, x.embedded(chunk, end)
	case a.kind == answerOpaque:
		return x.writeOpaque(dst, chunk, end)
	case a.kind == answerError:
		if n := maxErrorBody - len(a.errBody); n > 0 {
			a.errBody = append(a.errBody, chunk[:min(n, len(chunk))]...)
		}
		if !end && len(a.errBody) < maxErrorBody {
			return dst, Verdict{Action: Hold}
		}
		return x.failedIn(dst, len(dst), x.classify(a), "status")
	}
	return x.writeEvents(dst, chunk, end)
}

func (x *Exchange) writeOpaque(dst, chunk []byte, end bool) ([]byte, Verdict) {
	a := x.attempt
	dst = append(dst, chunk...)
	if a.tap != nil && len(a.tap)+len(chunk) <= maxTap {
		a.tap = append(a.tap, chunk...)
	} else {
		a.tap = nil
	}
	x.rec.BytesOut += int64(len(chunk))
	if !end {
		x.limit(time.Now().Add(x.timeouts().Idle))
		return dst, Verdict{Action: More}
	}
	if a.tap != nil {
		x.readTap(a)
	}
	x.complete(a)
	return dst, Verdict{Action: Done}
}

// readTap looks for usage in an opaque JSON answer that has passed.
func (x *Exchange) readTap(a *attempt) {
	x.events, _ = openai.Codec{}.NewDecoder(llm.OpOpaque, false).Append(x.events[:0], a.tap, true) // what is no JSON has no usage
	for i := range x.events {
		if e := &x.events[i]; e.Kind == llm.EventUsage {
			a.usage, a.seenUsage = e.Usage, true
		}
	}
}

func (x *Exchange) writeEvents(dst, chunk []byte, end bool) ([]byte, Verdict) {
	a := x.attempt
	from := len(dst)
	var err error
	if !x.streams(a) {
		x.claim(2 * int64(len(chunk))) // until the end of the answer: as it came, and as it leaves
	}
	a.tape.take(chunk)
	x.events, err = a.dec.Append(x.events[:0], chunk, end)
	for i := range x.events {
		e := &x.events[i]
		x.observe(a, e)
		a.tape.see(e)
		if e.Kind == llm.EventError {
			return x.failedIn(dst, from, e.Err, "event")
		}
		if e.Kind == llm.EventEnd && !a.first {
			return x.failedIn(dst, from, empty(), "empty")
		}
		if a.doubt != nil {
			if sign := x.weigh(a, e); sign != "" {
				return x.escalate(dst, from, a, e, sign)
			}
		}
		same := true
		if a.rescue == nil {
			dst = x.emit(dst, a, e)
		} else if dst, same = x.carryOn(dst, a, e); !same {
			return x.failedIn(dst, from, garbled(errMismatch), causeMismatch)
		}
		if e.Kind == llm.EventEnd {
			x.complete(a)
			x.finish(len(dst)-from, a)
			return dst, Verdict{Action: Done}
		}
	}
	if err != nil {
		return x.failedIn(dst, from, garbled(err), "garbage")
	}
	if end {
		return x.failedIn(dst, from, garbled(errTruncated), "cut")
	}
	if !x.committed || a.fold {
		if len(x.held) > maxHeld && !a.fold {
			return x.failedIn(dst, from, empty(), "empty")
		}
		return dst[:from], Verdict{Action: Hold}
	}
	x.rec.BytesOut += int64(len(dst) - from)
	return dst, Verdict{Action: More}
}

// emit appends what an event causes for the client: to the held bytes before the first real event of a stream, to dst after it. A folding
// encoder and a JSON body speak at the end only, so they are never held.
func (x *Exchange) emit(dst []byte, a *attempt, e *llm.Event) []byte {
	if e.Kind == llm.EventUsage && !a.stream && x.env.Stream && !x.env.UsageAsked {
		return dst // a body told as a stream: the client did not ask for the count
	}
	if x.committed || !x.streams(a) {
		x.delivered.keep(e, a.plan.Model)
		return a.enc.Append(dst, e)
	}
	if a.doubt != nil || !e.Real() && e.Kind != llm.EventEnd {
		if e.Kind != llm.EventComment {
			x.delivered.keep(e, a.plan.Model)
			x.held = a.enc.Append(x.held, e)
		}
		return dst
	}
	dst = x.letGo(dst, a)
	x.delivered.keep(e, a.plan.Model)
	return a.enc.Append(dst, e)
}

// letGo commits the client's stream and appends what was held of it.
func (x *Exchange) letGo(dst []byte, a *attempt) []byte {
	x.commit(a.status)
	dst = append(dst, x.held...)
	x.held = x.held[:0]
	return dst
}

// streams reports whether the client gets this answer as events.
func (x *Exchange) streams(a *attempt) bool {
	if a.fold {
		return false
	}
	return a.stream || x.env.Stream
}

// finish closes an answer with its last n bytes. A JSON body leaves in one piece, with its length.
func (x *Exchange) finish(n int, a *attempt) {
	if !x.streams(a) {
		x.commit(a.status)
		a.head = append(a.head, Field{"Content-Length", strconv.Itoa(n)})
	}
	x.rec.BytesOut += int64(n)
}

// observe reads what a record needs of an event.
func (x *Exchange) observe(a *attempt, e *llm.Event) {
	switch e.Kind {
	case llm.EventStart:
		if a.rec.ResponseID == "" {
			a.rec.ResponseID, a.rec.ResponseModel = e.ID, e.Model
		}
		if !x.committed {
			x.delivered.start = llm.Event{Kind: e.Kind, ID: e.ID, Model: e.Model, Created: e.Created}
		}
	case llm.EventFinish:
		a.finishes++
		a.rec.Finish = append(a.rec.Finish, e.Finish)
	case llm.EventUsage:
		a.usage, a.seenUsage = e.Usage, true
	case llm.EventText, llm.EventReasoning, llm.EventRefusal, llm.EventTool:
		a.outBytes += len(e.Text)
	case llm.EventData:
		if a.stream {
			a.outBytes += 4 // an event of an opaque stream counts as a token, should nobody report a number
		}
	}
	if e.Real() {
		x.succeeded(a)
		if a.stream && x.env.Stream {
			x.limitNext(a)
		}
	}
}

// closing is how long a stream may take from its last choice's end to its end mark: only a count comes between.
const closing = 5 * time.Second

// limitNext sets the limit until the next event.
func (x *Exchange) limitNext(a *attempt) {
	idle := x.timeouts().Idle
	if a.whole(x.env.N) {
		idle = min(idle, closing)
	}
	x.limit(time.Now().Add(idle))
}

// Taken says that the client, which had not taken what it was given when the deadline passed, has it now: the upstream's time begins anew. A client
// that reads slowly is no stall.
func (x *Exchange) Taken() {
	if x.committed && !x.finished {
		x.limitNext(x.attempt)
	}
}

// failedIn handles a failure inside an answer: before the first byte nothing of it was ever there, after it what is there stays.
func (x *Exchange) failedIn(dst []byte, from int, err *llm.Error, cause string) ([]byte, Verdict) {
	if !x.committed {
		dst = dst[:from]
	}
	x.rec.BytesOut += int64(len(dst) - from)
	v := x.attemptFailed(err, cause)
	if v.Action == Done {
		dst = append(dst, x.held...)
	}
	return dst, v
}

// Interrupted returns the last bytes for a client whose stream ended outside Write: after Fail or Attempt said Done.
func (x *Exchange) Interrupted() []byte { return bytes.Clone(x.held) }

// complete marks the answer as whole.
func (x *Exchange) complete(a *attempt) {
	x.finished = true
	x.rec.Outcome = "ok"
	switch { // on passthrough paths an upstream's own error is the answer
	case a.status >= 500:
		x.rec.Outcome = "upstream_error"
	case a.status >= 400:
		x.rec.Outcome = "client_error"
	}
	x.remember(a)
	x.endAttempt(a)
	x.keepAnswer(a)
}
