package policies

import "time"

// Plan is the router's answer: what to ask, in order. Retry and fallback are entries of one list, so they cannot multiply.
type Plan struct {
	Route    *Route
	Attempts []Attempt
	Total    int    // at most so many upstream requests
	Carrier  string // executor or envoy
	Why      string // why this carrier
}

// Attempt is one entry of a plan: one request to one model. Entries of the same model stand together.
type Attempt struct {
	Model *Model
	Tier  string
	By    string // rule, fallback, session, escalation
}

// Bounds is what the boundaries leave of the providers for one request.
type Bounds struct {
	Free    bool     // no boundary holds
	Names   []string // the boundaries that hold
	allowed map[string]bool
}

// Allows reports whether the provider may see the request.
func (b *Bounds) Allows(p *Provider) bool { return b.Free || b.allowed[p.Name] }

// Trace is one boundary or rule with what it saw: the rows of an explanation.
type Trace struct {
	Name   string            `json:"name"`
	When   string            `json:"when,omitempty"`
	Holds  bool              `json:"holds"`
	Error  string            `json:"error,omitempty"` // missing evidence
	Values map[string]string `json:"values,omitempty"`
	Only   []string          `json:"only,omitempty"`
	Use    string            `json:"use,omitempty"`
}

// Rejected is a model that a plan left out, and why.
type Rejected struct {
	Model  string        `json:"model"`
	Kind   string        `json:"kind"` // boundary, capability, context or state
	Reason string        `json:"reason"`
	Down   bool          `json:"down,omitempty"` // eligible, but not usable now
	After  time.Duration `json:"-"`              // when it may be usable again
}

// Action is what a failure of a class leads to.
type Action struct {
	SameModel bool // the same model may be asked once more
	MoveOn    bool // another model may be asked
	Breaker   bool // counts against the breaker
	Cooldown  bool // the credential rests until its reset
	Larger    bool // only a model with a larger window, or an unknown one
	Final     bool // the answer is the client's
}
