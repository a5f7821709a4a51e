package proxy

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/policies"
)

// Head is what a plane knows of a request before its body.
type Head struct {
	Method        string
	URL           *url.URL // path and query as the client wrote them
	Header        http.Header
	Peer          string // host:port of the client
	ContentLength int64  // -1 = unknown
	Plane         string // embedded or envoy
	// Snapshot is the policy that serves the request: an older one where an external proxy still follows that. nil = the one in force.
	Snapshot *Snapshot
}

// Field is one header line. Names are canonical.
type Field struct{ Name, Value string }

// Reply is an answer that Sluice gives itself, complete.
type Reply struct {
	Status int
	Header []Field
	Body   []byte
	Rest   []byte // of the body, which follows: a recorded answer is not copied to leave a part of it out
	// Close says that the request's body was not read, so the connection cannot be used again.
	Close bool
}

// Whole returns the body in one piece.
func (r *Reply) Whole() []byte {
	if len(r.Rest) == 0 {
		return r.Body
	}
	return slices.Concat(r.Body, r.Rest)
}

// BodyMode says how a plane hands over the request's body.
type BodyMode uint8

// The ways of a request body.
const (
	BodyWhole  BodyMode = iota // read whole, up to Exchange.BodyLimit, then Request
	BodyForm                   // multipart: Exchange.Form reads as far as the model's name, then Request(nil); the rest is streamed
	BodyStream                 // Request(nil) at once; the body is streamed
)

// Splice replaces Del bytes at offset At of a streamed body.
type Splice struct {
	At, Del int64
	Insert  []byte
}

// Upstream is one upstream request, ready to be sent.
type Upstream struct {
	Index    int // attempt of the plan
	Provider *policies.Provider
	Method   string
	URL      *url.URL
	Header   []Field // all of them: no header of the client goes up but those listed here
	Body     []byte  // nil = the client's own bytes, untouched but for Splice
	Splice   *Splice
	Connect  time.Duration // limit of the connection's making
	Drain    bool          // the client's leaving must not end it: Fail(CauseClientGone) says what does
}

// Action is what a plane does next.
type Action uint8

// The actions of a verdict.
const (
	More   Action = iota // go on: send what there is, read more
	Hold                 // go on reading; nothing goes to the client yet
	Next                 // drop this upstream; after Delay, Attempt(Verdict.Attempt)
	Done                 // what Write appended is the end of the answer
	Answer               // drop this upstream and send Verdict.Reply; nothing was sent yet
	Stop                 // drop everything: the client is gone
	Drain                // the client is gone, and the answer is read on: Write takes it, and nothing goes anywhere
	Wait                 // nothing is sent yet: when Exchange.Waiting says so, Attempt(Verdict.Attempt) again
)

// Verdict is the exchange's word on how to go on.
type Verdict struct {
	Action  Action
	Attempt int           // with Next and Wait
	Delay   time.Duration // with Next
	Reply   *Reply        // with Answer
}

// Cause is what a plane saw and cannot judge.
type Cause uint8

// The causes of failures.
const (
	CauseRefused    Cause = iota // no connection: refused, unreachable, DNS, TLS, proxy
	CauseConnect                 // no connection within the limit
	CauseReset                   // connection lost before the response's head
	CauseCut                     // connection lost within the response
	CauseLimit                   // Exchange.Deadline has passed
	CauseClientGone              // the client left
	CauseBody                    // the client's own body broke off or was refused while streaming
	CausePanic                   // a phase or the plane panicked
	CauseStop                    // the gateway stops and waits no longer
)

var causeNames = [...]string{CauseRefused: "refused", CauseConnect: "connect_timeout", CauseReset: "reset", CauseCut: "cut", CauseLimit: "limit", CauseClientGone: "client_gone", CauseBody: "client_body", CausePanic: "panic", CauseStop: "stop"}

// String names the cause as records do.
func (c Cause) String() string { return causeNames[c] }
