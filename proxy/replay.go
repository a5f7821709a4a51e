package proxy

import (
	"net/http"
	"time"

	"github.com/sluice-gateway/sluice/cache"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/telemetry"
)

// replay makes the client's answer of a recorded one: it is decoded and encoded as if the upstream had just sent it, once for each form of the answer. Nil: it is none
// for this client.
func (x *Exchange) replay(e *cache.Entry) *Reply {
	planned := x.planned(e)
	if planned == nil {
		return nil
	}
	now := time.Now()
	a := &attempt{plan: *planned, provider: planned.Model.Provider, status: http.StatusOK, kind: answerEvents, stream: e.Stream,
		first: true, rec: &telemetry.Attempt{Start: now, End: now}} // nobody's attempt: nothing of it is counted, no target gets credit for it
	before := x.attempt
	x.attempt = a
	a.head = answerFields(e.Header, -1)
	x.openCodecs(a)
	a.doubt = nil // it was doubted when it came
	form := cache.Form{Stream: x.env.Stream, Usage: x.env.UsageAsked}
	t, body, rest := e.Told(form)
	if t != nil {
		a.rec.ResponseID, a.rec.ResponseModel, a.rec.Finish = t.ResponseID, t.ResponseModel, t.Finish
		if x.streams(a) {
			x.commit(a.status)
		}
		x.complete(a)
		x.finish(len(body)+len(rest), a)
	} else {
		var v Verdict
		if body, v = x.reread(e); v.Action != Done || x.rec.Outcome != "ok" {
			x.attempt, x.finished, x.failed = before, false, nil
			return nil
		}
		e.Tell(form, body, cache.Telling{ResponseID: a.rec.ResponseID, ResponseModel: a.rec.ResponseModel, Finish: a.rec.Finish})
	}
	r := &x.rec
	r.FirstToken = now
	r.Cache, r.Tier, r.Model, r.Provider = cacheHit, planned.Tier, planned.Model.Key, planned.Model.Provider.Name
	r.ResponseID, r.ResponseModel, r.Finish = a.rec.ResponseID, a.rec.ResponseModel, a.rec.Finish
	x.caching.age = max(0, now.Sub(e.Stored))
	return &Reply{Status: r.Status, Header: x.clientFields(a.head), Body: body, Rest: rest}
}

// rereadPiece is how much of a recorded stream is decoded at once: its events are many, and none of them stays.
const rereadPiece = 4 << 10

// reread decodes a recorded answer and returns what the client gets of it.
func (x *Exchange) reread(e *cache.Entry) (body []byte, v Verdict) {
	piece := len(e.Body)
	if e.Stream {
		piece = rereadPiece
	}
	body = make([]byte, 0, len(e.Body)+len(e.Body)/8)
	for rest := e.Body; v.Action == Hold || v.Action == More; {
		n := min(len(rest), piece)
		body, v = x.writeEvents(body, rest[:n], n == len(rest))
		rest = rest[n:]
	}
	return body, v
}

// planned returns the attempt of the plan that a recorded answer could have come from; nil when there is none: what the request's boundaries and
// residency leave out is in no plan. An answer that is older than the client takes is none for it either.
func (x *Exchange) planned(e *cache.Entry) *policies.Attempt {
	if e.Tenant != x.tenantName() || e.Route != x.route.Name || time.Since(e.Stored) > x.caching.maxAge {
		return nil
	}
	if e.Stream && !x.env.Stream && x.env.Unfoldable != "" {
		return nil
	}
	for i := range x.plan.Attempts {
		if a := &x.plan.Attempts[i]; a.Model.Key == e.Model && a.Model.Provider.Name == e.Provider {
			return a
		}
	}
	return nil
}
