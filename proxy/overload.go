package proxy

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/internal/queue"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
)

// exchangeBytes is what an exchange is reckoned to hold beside its bodies: the plane's buffers, what is held back of a stream, headers.
const exchangeBytes = 64 << 10

// firstBytes is how much of an announced body is reckoned before its bytes come: an announcement costs a client nothing.
const firstBytes = 256 << 10

// load is what the gateway as a whole has taken on, and the queues of its providers. It outlives policies.
type load struct {
	exchanges atomic.Int64 // admitted and not ended
	bytes     atomic.Int64 // reckoned
	shed      atomic.Int64 // refused for want of room, since the start

	mu     sync.RWMutex
	queues map[string]*queue.Queue // by provider
}

// sync takes over the limits of a policy's providers. A provider that left keeps its queue: exchanges of older policies may be in it.
func (l *load) sync(p *policies.Policy) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.queues == nil {
		l.queues = map[string]*queue.Queue{}
	}
	for name, pr := range p.Providers {
		q := l.queues[name]
		if q == nil {
			if pr.Concurrent == 0 {
				continue
			}
			q = &queue.Queue{}
			l.queues[name] = q
		}
		q.Set(queue.Limits{Places: pr.Concurrent, Max: pr.QueueMax, Wait: pr.QueueWait})
	}
}

// queue returns the provider's queue, nil when it never had a limit.
func (l *load) queue(p *policies.Provider) *queue.Queue {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.queues[p.Name]
}

// Load is what a gateway has taken on.
type Load struct {
	Exchanges int64 // that count against server.concurrent
	Bytes     int64 // that count against server.memory
	Shed      int64 // requests refused for want of room, since the start
}

// Load returns what the gateway has taken on at this moment.
func (g *Gateway) Load() Load {
	return Load{g.load.exchanges.Load(), g.load.bytes.Load(), g.load.shed.Load()}
}

// Queued returns how many requests a provider has in flight and how many wait for it; false where it has no limit.
func (g *Gateway) Queued(provider string) (held, waiting int, limited bool) {
	g.load.mu.RLock()
	q := g.load.queues[provider]
	g.load.mu.RUnlock()
	if q == nil {
		return 0, 0, false
	}
	held, waiting = q.Counts()
	return held, waiting, true
}

// classOf is how urgent a request is: what its header says, at most what its key's label allows. Where the policy asks for no header, all are alike.
func (x *Exchange) classOf() queue.Class {
	name := x.s.Policy.Server.Criticality
	if name == "" {
		return queue.Default
	}
	c, _ := queue.ClassOf(x.head.Header.Get(name))
	if x.key != nil {
		if label, has := x.key.Labels["criticality"]; has { // what is none, as a token may say, is the default
			most, _ := queue.ClassOf(label)
			c = min(c, most)
		}
	}
	return c
}

// share is the part of a limit of the gateway that the exchange may use: all of it where requests have no classes.
func (x *Exchange) share(limit int64) int64 {
	if x.s.Policy.Server.Criticality == "" {
		return limit
	}
	return x.urgency.Share(limit)
}

// enter takes the exchange on, or refuses it at once: there are too many, or their bodies take too much memory.
func (x *Exchange) enter() *llm.Error {
	srv := &x.s.Policy.Server
	x.urgency = x.classOf()
	l := &x.g.load
	if n := l.exchanges.Add(1); srv.Concurrent > 0 && n > x.share(int64(srv.Concurrent)) {
		l.exchanges.Add(-1)
		return x.shed(time.Second)
	}
	x.entered = true
	x.claim(exchangeBytes)
	return x.claimBody(min(max(x.head.ContentLength, 0), firstBytes))
}

// leave gives back what enter and claim took.
func (x *Exchange) leave() {
	if x.ticket != nil {
		x.ticket.Leave()
		x.ticket = nil
	}
	if x.entered {
		x.entered = false
		x.g.load.exchanges.Add(-1)
		x.g.load.bytes.Add(-x.claimed)
	}
}

// claim reckons n bytes more, without asking: what was taken on goes on.
func (x *Exchange) claim(n int64) {
	if x.entered {
		x.claimed += n
		x.g.load.bytes.Add(n)
	}
}

// Claim reckons that the plane holds n bytes of the request's body. It fails with an error for Fail(CauseBody) where there is no room for what was not
// yet reckoned.
func (x *Exchange) Claim(n int64) error {
	if err := x.claimBody(n); err != nil {
		return err
	}
	return nil
}

// claimBody reckons a body of n bytes so far, twice: as it came and as it leaves.
func (x *Exchange) claimBody(n int64) *llm.Error {
	more := 2 * (n - x.bodyBytes)
	if more <= 0 && x.bodyBytes > 0 {
		return nil
	}
	x.bodyBytes = max(n, x.bodyBytes)
	x.claim(max(more, 0))
	if limit := x.s.Policy.Server.Memory; limit > 0 && x.g.load.bytes.Load() > x.share(limit) {
		return x.shed(time.Second)
	}
	return nil
}

// shed is the refusal of a gateway that has no room.
func (x *Exchange) shed(after time.Duration) *llm.Error {
	x.g.load.shed.Add(1)
	return &llm.Error{Source: llm.SourceGateway, Class: llm.ClassCapacity, Status: 503, Type: "server_error", Code: "overloaded", Message: "The gateway has no room for this request now.", RetryAfter: after}
}

// crowded says whether a model's provider would refuse a request of the class now.
func (g *Gateway) crowded(m *policies.Model, c queue.Class) (full bool, after time.Duration) {
	if m.Provider.Concurrent == 0 {
		return false, 0
	}
	q := g.load.queue(m.Provider)
	if q == nil {
		return false, 0
	}
	return q.Full(c)
}

// usableNow is Gateway.usable for a request of the exchange's class.
func (x *Exchange) usableNow(m *policies.Model) (ok bool, why string, after time.Duration) {
	if full, after := x.g.crowded(m, x.urgency); full {
		return false, crowdedWhy, after
	}
	return x.g.able(m)
}

const crowdedWhy = "its provider is full"

// queueUp has the exchange stand in the line of the attempt's provider. True: it has to wait.
func (x *Exchange) queueUp(p *policies.Provider) (wait bool) {
	if x.ticket != nil && x.ticketOf == p {
		return x.ticket.Waits()
	}
	if x.ticket != nil {
		x.ticket.Leave()
		x.ticket = nil
	}
	if p.Concurrent == 0 {
		return false
	}
	q := x.g.load.queue(p)
	if q == nil {
		return false
	}
	by := x.total
	if x.committed || x.crowdedOut == p { // nobody waits amid an answer, or twice in one line
		by = time.Now()
	}
	x.ticket, x.lineAfter = q.Enter(x.urgency, by)
	x.ticketOf = p
	return x.ticket != nil && x.ticket.Waits()
}

// place gives the attempt the place that the exchange stood in line for, or the error of a line that was too long.
func (x *Exchange) place(a *attempt) *llm.Error {
	if x.ticketOf != a.provider {
		return nil // no limit
	}
	t := x.ticket
	x.ticket, x.ticketOf = nil, nil
	if t != nil && t.Holds() {
		a.place = t
		return nil
	}
	if t != nil {
		t.Leave()
	}
	x.crowdedOut = a.provider
	x.worst.shed++
	x.g.load.shed.Add(1)
	return &llm.Error{Source: llm.SourceUpstream, Class: llm.ClassCapacity, Status: 503, Type: "server_error", Code: "overloaded", Message: "Too many requests wait for the models that may answer this one.", RetryAfter: max(x.lineAfter, time.Second)}
}

// Waiting is what a plane waits for after the verdict Wait: until ready is closed or the time has come, whatever is first.
func (x *Exchange) Waiting() (ready <-chan struct{}, until time.Time) {
	if x.flying() {
		if until = time.Now().Add(maxLag); x.total.Before(until) {
			until = x.total
		}
		return x.caching.flight.Over(), until
	}
	return x.ticket.Ready(), x.ticket.Until()
}

// asUsable is usableNow as a value; without classes the gateway's own, which costs nothing.
func (x *Exchange) asUsable() policies.Usable {
	if x.s.Policy.Server.Criticality == "" {
		return x.g.asUsable
	}
	return x.usableNow
}
