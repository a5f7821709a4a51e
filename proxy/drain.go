package proxy

import "github.com/sluice-gateway/sluice/llm"

// A provider that is drained (on_cancel) is read on when its client has left: the tokens are paid for, and the provider's own count comes last.

// draining reports whether the attempt in flight is one that is read on.
func (x *Exchange) draining() bool {
	a := x.attempt
	return a != nil && !a.embeds && a.provider.Cancel == "drain" && a.rec.End.IsZero() && !a.sent.IsZero() && x.pass == nil && x.env.Op.Generates()
}

// drain takes the next bytes of an answer that nobody waits for: until its end, or for as many tokens as the provider is worth.
func (x *Exchange) drain(chunk []byte, end bool) Verdict {
	a := x.attempt
	if a.kind == answerEvents {
		var err error
		x.events, err = a.dec.Append(x.events[:0], chunk, end)
		for i := range x.events {
			e := &x.events[i]
			x.observe(a, e)
			end = end || e.Kind == llm.EventEnd || e.Kind == llm.EventError
		}
		end = end || err != nil
	}
	if limit := a.provider.DrainTokens; !end && (limit == 0 || (a.outBytes-x.left)/4 < limit) {
		return Verdict{Action: Hold}
	}
	x.endAttempt(a)
	return Verdict{Action: Stop}
}
