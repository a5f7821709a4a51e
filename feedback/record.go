package feedback

import "time"

// Signals: where an outcome comes from.
const (
	Told          = "feedback"       // POST /v1/feedback
	AskedAgain    = "reask"          // the same words again, soon after
	Override      = "override"       // the same words, asked of a stronger model
	InvalidOutput = "invalid_output" // the answer was empty, cut short or not the JSON that was asked for
)

// Facts are what is kept of an exchange while it may still be judged. Numbers and configured names only.
type Facts struct {
	Route   string             `json:"route"`
	Rule    string             `json:"rule"`
	Class   string             `json:"class"`
	ClassP  map[string]float64 `json:"class_p,omitempty"`
	Gain    float64            `json:"gain"`
	Novelty float64            `json:"novelty"`
	// Classifier names who said so: a threshold holds for the gains of one classifier.
	Classifier string `json:"classifier"`
	Tier       string `json:"tier"`
	Model      string `json:"model"`
	Tokens     int    `json:"tokens"` // of the prompt, as estimated
	Turns      int    `json:"turns"`
	Tools      int    `json:"tools"`
	Images     int    `json:"images"`
	JSON       bool   `json:"json"`
	Language   string `json:"language,omitempty"`
}

// Record is one labelled record: a line of the log.
type Record struct {
	Time      time.Time `json:"time"`
	RequestID string    `json:"request_id"`
	Signal    string    `json:"signal"`
	Facts
	Score        *float64 `json:"score,omitempty"` // as told, 0 … 1
	ExpectedTier string   `json:"expected_tier,omitempty"`
	// Cheap and Strong say whether that end of the tiers gave, or is said to give, a right answer; absent = nothing is known.
	Cheap  *bool `json:"cheap,omitempty"`
	Strong *bool `json:"strong,omitempty"`
}

// Judgement is what a client says of an answer.
type Judgement struct {
	Score        *float64 // 0 … 1; a half and more is a right answer; nil = not said
	ExpectedTier string   // the tier that should have answered; "" = not said
	ExpectedRank int      // of ExpectedTier
}

// label fills in what a judgement says of both ends. rank is that of the tier that answered, last that of the strongest: every tier below the last
// counts as kept cheap.
func (r *Record) label(j Judgement, rank, last int) {
	if j.Score != nil {
		right := *j.Score >= .5
		if rank < last {
			r.Cheap = &right
		} else {
			r.Strong = &right
		}
	}
	if j.ExpectedTier == "" {
		return
	}
	yes, no := true, false
	switch {
	case j.ExpectedRank > rank: // a stronger one was needed, whatever the score
		r.Cheap, r.Strong = &no, &yes
	case j.ExpectedRank < last && r.Cheap == nil: // a cheaper one would have done
		r.Cheap = &yes
	}
}
