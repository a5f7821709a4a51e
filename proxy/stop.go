package proxy

import (
	"time"

	"github.com/sluice-gateway/sluice/llm"
)

// stopped ends an exchange because the gateway stops: what is open gets its last word, and nobody else is asked.
func (x *Exchange) stopped() Verdict {
	a := x.attempt
	if a != nil && a.rec.End.IsZero() {
		a.rec.Class, a.rec.Cause = llm.ClassCanceled, CauseStop.String()
		if a.lease != nil {
			a.lease.Cancel()
		}
		x.endAttempt(a)
	}
	switch {
	case !x.committed:
		return x.answer(stopping)
	case a.kind == answerOpaque: // bytes that are not ours to end
		x.finished, x.rec.Outcome, x.rec.ErrorCode = true, "interrupted", "stream_interrupted"
		return Verdict{Action: Stop}
	}
	return x.interrupt()
}

// stopping is what a client is told whose answer had not begun.
var stopping = &llm.Error{Source: llm.SourceGateway, Class: llm.ClassCapacity, Status: 503, Type: "server_error", Code: "overloaded", Message: "This gateway stops. Ask again.", RetryAfter: time.Second}
