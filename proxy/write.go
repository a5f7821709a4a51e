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
	switch a.kind {
	case answerOpaque:
		return x.writeOpaque(dst, chunk, end)
	case answerError:
		if n := maxErrorBody - len(a.errBody); n > 0 {
			a.errBody = append(a.errBody, chunk[:min(n, len(chunk))]...)
		}
		if !end && len(a.errBody) < maxErrorBody {
			return dst, Verdict{Action: Hold}
		}
		return dst, x.attemptFailed(x.classify(a), "status")
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
	x.events, err = a.dec.Append(x.events[:0], chunk, end)
	for i := range x.events {
		e := &x.events[i]
		x.observe(a, e)
		if e.Kind == llm.EventError {
			return x.brokenIn(dst, from, e.Err, "event")
		}
		if e.Kind == llm.EventEnd {
			if !a.first {
				return x.brokenIn(dst, from, empty(), "empty")
			}
			dst = x.emit(dst, a, e)
			x.complete(a)
			return x.finish(dst, from, a)
		}
		dst = x.emit(dst, a, e)
	}
	if err != nil {
		return x.brokenIn(dst, from, garbled(err), "garbage")
	}
	if end {
		return x.brokenIn(dst, from, garbled(errTruncated), "cut")
	}
	if !x.committed || a.fold {
		if len(x.held) > maxHeld && !a.fold {
			return x.brokenIn(dst, from, empty(), "empty")
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
		return a.enc.Append(dst, e)
	}
	if !e.Real() {
		if e.Kind != llm.EventComment {
			x.held = a.enc.Append(x.held, e)
		}
		return dst
	}
	x.commit(a.status)
	dst = append(dst, x.held...)
	x.held = x.held[:0]
	return a.enc.Append(dst, e)
}

// streams reports whether the client gets this answer as events.
func (x *Exchange) streams(a *attempt) bool {
	if a.fold {
		return false
	}
	return a.stream || x.env.Stream
}

// finish closes an answer. A JSON body leaves in one piece, with its length.
func (x *Exchange) finish(dst []byte, from int, a *attempt) ([]byte, Verdict) {
	if !x.streams(a) {
		x.commit(a.status)
		a.head = append(a.head, Field{"Content-Length", strconv.Itoa(len(dst) - from)})
	}
	x.rec.BytesOut += int64(len(dst) - from)
	return dst, Verdict{Action: Done}
}

// observe reads what a record needs of an event.
func (x *Exchange) observe(a *attempt, e *llm.Event) {
	switch e.Kind {
	case llm.EventStart:
		if a.rec.ResponseID == "" {
			a.rec.ResponseID, a.rec.ResponseModel = e.ID, e.Model
		}
	case llm.EventFinish:
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
			x.limit(time.Now().Add(x.timeouts().Idle))
		}
	}
}

// brokenIn handles a failure inside an answer: before the first byte it is a failed attempt, after it the stream ends in one error event.
func (x *Exchange) brokenIn(dst []byte, from int, err *llm.Error, cause string) ([]byte, Verdict) {
	if !x.committed {
		return dst[:from], x.attemptFailed(err, cause)
	}
	dst = x.interrupt(dst, err, cause)
	x.rec.BytesOut += int64(len(dst) - from)
	return dst, Verdict{Action: Done}
}

// interrupt ends a committed stream with one clear error and no end mark.
func (x *Exchange) interrupt(dst []byte, err *llm.Error, cause string) []byte {
	a := x.attempt
	a.rec.Class, a.rec.Cause = err.Class, cause
	x.rec.Outcome, x.rec.ErrorCode = "interrupted", "stream_interrupted"
	x.finished = true
	said := &llm.Error{Source: llm.SourceUpstream, Class: llm.ClassStreamBroken, Status: 502, Type: "server_error", Code: "stream_interrupted", Message: "The answer was interrupted and is not complete."}
	if a.kind == answerEvents {
		dst = a.enc.AppendError(dst, said)
	}
	x.endAttempt(a)
	return dst
}

// Interrupted returns the last bytes for a client whose committed stream failed outside Write, after Fail answered Done.
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
}
