package telemetry

import (
	"time"

	"github.com/sluice-gateway/sluice/llm"
)

// Record is everything that is known of one exchange. The phases fill it, it is emitted once, at the end; spans, metrics and the log
// line are projections of it. It holds no prompt, no answer and no credential. Strings are configured names unless a field says otherwise.
type Record struct {
	ID        [16]byte // exchange id
	RequestID string   // the client's x-request-id, already reduced to 64 safe characters
	Start     time.Time
	End       time.Time

	Trace Trace

	Method  string
	Path    string // the URL template: never text that a client chose
	Op      llm.Op
	Plane   string // embedded or envoy
	Carried string // executor or envoy
	Policy  string // version

	Tenant, Key string // configured ids; "" = none

	Route      string
	Rule       string
	Class      string
	ClassP     float64 // the class's probability
	Gain       float64
	Why        [3]Reason // of the gain, the largest first; zero = no more
	Novelty    float64
	Tier       string // of the model that answered, else of the decision
	Model      string // the policy's name of the model that answered
	Provider   string
	Reason     string // what x-sluice-reason says
	Boundaries []string
	Cache      string  // hit, miss, bypass or ""
	Likeness   float64 // of the question whose recorded answer the client got to its own, as a cosine; 0 = that was the same request's
	Session    bool    // the session decided

	RequestModel string // the policy's name of the first planned model, for gen_ai.request.model
	Stream       bool
	MaxTokens    int
	Temperature  *float64
	Choices      int

	Status     int       // sent to the client; 0 = it left before one
	Outcome    string    // ok, client_error, denied, upstream_error, timeout, overloaded, interrupted, client_gone, internal_error
	ErrorCode  string    // code of the error that the client saw
	FirstByte  time.Time // to the client
	FirstToken time.Time // first real event, from the upstream
	BytesIn    int64
	BytesOut   int64

	Rescued bool // a stream broke and another attempt carried it on
	// Escalated is the sign for which an answer was thrown away and a stronger model asked; "" = none was.
	Escalated string

	Usage      llm.Usage // of the answer as the client got it
	UsageKind  llm.UsageKind
	MicroUSD   int64 // sum over the attempts; 0 also when a price is unknown
	PriceKnown bool

	ResponseID    string // an upstream's
	ResponseModel string // an upstream's
	Finish        []string

	Warnings []string
	Attempts []Attempt
	// Embedding is the request that the semantic cache was looked up with; nil = none was made. It is no attempt at an answer.
	Embedding *Attempt
}

// Requests yields all that was asked of upstreams: the cache's embedding, then the attempts.
func (r *Record) Requests(yield func(*Attempt) bool) {
	if r.Embedding != nil && !yield(r.Embedding) {
		return
	}
	for i := range r.Attempts {
		if !yield(&r.Attempts[i]) {
			return
		}
	}
}

// Reason is what one feature of the look of a prompt, and no word of it, says of its gain.
type Reason struct {
	Feature string
	Gain    float32
}

// Trace is the exchange's place in a distributed trace. All ids are made at Begin, so that an upstream can be told its parent before
// any span exists.
type Trace struct {
	TraceID    [16]byte
	ParentSpan [8]byte // the caller's; zero = the exchange is the root
	Server     [8]byte // SERVER span
	Client     [8]byte // GenAI CLIENT span: the logical call
	Sampled    bool
	State      string // tracestate as it came
}

// Attempt is one request to one upstream.
type Attempt struct {
	Index         int
	Span          [8]byte
	Model         string // policy's name
	Provider      string
	Own           bool
	Tier          string
	Endpoint      string // host:port of a pool's endpoint or of the provider
	By            string // rule, fallback, session; cache for an embedding
	Start         time.Time
	End           time.Time
	Status        int       // of the upstream; 0 = none came
	Class         llm.Class // "" = success
	Cause         string    // timeout by name, refused, reset, cut, client_gone, …
	FirstByte     time.Time
	FirstToken    time.Time
	Usage         llm.Usage
	UsageKind     llm.UsageKind
	MicroUSD      int64  // 0 also when unknown
	Priced        bool   // MicroUSD is known
	Price         string // the price row that was used; "" = none
	Region        string // of the provider; "" = unknown
	ResponseID    string
	ResponseModel string
	Finish        []string
	System        string // gen_ai.provider.name
	Rescue        string // how it was asked to carry a stream on: continued (given the text) or reproduced (from the start); "" = it was not
	RescueAt      int    // bytes of the answer that the client had by then
	Escalated     string // the sign for which its answer was thrown away; "" = it was not
}
