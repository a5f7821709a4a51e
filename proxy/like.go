package proxy

import (
	"crypto/sha256"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/cache"
	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/internal/wording"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers"
	"github.com/sluice-gateway/sluice/providers/openai"
	"github.com/sluice-gateway/sluice/telemetry"
)

// The semantic cache's look-up is a request of its own to the embedding model, made before the plan's first attempt and in the same way: a plane
// cannot tell the two apart. Whatever becomes of it, the plan goes on.

const (
	// byCache marks the request for an embedding among the attempts of a record.
	byCache = "cache"
	// causeLookup is why one that took longer than the policy's time for it was given up.
	causeLookup = "lookup"
	// maxEmbedding bounds the answer with an embedding, in bytes.
	maxEmbedding = 512 << 10
)

// likening is an exchange's part in the look-up of like questions.
type likening struct {
	text     string // of the only user's turn
	wording  wording.Form
	digest   [sha256.Size]byte // of what the client asks, but for that text, the model and the form of the answer
	done     bool              // the embedding was asked for, or never will be
	next     int               // the plan's attempt that waits for it
	answer   []byte            // with the embedding, so far
	question *cache.Question   // nil = the embedding is not known
}

// Likable returns the text of a request that a like one's answer may do for: the one turn of a conversation without tools, pictures, sound or files,
// whose body is of the shape of a chat. why says what stands in the way; "" = nothing does.
func Likable(e *llm.Envelope) (text, why string) {
	switch {
	case e.Op != llm.OpChat:
		return "", "it is no chat"
	case e.Tools > 0 || e.ToolTurn:
		return "", "it has tools"
	case e.Images+e.Audio+e.Files > 0:
		return "", "it is not text alone"
	}
	for i, t := range e.Turns {
		switch {
		case t.Role == "system" || t.Role == "developer":
		case t.Role != "user" || i+1 < len(e.Turns):
			return "", "it has more than one turn"
		case len(t.Text) != 1:
			return "", "its turn is not one text"
		default:
			text = t.Text[0]
		}
	}
	if text == "" {
		return "", "it asks nothing"
	}
	return text, ""
}

// likened opens the look-up; nil = the route has none, or it is none for this request.
func (x *Exchange) likened() *likening {
	if x.route.Cache.Semantic == nil {
		return nil
	}
	text, why := Likable(x.env)
	if why != "" {
		return nil
	}
	l := &likening{text: text, wording: wording.Of(text)}
	if !l.wording.Exists() {
		return nil
	}
	rest, ok := withoutText(x.body)
	if !ok {
		return nil
	}
	canonical, err := jsonedit.AppendCanonical(nil, rest, notAsked...)
	if err != nil {
		return nil
	}
	l.digest = sha256.Sum256(canonical)
	return l
}

// withoutText is the body of a request without the text of its last message.
func withoutText(body []byte) ([]byte, bool) {
	var last, text jsonedit.Value
	for m := range jsonedit.Parse(body).Field("messages").Each {
		last = m
	}
	text = last.Field("content")
	if text.Kind() == jsonedit.Array {
		for part := range text.Each {
			text = part.Field("text")
		}
	}
	if text.Kind() != jsonedit.String {
		return nil, false
	}
	from, to := text.Offset()
	return slices.Concat(body[:from], []byte(`""`), body[to:]), true
}

// likeKey names the questions among which a model's answer to this one is looked for: whatever else can change an answer is the same for all.
func (x *Exchange) likeKey(m *policies.Model) cache.Key {
	e := x.route.Cache.Semantic.Model
	return x.keyOf("like 1 "+e.Key+" "+e.Identity(), m, x.caching.like.digest)
}

// embed begins the look-up before the plan's attempt i: it makes the request for the question's embedding. False: none is made.
func (x *Exchange) embed(i int) (up Upstream, asks bool) {
	if x.caching == nil || x.caching.like == nil || x.caching.like.done {
		return Upstream{}, false
	}
	l, s := x.caching.like, x.route.Cache.Semantic
	l.done, l.next = true, i
	if x.asked > 0 || !x.mayEmbed(s.Model) {
		return Upstream{}, false
	}
	p, now := s.Model.Provider, time.Now()
	a := &attempt{embeds: true, plan: policies.Attempt{Model: s.Model, By: byCache}, provider: p, rec: &telemetry.Attempt{
		Span: telemetry.NewSpanID(), Model: s.Model.Key, Provider: p.Name, Own: p.Own, Region: p.Region, By: byCache, System: providers.System(p), Start: now,
	}}
	x.rec.Embedding, x.attempt = a.rec, a
	base, err := x.acquireNow(a)
	if err != nil {
		x.bookEmbedding(err, unsent(err))
		return Upstream{}, false
	}
	u := *base
	u.Path += "/embeddings"
	a.rec.Endpoint, a.sent, a.rec.Start = base.Host, now, now
	x.occupy(a, l.tokens())
	x.limit(now.Add(s.Timeout))
	fields := x.ownFields(a, []Field{{"Accept", "application/json"}, {"Accept-Encoding", "identity"}, {"Content-Type", "application/json"}})
	return Upstream{Index: i, Provider: p, Method: http.MethodPost, URL: &u, Header: fields,
		Body: openai.AppendEmbeddingRequest(nil, s.Model.Name, l.text), Connect: x.timeouts().Connect}, true
}

// tokens estimates the question at four bytes a token.
func (l *likening) tokens() int { return (len(l.text) + 3) / 4 }

// mayEmbed reports whether the embedding model may see the question, can be asked now, and what it costs is known to the budgets that want to know.
func (x *Exchange) mayEmbed(m *policies.Model) bool {
	if !x.decision.Bounds.Allows(m.Provider) {
		return false
	}
	if x.tab.Budgeted() && x.unpriced(m) && x.tab.Unpriced() != policies.OnWarn {
		return false
	}
	usable, _, _ := x.usableNow(m)
	return usable
}

// acquireNow is acquire for a request that does not stand in line.
func (x *Exchange) acquireNow(a *attempt) (*url.URL, *llm.Error) {
	if q := x.g.load.queue(a.provider); a.provider.Concurrent > 0 && q != nil {
		t, _ := q.Enter(x.urgency, time.Now())
		if t == nil || !t.Holds() {
			if t != nil {
				t.Leave()
			}
			return nil, down(a.plan.Model, time.Second)
		}
		a.place = t
	}
	return x.acquire(a)
}

// embedded takes the next bytes of the answer with the embedding, and looks the question up when it is there.
func (x *Exchange) embedded(chunk []byte, end bool) Verdict {
	a, l := x.attempt, x.caching.like
	if len(l.answer)+len(chunk) > maxEmbedding {
		return x.embedFailed(garbled(errTruncated), "garbage")
	}
	if l.answer = append(l.answer, chunk...); !end {
		return Verdict{Action: Hold}
	}
	if a.status < 200 || a.status > 299 {
		a.errBody = l.answer
		return x.embedFailed(x.classify(a), "status")
	}
	vector, usage, reported, err := openai.ReadEmbedding(l.answer)
	a.usage, a.seenUsage = usage, reported
	if err == nil {
		l.question, err = cache.NewQuestion(l.wording, vector)
	}
	if err != nil {
		return x.embedFailed(garbled(err), "garbage")
	}
	a.lease.Done(true)
	x.endAttempt(a)
	x.attempt, l.answer = nil, nil
	if r := x.liken(); r != nil {
		return Verdict{Action: Answer, Reply: r}
	}
	return Verdict{Action: Next, Attempt: l.next}
}

// liken answers with what a like question was answered with; nil = there is no such answer, or the client wants none.
func (x *Exchange) liken() *Reply {
	if x.caching.maxAge == 0 {
		return nil
	}
	s := x.route.Cache.Semantic
	e, likeness := x.g.cache.Like(x.likeKey(x.plan.Attempts[0].Model), x.caching.like.question, s.Threshold, time.Now())
	if e == nil {
		return nil
	}
	x.rec.Likeness = likeness
	r := x.replay(e)
	if r == nil {
		x.rec.Likeness = 0
		return nil
	}
	x.land(e, cache.Landed)
	return r
}

// embedFailed goes on with the plan as if the cache had nothing.
func (x *Exchange) embedFailed(err *llm.Error, cause string) Verdict {
	x.bookEmbedding(err, cause)
	if !time.Now().Before(x.total) {
		return x.giveUp(x.cause(CauseLimit, nil))
	}
	return Verdict{Action: Next, Attempt: x.caching.like.next}
}

// bookEmbedding ends a request for an embedding that brought none.
func (x *Exchange) bookEmbedding(err *llm.Error, cause string) {
	a := x.attempt
	a.rec.Class, a.rec.Cause = err.Class, cause
	act := policies.ActionFor(string(err.Class))
	if cause == causeLookup { // the cache's time is short: who takes longer is not ill
		act.Breaker = false
	}
	x.tell(a, err, act, cause)
	x.endAttempt(a)
	x.attempt = nil
}

// learn keeps the answer for like questions.
func (x *Exchange) learn(m *policies.Model, e *cache.Entry) {
	l := x.caching.like
	if l == nil || l.question == nil {
		return
	}
	x.g.cache.Learn(x.likeKey(m), l.question, e.Until(e.Stored.Add(x.route.Cache.Semantic.TTL)))
}

// forgoLookup has the plan go on without a look-up: there is no money for it.
func (x *Exchange) forgoLookup() {
	if c := x.caching; c != nil && c.like != nil {
		c.like.done = true
	}
}

// lookup returns what the look-up costs at most, in micro-dollars; 0 = it is not made.
func (x *Exchange) lookup() int64 {
	c := x.caching
	if c == nil || c.like == nil || c.like.done || !x.mayEmbed(x.route.Cache.Semantic.Model) {
		return 0
	}
	m := x.route.Cache.Semantic.Model
	return x.most(m, x.promptBound(m), 0) // the question is a part of the prompt
}
