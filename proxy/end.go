package proxy

import (
	"time"

	"github.com/sluice-gateway/sluice/llm"
)

// End settles what the exchange still holds and emits its record. It is safe to call more than once; only the first call counts.
func (x *Exchange) End() {
	if x.ended {
		return
	}
	x.ended = true
	if !x.finished {
		x.clientGone()
	}
	x.settleAttempt()
	x.leaveFlight()
	x.leave()
	r := &x.rec
	if r.End.IsZero() {
		r.End = time.Now()
	}
	r.Warnings = x.warnings
	x.sum()
	x.keepOutcome()
	x.closeTab()
	x.g.inflight.Add(-1)
	x.s.live.Add(-1)
	x.keep()
	if x.g.emit != nil {
		x.g.emit(r)
	}
}

// settleAttempt ends an attempt that nobody ended: whatever happened, its slot and lease are given back.
func (x *Exchange) settleAttempt() {
	if a := x.attempt; a != nil && a.rec.End.IsZero() {
		if a.lease != nil {
			a.lease.Cancel()
		}
		x.endAttempt(a)
	}
}

// endAttempt gives the slot back and settles the attempt's count. Exactly one kind of usage holds for it.
func (x *Exchange) endAttempt(a *attempt) {
	if !a.rec.End.IsZero() {
		return
	}
	a.rec.End = time.Now()
	if a.slot != nil {
		a.slot.Release()
	}
	if a.place != nil {
		a.place.Leave()
	}
	switch {
	case a.seenUsage:
		a.rec.Usage, a.rec.UsageKind = a.usage, llm.UsageReported
	case x.billed(a) && a.embeds:
		a.rec.Usage, a.rec.UsageKind = llm.Usage{Input: x.caching.like.tokens()}, llm.UsageEstimated
	case x.billed(a):
		a.rec.Usage = llm.Usage{Input: x.promptTokens(), Output: (a.outBytes + 3) / 4}
		if a.rescue != nil && a.rescue.prefix {
			a.rec.Usage.Input += a.rescue.tokens
		}
		a.rec.UsageKind = llm.UsageEstimated
	}
	if a.first && x.pass == nil {
		x.g.paces.saw(a.plan.Model, a.rec.FirstToken.Sub(a.sent), a.rec.Usage.Output)
	}
	x.price(a)
}

// billed reports whether a model may have worked on an attempt that reported nothing: it answered 2xx, or it was sent and never answered.
func (x *Exchange) billed(a *attempt) bool {
	if x.env == nil || x.pass != nil { // a passthrough path names no model
		return false
	}
	if a.sent.IsZero() || a.rec.Cause == CauseRefused.String() || a.rec.Cause == CauseConnect.String() {
		return false
	}
	return a.status == 0 || a.status >= 200 && a.status < 300
}

// sum fills the record's totals from its attempts.
func (x *Exchange) sum() {
	r := &x.rec
	used, priced := false, false
	r.PriceKnown = true
	for a := range r.Requests {
		r.MicroUSD += a.MicroUSD
		if a.UsageKind == llm.UsageNone {
			continue
		}
		used = true
		if a.Priced {
			priced = true
		} else if !a.Own {
			r.PriceKnown = false
		}
	}
	if used && !priced { // an own pool without a price is nobody's bill, but not free either
		r.PriceKnown = false
	}
	n := len(r.Attempts)
	if n == 0 {
		return
	}
	last := &r.Attempts[n-1]
	if x.sparedAt != nil {
		last = &r.Attempts[*x.sparedAt]
	}
	switch {
	case x.committed && x.sparedAt == nil && x.opener < n-1: // others were to carry on what the opener began
		x.sumRescue()
		return
	case last.Class == "" || r.Outcome == "interrupted" || r.Outcome == "client_gone":
		r.Usage, r.UsageKind = last.Usage, last.UsageKind
	}
	if r.Outcome == "ok" || r.Outcome == "interrupted" || last.Class == "" || !last.FirstToken.IsZero() {
		r.Model, r.Provider, r.Tier = last.Model, last.Provider, last.Tier
		r.ResponseID, r.ResponseModel, r.Finish = last.ResponseID, last.ResponseModel, last.Finish
	}
}

// sumRescue fills the totals of a stream that broke: its client knows the attempt that it began with, and has what several of them said.
func (x *Exchange) sumRescue() {
	r := &x.rec
	first := &r.Attempts[x.opener]
	r.Model, r.Provider, r.Tier, r.ResponseID, r.ResponseModel = first.Model, first.Provider, first.Tier, first.ResponseID, first.ResponseModel
	if r.Outcome == "ok" {
		r.Finish = r.Attempts[len(r.Attempts)-1].Finish
		r.Usage, r.UsageKind = x.wholeUsage(x.attempt)
		return
	}
	r.Usage, r.UsageKind = x.deliveredUsage(), llm.UsageEstimated
}
