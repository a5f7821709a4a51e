package proxy

import (
	"net/url"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers"
	"github.com/sluice-gateway/sluice/providers/openai"
	"github.com/sluice-gateway/sluice/router/pool"
	"github.com/sluice-gateway/sluice/telemetry"
)

// Attempt prepares the plan's attempt i: it takes the pool's slot, the credential and the breaker's lease, and makes the request. When the verdict is
// not More the attempt was not made and the plane follows the verdict; after Wait it asks for the same attempt again.
func (x *Exchange) Attempt(i int) (Upstream, Verdict) {
	x.settleAttempt()
	x.recycle()
	if x.flying() {
		if r, wait := x.alight(); wait {
			return Upstream{}, Verdict{Action: Wait, Attempt: i}
		} else if r != nil {
			return Upstream{}, Verdict{Action: Answer, Reply: r}
		}
	}
	if up, asks := x.embed(i); asks {
		return up, Verdict{Action: More}
	}
	pa := x.plan.Attempts[i]
	if x.queueUp(pa.Model.Provider) {
		return Upstream{}, Verdict{Action: Wait, Attempt: i}
	}
	if err := x.afford(pa.Model); err != nil {
		return Upstream{}, x.unaffordable(i, err)
	}
	x.rec.Attempts = append(x.rec.Attempts, telemetry.Attempt{Index: len(x.rec.Attempts), Span: telemetry.NewSpanID(), Model: pa.Model.Key, Provider: pa.Model.Provider.Name, Own: pa.Model.Provider.Own, Region: pa.Model.Provider.Region, Tier: pa.Tier, By: pa.By, System: providers.System(pa.Model.Provider), Start: time.Now()})
	a := &attempt{plan: pa, provider: pa.Model.Provider, rec: &x.rec.Attempts[len(x.rec.Attempts)-1]}
	x.attempt, x.failed = a, nil
	x.planIndex = i
	base, err := x.acquire(a)
	if err != nil {
		return Upstream{}, x.attemptFailed(err, unsent(err))
	}
	a.fold = x.folds(pa.Model)
	if x.committed {
		x.openRescue(a)
	}
	up := Upstream{Index: i, Provider: a.provider, Method: x.head.Method, Connect: x.timeouts().Connect}
	up.URL = x.upstreamURL(base)
	a.rec.Endpoint = base.Host
	if err := x.upstreamBody(a, &up); err != nil {
		return Upstream{}, x.attemptFailed(err, "not_sent")
	}
	up.Header = x.upstreamFields(a)
	up.Drain = a.provider.Cancel == "drain"
	x.asked++
	x.openEarly()
	a.sent = time.Now()
	a.rec.Start = a.sent
	x.occupy(a, x.promptTokens()+x.expectedTokens())
	x.limitHead(a)
	return up, Verdict{Action: More}
}

// acquire takes what an attempt needs: a slot of the pool or a credential, and the breaker's lease.
func (x *Exchange) acquire(a *attempt) (*url.URL, *llm.Error) {
	if err := x.place(a); err != nil {
		return nil, err
	}
	var base *url.URL
	endpoint := ""
	if a.provider.Own {
		slot, ok := x.pick(a)
		if !ok {
			return nil, down(a.plan.Model, 2*time.Second)
		}
		a.slot, base, endpoint = slot, slot.Endpoint(), slot.Host()
	} else {
		base = a.provider.Endpoints[0]
	}
	cred, ok := x.g.creds.Next(a.provider, a.plan.Model.Name, time.Now())
	if !ok {
		return nil, down(a.plan.Model, time.Second)
	}
	a.cred = cred
	lease, err := x.g.breakers.Allow(breakerKey(a.plan.Model, cred.ID(), endpoint))
	if err != nil {
		return nil, down(a.plan.Model, time.Second)
	}
	a.lease = lease
	return base, nil
}

// unsent names why an attempt was not made.
func unsent(err *llm.Error) string {
	if err.Code == "overloaded" {
		return "queue"
	}
	return "not_sent"
}

// pick takes an endpoint of the pool: one that did not fail this exchange if there is any, else any.
func (x *Exchange) pick(a *attempt) (slot *pool.Lease, ok bool) {
	p := x.g.pools.Pool(a.provider.Name)
	if p == nil {
		return nil, false
	}
	open := func(host string) bool {
		o, _ := x.g.rests(breakerKey(a.plan.Model, "", host))
		return o
	}
	tokens := x.promptTokens() + x.expectedTokens()
	slot, ok = p.Pick(tokens, func(host string) bool { return x.hasTried(host) || open(host) })
	if !ok {
		slot, ok = p.Pick(tokens, open)
	}
	return slot, ok
}

func (x *Exchange) hasTried(host string) bool {
	for _, t := range x.tried {
		if t == host {
			return true
		}
	}
	return false
}

func down(m *policies.Model, after time.Duration) *llm.Error {
	return &llm.Error{Source: llm.SourceUpstream, Class: llm.ClassCapacity, Status: 503, Type: "server_error", Code: "no_target_available", Message: "No target is available for this request now.", RetryAfter: after}
}

// upstreamURL joins the provider's root and what follows /v1 in the client's path.
func (x *Exchange) upstreamURL(base *url.URL) *url.URL {
	u := *base
	rest := strings.TrimPrefix(x.head.URL.EscapedPath(), "/v1")
	u.Path += rest
	if strings.IndexByte(rest, '%') >= 0 || u.RawPath != "" {
		if plain, err := url.PathUnescape(rest); err == nil {
			u.Path, u.RawPath = base.Path+plain, base.EscapedPath()+rest
		}
	}
	u.RawQuery = withoutKeys(x.head.URL.RawQuery)
	return &u
}

// withoutKeys drops credentials from a query: none is accepted there, so none that a client wrote there may leave.
func withoutKeys(query string) string {
	if !strings.Contains(query, "key") {
		return query
	}
	kept := make([]string, 0, 4)
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); err != nil || plain == "key" || plain == "api_key" || plain == "api-key" {
			continue
		}
		kept = append(kept, pair)
	}
	return strings.Join(kept, "&")
}

// upstreamBody writes the body: nothing where the client's bytes may stay, spliced bytes else.
func (x *Exchange) upstreamBody(a *attempt, up *Upstream) *llm.Error {
	if x.pass != nil {
		return nil
	}
	name := a.plan.Model.Name
	if x.form != nil {
		if x.form.model != name {
			up.Splice = &Splice{At: x.form.at, Del: int64(len(x.form.model)), Insert: []byte(name)}
		}
		return nil
	}
	body, err := openai.Rewrite(nil, x.env, x.edits(a))
	if err != nil {
		return &llm.Error{Source: llm.SourceGateway, Status: 500, Type: "server_error", Code: "internal_error", Message: "The request could not be prepared.", Err: err}
	}
	up.Body = body
	return nil
}

// upstreamFields are the headers of an upstream request: the allowed ones of the client, then ours.
func (x *Exchange) upstreamFields(a *attempt) []Field {
	fields := make([]Field, 0, 8)
	for name, values := range x.head.Header {
		if forwards(name) {
			for _, v := range values {
				fields = append(fields, Field{name, v})
			}
		}
	}
	if enc := x.head.Header.Get("Content-Encoding"); enc != "" && x.mode != BodyWhole {
		fields = append(fields, Field{"Content-Encoding", enc})
	}
	if x.reads() {
		fields = append(fields, Field{"Accept-Encoding", "identity"})
	} else if v := x.head.Header.Get("Accept-Encoding"); v != "" {
		fields = append(fields, Field{"Accept-Encoding", v})
	}
	return x.ownFields(a, fields)
}

// ownFields adds what an upstream gets from us: its credential, and the trace where it is to see that.
func (x *Exchange) ownFields(a *attempt, fields []Field) []Field {
	providers.Authorize(a.provider, a.cred, func(name, value string) { fields = append(fields, Field{name, value}) })
	if a.provider.Own || a.provider.TraceContext {
		fields = append(fields, Field{"Traceparent", x.rec.Trace.Parent(a.rec.Span)})
		if x.rec.Trace.State != "" {
			fields = append(fields, Field{"Tracestate", x.rec.Trace.State})
		}
	}
	return fields
}

// reads reports whether Sluice must be able to read the answer: always where usage may appear, so everywhere but on passthrough paths.
func (x *Exchange) reads() bool { return x.pass == nil }

// limitHead sets the limit on the answer's head.
func (x *Exchange) limitHead(a *attempt) {
	t := x.timeouts()
	switch {
	case x.mode != BodyWhole && x.head.ContentLength != 0: // the upload itself may take its time
		x.limit(time.Time{})
	case x.env.Stream: // a fold is a JSON answer to the client: it has that limit and no other
		x.limit(a.sent.Add(t.Headers))
	default:
		x.limit(a.sent.Add(t.Answer))
	}
}

func (x *Exchange) promptTokens() int {
	if x.env == nil {
		return 0
	}
	return x.env.PromptTokens()
}

// expectedTokens guesses the answer's length for the pool's counters.
func (x *Exchange) expectedTokens() int {
	if x.env.MaxTokens > 0 {
		return min(x.env.MaxTokens, 2048)
	}
	return 256
}
