package llm

import (
	"fmt"
	"time"
)

// Class says what an upstream's failure means for the plan. The table of actions is in policies.
type Class string

// The classes of failures.
const (
	ClassNone            Class = ""
	ClassClient          Class = "client"           // the request is wrong: never retried, never counted
	ClassAuth            Class = "auth"             // the provider refused our credential
	ClassQuotaHard       Class = "quota_hard"       // credit or plan used up
	ClassThrottle        Class = "throttle"         // too many requests for now
	ClassCapacity        Class = "capacity"         // the provider has no room
	ClassTransient       Class = "transient"        // 5xx, reset, refused
	ClassTimeout         Class = "timeout"          // silence: never asked twice
	ClassFiltered        Class = "filtered"         // a content filter's verdict
	ClassContextOverflow Class = "context_overflow" // the prompt does not fit the model
	ClassStreamBroken    Class = "stream_broken"    // cut, stalled or garbled after it began
	ClassCanceled        Class = "canceled"         // the client left
)

// Source says whose failure it is.
type Source uint8

// The sources of errors.
const (
	SourceGateway Source = iota
	SourceClient
	SourceUpstream
)

// Error is the one error of the domain. A dialect turns it into a status and a body in one place; Err is for logs and never reaches a client.
type Error struct {
	Source     Source
	Class      Class
	Status     int           // HTTP status for the client
	Type       string        // OpenAI's error.type
	Code       string        // OpenAI's error.code
	Param      string        // OpenAI's error.param
	Message    string        // for the client: holds no text that could be a credential
	RetryAfter time.Duration // 0 = say nothing
	Once       bool          // the upstream says that asking it again is of no use
	Allow      string        // for 405
	Err        error
}

// Error returns the class, code and message, and the wrapped error.
func (e *Error) Error() string {
	s := e.Code
	if s == "" {
		s = e.Type
	}
	s = fmt.Sprintf("%d %s: %s", e.Status, s, e.Message)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the wrapped error.
func (e *Error) Unwrap() error { return e.Err }
