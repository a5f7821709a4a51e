package policies

import "time"

// Facts are what rules and boundaries may look at: the variables of their expressions. A request's facts are made once, by the router.
type Facts struct {
	Req     Req
	Task    Task
	Key     KeyFacts
	Budget  BudgetFacts
	Session SessionFacts
	Pool    func(name string) PoolFacts // nil: every pool is empty
	Now     time.Time

	// TaskErr, BudgetErr and SessionErr say that these facts could not be had: an expression that reads them has missing evidence. So does
	// BodyErr for what the body alone can show of a request: a streamed one is not read.
	TaskErr, BudgetErr, SessionErr, BodyErr error
}

// Guess is what is guessed of a text, where it is asked for. The zero Guess is "".
type Guess struct {
	Text string
	By   func(text string) string
}

func (g Guess) String() string {
	if g.By == nil {
		return ""
	}
	return g.By(g.Text)
}

// Req is req.* in expressions.
type Req struct {
	Model     string
	Path      string
	Method    string
	Op        string                        // chat, text_completion, embeddings, opaque
	Header    func(lowerName string) string // "" when absent, values joined by ", "
	Bytes     int
	Tokens    int // estimate of the prompt
	MaxTokens int // asked for; 0 = absent
	Turns     int // user turns
	Messages  int
	Tools     int
	Images    int
	Audio     int
	Files     int
	N         int
	Stream    bool
	JSON      bool
	Logprobs  bool
	Language  Guess // ISO 639-1, "" = unknown
	Needs     Needs
}

// Needs are the capabilities that a model must have for a request, named as `can` names them.
type Needs struct{ Chat, Completions, Embeddings, Tools, JSON, Vision, Audio, Files, Logprobs bool }

// Task is task.*: what the classifier says of the prompt.
type Task struct {
	Class   string
	ClassP  func(class string) float64
	Gain    float64 // P(strong right) - P(cheap right), -1 … 1
	Novelty float64 // 0 … 1
}

// KeyFacts is key.*.
type KeyFacts struct {
	ID     string
	Tenant string
	Labels map[string]string
}

// BudgetFacts is budget.*.
type BudgetFacts struct {
	Used      float64 // share of the period's budget; 0 without one
	Exhausted bool
}

// SessionFacts is session.*.
type SessionFacts struct {
	ID       string
	Known    bool
	Turns    int
	Model    string // the model that answered last
	Tier     string
	ToolTurn bool
}

// PoolFacts is pool(name).*.
type PoolFacts struct {
	Inflight  int // requests
	Tokens    int // tokens in flight
	Waiting   int // in the queue
	Endpoints int
	Healthy   int
	Saturated bool
}
