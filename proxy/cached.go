package proxy

import (
	"context"
	"crypto/sha256"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/cache"
	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
)

// What the record and x-sluice-cache say of an exchange on a route with a cache.
const (
	cacheHit    = "hit"    // the answer was recorded, or another exchange's that asked the same at the same time
	cacheMiss   = "miss"   // it was not; if it can be kept, it is now
	cacheBypass = "bypass" // it was not looked for and is not kept
)

// caching is an exchange's part in the cache.
type caching struct {
	keeps  time.Duration     // how long the answer to the same request holds
	digest [sha256.Size]byte // of what the client asks, but for the model and the form of the answer
	flight *cache.Flight     // of the requests that ask the same
	leads  bool
	looked cache.Key     // what the shared store was asked for
	found  *cache.Entry  // before anything was reserved
	like   *likening     // nil = only the same request finds an answer
	maxAge time.Duration // of an answer that the client takes; 0 = it takes none that is recorded
	age    time.Duration // of the recorded answer that the client got
}

// openCache finds out what the cache has to do with the exchange: nothing, or a part in it.
func (x *Exchange) openCache() {
	if x.route == nil || x.route.Cache == nil || x.pass != nil {
		return
	}
	x.rec.Cache = cacheBypass
	noStore, maxAge := x.cacheControl()
	if noStore || !x.repeatable() {
		return
	}
	c := &caching{keeps: x.route.Cache.Exact, like: x.likened(), maxAge: maxAge}
	if c.keeps == 0 && c.like != nil { // no question is more like another than the same
		c.keeps = x.route.Cache.Semantic.TTL
	}
	body, err := jsonedit.AppendCanonical(nil, x.body, notAsked...)
	if err != nil || c.keeps == 0 {
		return
	}
	c.digest = sha256.Sum256(body)
	x.rec.Cache, x.caching = cacheMiss, c
}

// notAsked are the members of a body that do not change what is asked: the model is a part of the key by itself.
var notAsked = []string{"model", "stream", "stream_options"}

// repeatable reports whether the same request may be given the same answer.
func (x *Exchange) repeatable() bool {
	if x.mode != BodyWhole {
		return false
	}
	for _, name := range []string{"Range", "If-None-Match", "If-Modified-Since"} {
		if x.head.Header.Get(name) != "" {
			return false
		}
	}
	return Repeatable(x.route.Cache, x.env) == ""
}

// Repeatable tells what in a request stands in the way of giving it the answer that the same request got; "" = nothing does.
func Repeatable(c *policies.Cache, e *llm.Envelope) (why string) {
	switch {
	case e.N > 1:
		return "it asks for several answers"
	case e.Op == llm.OpEmbeddings: // nothing is drawn
		return ""
	case !e.Op.Generates():
		return "it asks for no answer of a model"
	case !c.Force && !(e.HasTemp && e.Temperature == 0):
		return "its temperature is not 0"
	}
	return ""
}

// cacheControl reads what the client says of recorded answers: how old one may be, 0 = it wants none. A max-age that is no number is 0 (RFC 9111, 4.2.1).
func (x *Exchange) cacheControl() (noStore bool, maxAge time.Duration) {
	maxAge = math.MaxInt64
	for _, v := range x.head.Header["Cache-Control"] {
		for d := range strings.SplitSeq(v, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(d), "=")
			switch strings.ToLower(name) {
			case "no-store":
				noStore = true
			case "no-cache":
				maxAge = 0
			case "max-age":
				n, _ := strconv.ParseUint(strings.Trim(value, `"`), 10, 31) // of what is too large: the largest
				maxAge = min(maxAge, time.Duration(n)*time.Second)
			}
		}
	}
	return noStore, maxAge
}

// cacheKey names the answer that a model gives to the request.
func (x *Exchange) cacheKey(m *policies.Model) cache.Key {
	return x.keyOf("exact 1", m, x.caching.digest)
}

// keyOf is a key of a kind, of all that can change an answer but for what digest stands for.
func (x *Exchange) keyOf(kind string, m *policies.Model, digest [sha256.Size]byte) cache.Key {
	h := x.head.Header
	return cache.KeyOf(kind, x.tenantName(), x.route.Name, x.route.Cache.Version, m.Key, m.Identity(), x.env.Op.String(), x.head.Method,
		x.head.URL.EscapedPath(), withoutKeys(x.head.URL.RawQuery), strings.Join(h["Openai-Beta"], ","), strings.Join(h["Anthropic-Beta"], ","), strings.Join(h["Anthropic-Version"], ","), string(digest[:]))
}

// tenantName is the partition of the exchange: one for each tenant, and one for everybody where nobody is asked for a key.
func (x *Exchange) tenantName() string {
	if x.key == nil {
		return ""
	}
	return x.key.Tenant.Name
}

// recorded reports whether the answer is there already, so that no budget need pay for it. Where there is none to ask, nothing is looked up yet.
func (x *Exchange) recorded() bool {
	x.openCache()
	if x.caching == nil || x.caching.maxAge == 0 || !x.tab.Budgeted() {
		return false
	}
	e, ok := x.look(x.cacheKey(x.plan.Attempts[0].Model))
	if ok && x.planned(e) != nil {
		x.caching.found = e
	}
	return x.caching.found != nil
}

// look looks an answer up: at first everywhere, then in memory, where a flight that has landed meanwhile leaves it.
func (x *Exchange) look(k cache.Key) (*cache.Entry, bool) {
	if x.caching.looked == k {
		return x.g.cache.Near(k, time.Now())
	}
	x.caching.looked = k
	return x.g.cache.Load(context.Background(), k, time.Now())
}

// fromCache answers from the cache, or takes the exchange's part in the flight of its like. It waits for nobody.
func (x *Exchange) fromCache() *Reply {
	if x.caching == nil || x.caching.maxAge == 0 {
		return nil
	}
	if e := x.caching.found; e != nil {
		if r := x.replay(e); r != nil {
			return r
		}
	}
	return x.board()
}

// board looks the answer up and, where there is none, joins or begins the flight that brings it.
func (x *Exchange) board() *Reply {
	c, k := x.caching, x.cacheKey(x.plan.Attempts[0].Model)
	for {
		if e, ok := x.look(k); ok {
			if r := x.replay(e); r != nil {
				x.land(nil, cache.Died)
				return r
			}
		}
		if c.leads { // nobody brought it between the look and the flight's beginning
			return nil
		}
		if c.flight, c.leads = x.g.cache.Join(k); !c.leads {
			return nil
		}
	}
}

// flying reports whether the exchange waits for an answer that another one brings.
func (x *Exchange) flying() bool {
	c := x.caching
	return c != nil && c.flight != nil && !c.leads
}

// touchesCache reports whether somebody must see the answer for the cache's sake.
func (x *Exchange) touchesCache() bool { return x.caching != nil }

// maxLag is how long those who wait for an exchange's answer wait for its client to read. A client that reads slowly then reads alone.
const maxLag = 2 * time.Second

// Giving says that the plane writes to the client.
func (x *Exchange) Giving() {
	if c := x.caching; c != nil && c.leads {
		c.flight.HeldUp(time.Now())
	}
}

// Given says that the client has taken what it was given.
func (x *Exchange) Given() {
	if c := x.caching; c != nil && c.leads {
		c.flight.Freed(time.Now())
	}
}

// alight goes on with an exchange whose flight is over or has taken too long: with the flight's answer, or with attempts of its own. wait: another flight has
// begun, and the exchange is in it.
func (x *Exchange) alight() (r *Reply, wait bool) {
	c := x.caching
	select {
	case <-c.flight.Over():
	default:
		now := time.Now()
		switch {
		case !now.Before(x.total):
			c.flight = nil
			return nil, false
		case c.flight.Lag(now) < maxLag:
			return nil, true
		}
		c.flight.End(nil, cache.Died)
	}
	e, how := c.flight.Result()
	c.flight = nil
	switch {
	case how == cache.Landed:
		if r := x.replay(e); r != nil {
			return r, false
		}
	case how == cache.Died:
		r := x.board()
		return r, r == nil && x.flying()
	}
	return nil, false
}

// cacheFields say how the answer came about.
func (x *Exchange) cacheFields(fields []Field) []Field {
	if x.rec.Cache == "" {
		return fields
	}
	fields = append(fields, Field{"X-Sluice-Cache", x.rec.Cache})
	if x.rec.Cache == cacheHit {
		fields = append(fields, Field{"Age", strconv.Itoa(int(x.caching.age.Seconds()))})
	}
	if x.rec.Likeness != 0 {
		fields = append(fields, Field{"X-Sluice-Likeness", strconv.FormatFloat(x.rec.Likeness, 'f', 3, 64)})
	}
	return fields
}

// tape is an answer while it is recorded.
type tape struct {
	header http.Header
	body   []byte
	full   bool // it is too long
	barred bool // it holds what is never kept
}

// record begins to record an attempt's answer where it may be kept. What carries on another attempt's answer is only a part of one.
func (x *Exchange) record(a *attempt, h http.Header) {
	if x.caching == nil || a.status != http.StatusOK || a.rescue != nil || x.committed {
		return
	}
	a.tape = &tape{header: http.Header{}}
	for name, values := range h {
		if !drops(name) {
			a.tape.header[name] = values
		}
	}
}

// take records the next bytes of the answer.
func (t *tape) take(chunk []byte) {
	if t == nil || t.full {
		return
	}
	if len(t.body)+len(chunk) > cache.MaxBody {
		t.full, t.body = true, nil
		return
	}
	t.body = append(t.body, chunk...)
}

// see looks for what is never kept: calls of tools, refusals.
func (t *tape) see(e *llm.Event) {
	if e.Kind == llm.EventTool || e.Kind == llm.EventRefusal && len(e.Text) > 0 {
		t.bar()
	}
}

// bar has the answer not be kept.
func (t *tape) bar() {
	if t != nil {
		t.barred = true
	}
}

// keepAnswer stores the answer that is complete now, and gives it to those who wait for it.
func (x *Exchange) keepAnswer(a *attempt) {
	t := a.tape
	if t == nil {
		return
	}
	a.tape = nil
	if t.full || t.barred || !x.wholeAnswer(a) {
		x.land(nil, cache.Alone)
		return
	}
	m, now := a.plan.Model, time.Now()
	e := &cache.Entry{Tenant: x.tenantName(), Route: x.route.Name, Model: m.Key, Provider: m.Provider.Name, Stream: a.stream, Header: t.header,
		Asked: x.g.cache.Dated(a.sent), Stored: now, Expires: now.Add(x.caching.keeps), Body: t.body}
	x.g.cache.Save(x.cacheKey(m), e)
	x.learn(m, e)
	x.land(e, cache.Landed)
}

// wholeAnswer reports whether every choice came to the end that the model wanted.
func (x *Exchange) wholeAnswer(a *attempt) bool {
	if !x.env.Op.Generates() {
		return true
	}
	for _, why := range a.rec.Finish {
		if why != "stop" {
			return false
		}
	}
	return len(a.rec.Finish) > 0
}

// land ends the flight that the exchange leads.
func (x *Exchange) land(e *cache.Entry, how cache.Landing) {
	if c := x.caching; c != nil && c.leads {
		c.flight.End(e, how)
		c.flight, c.leads = nil, false
	}
}

// leaveFlight lets go of those who wait for an exchange that is over and brought nothing. A client that left is no reason for the next one to fail.
func (x *Exchange) leaveFlight() {
	how := cache.Alone
	if x.rec.Outcome == "client_gone" || x.rec.Outcome == "internal_error" {
		how = cache.Died
	}
	x.land(nil, how)
}
