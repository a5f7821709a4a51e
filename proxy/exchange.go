package proxy

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/feedback"
	"github.com/sluice-gateway/sluice/internal/breaker"
	"github.com/sluice-gateway/sluice/internal/queue"
	"github.com/sluice-gateway/sluice/ledger"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers"
	"github.com/sluice-gateway/sluice/providers/openai"
	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/router/pool"
	"github.com/sluice-gateway/sluice/telemetry"
	"github.com/sluice-gateway/sluice/tenants"
)

// Exchange is one request of a client, from its head to its record. One goroutine drives it (Table.Step sees to that where several could);
// Deadline, Break and Owner alone are for others too.
type Exchange struct {
	g    *Gateway
	s    *Snapshot
	head Head
	ep   endpoint
	mode BodyMode
	rec  telemetry.Record
	id   string // the record's, as others read it

	key      *policies.Key
	route    *policies.Route
	pass     *policies.Provider // the provider of a passthrough path
	env      *llm.Envelope
	body     []byte
	form     *formModel
	talk     *router.Conversation // nil = none that other gateways know
	note     *tenants.Note        // of the talk
	decision *router.Decision
	plan     policies.Plan
	warnings []string
	tab      *tenants.Tab // nil = no limits, no budgets
	lowest   bool         // a budget leaves the lowest tier only
	reserved int64        // micro-dollars on every budget
	bound    *llm.Bound   // of the prompt; nil = no budget has asked
	ample    bool         // bound is rough, as there was room for it

	outcome     *feedback.Exchange // what a label will need; nil = none is kept
	escalations int
	spare       *spare
	sparedAt    *int     // index of the attempt whose answer was sent after all
	caching     *caching // nil = the cache has no part in it

	planIndex int // of the attempt in flight
	asked     int // upstream requests made
	attempt   *attempt
	failed    *llm.Error // the last failure
	worst     verdicts
	tried     []string                 // pool endpoints that failed in this exchange
	waited    map[*policies.Model]bool // models whose throttle was waited out once
	standing

	opener     int               // index in the record of the attempt that the answer began with
	voice      llm.Encoder       // that attempt's: it says the last word of a stream that breaks
	left       int               // bytes of the answer's text when the client left and the provider is drained
	drained    bool              // that is so
	unprefixed []*policies.Model // models that refused an answer's beginning

	committed bool // the client has, or is about to have, its first byte
	finished  bool // a terminal outcome is decided
	ended     bool
	deadline  atomic.Int64            // Unix nanoseconds; 0 = none
	door      atomic.Uint32           // doorShut and so on
	early     atomic.Pointer[[]Field] // the head with which Break may open the answer; nil = it may not
	stepping  sync.Mutex              // held by Table.Step
	owner     atomic.Uint32           // an Owner; see Table
	sweepAt   atomic.Int64            // Unix nanoseconds of the total limit; 0 = not yet
	learned   chan Failure            // planes with a table only
	handed    *Verdict                // for Resume: what followed from a first attempt that was never sent
	foretold  *DirectEnd              // the log's word, where it came before the plane had finished
	total     time.Time
	*scratch
}

// standing is the exchange's part in the load of gateway and providers; see overload.go.
type standing struct {
	urgency    queue.Class
	entered    bool               // it counts against the gateway's limits
	claimed    int64              // bytes reckoned for it
	bodyBytes  int64              // of the request's body, of these
	ticket     *queue.Ticket      // its place in the line of ticketOf; nil when there was none to be had
	ticketOf   *policies.Provider // nil = it stands in no line
	lineAfter  time.Duration      // when the line that had no room may have some
	crowdedOut *policies.Provider // whose line it stood in for nothing
}

// scratch is the memory of an exchange that the next one can use.
type scratch struct {
	events    []llm.Event
	held      []byte // of a stream, before its first real event; after it, its last word
	delivered delivered
}

// keepBytes bounds what a scratch holds on to between exchanges.
const keepBytes = 64 << 10

// recycle gives up the decoder of an attempt that is over, and the bytes of its events with it.
func (x *Exchange) recycle() {
	if a := x.attempt; a != nil && a.dec != nil {
		openai.Recycle(a.dec)
		a.dec = nil
	}
}

// Release gives the exchange's memory to the next one, after End. Nothing of the exchange may be used any more but the bodies of its upstream
// requests: a transport may still be reading them.
func (x *Exchange) Release() {
	s := x.scratch
	if s == nil {
		return
	}
	x.recycle()
	x.scratch = nil
	clear(s.events[:cap(s.events)])
	s.events = s.events[:0]
	s.held = s.held[:0] // an exchange that ended before its first real event, or in an error event, left bytes here
	s.delivered.open(false)
	if cap(s.held) > keepBytes {
		s.held = nil
	}
	x.g.scratch.Put(s)
}

// attempt is the upstream request in flight.
type attempt struct {
	plan     policies.Attempt
	rec      *telemetry.Attempt
	provider *policies.Provider
	lease    *breaker.Lease
	slot     *pool.Lease
	place    *queue.Ticket // among the provider's concurrent requests; nil without a limit
	cred     providers.Credential
	share    ledger.Share // of the pool's GPUs
	tape     *tape        // nil = the answer is not recorded

	sent      time.Time
	status    int
	kind      answerKind
	embeds    bool // it asks for the embedding of a question, for the cache
	direct    bool // an external proxy sent it and carries the answer
	stream    bool // the upstream's answer is an event stream
	fold      bool // a stream is asked for and folded into JSON
	dec       llm.Decoder
	enc       llm.Encoder
	head      []Field // for the client
	errBody   []byte
	errHead   map[string][]string
	doubt     *doubt // nil = its answer is taken as it is
	seenUsage bool
	usage     llm.Usage
	outBytes  int       // of text, reasoning and arguments
	finishes  int       // choices that have ended
	first     bool      // a real event was seen
	rescue    *rescuing // nil = its answer is the client's from its beginning
	tap       []byte
}

// whole reports whether every choice of a stream has ended: what is missing is a count or the end mark.
func (a *attempt) whole(choices int) bool { return a.stream && a.finishes >= max(choices, 1) }

type answerKind uint8

const (
	answerEvents answerKind = iota // decoded: a stream, or a JSON body
	answerOpaque                   // bytes that pass unread
	answerError                    // a status that is not 2xx: its body is read to classify it
)

// verdicts counts the failures of a plan by what they mean for the final status.
type verdicts struct {
	all, throttled, refused int
	shed                    int           // because the line before the provider was too long
	soonest                 time.Duration // earliest known Retry-After
}

// ID returns the exchange's id, 128 random bits.
func (x *Exchange) ID() [16]byte { return x.rec.ID }

// BodyMode says how the plane hands over the request's body.
func (x *Exchange) BodyMode() BodyMode { return x.mode }

// BodyLimit returns the largest request body in bytes: of a JSON body, or of an upload.
func (x *Exchange) BodyLimit() int64 {
	if x.mode == BodyWhole {
		return x.s.Policy.Server.BodyLimit
	}
	return x.s.Policy.Server.UploadLimit
}

// Deadline returns the limit in force, the zero time when there is none. It moves with the answer; a plane whose timer fires looks again
// and calls Fail(CauseLimit) only when the deadline has passed. Safe to call from any goroutine.
func (x *Exchange) Deadline() time.Time {
	if n := x.deadline.Load(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

func (x *Exchange) limit(t time.Time) {
	if !x.total.IsZero() && (t.IsZero() || x.total.Before(t)) {
		t = x.total
	}
	x.deadline.Store(t.UnixNano())
}

// Record returns the exchange's record; it is complete after End.
func (x *Exchange) Record() *telemetry.Record { return &x.rec }

// Reads reports whether the exchange must be able to read the answer; on passthrough paths it passes as it is.
func (x *Exchange) Reads() bool { return x.reads() }

// Streams reports whether the client gets the answer in pieces, each of which must be flushed.
func (x *Exchange) Streams() bool {
	a := x.attempt
	return a != nil && (a.kind == answerOpaque || x.streams(a))
}
