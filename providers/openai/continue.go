package openai

import (
	"strconv"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/llm"
)

// Continuation is how a server is asked to go on with an answer that has begun. The zero value is a last assistant message and nothing else.
type Continuation struct {
	Final  bool   // continue_final_message, and no prompt for another message
	Member string // of the last message, set to true: prefix or partial; "" = none
}

// Begun is an answer's beginning that a target is to go on with.
type Begun struct {
	Continuation
	Text      string
	Reasoning string // what the model thought before the text; "" = leave it out
	Tokens    int    // an estimate of both: limits on the answer shrink by it
}

// CanContinue reports whether an answer to the request can be begun for the model: a chat whose last word is not the model's already, a
// completion of one text.
func CanContinue(e *llm.Envelope) bool {
	doc, err := document(e)
	if err != nil {
		return false
	}
	if e.Op == llm.OpCompletions {
		return doc.Value("prompt").Kind() == jsonedit.String
	}
	n := len(e.Turns)
	return e.Op == llm.OpChat && n > 0 && e.Turns[n-1].Role != "assistant" && doc.Value("messages").Kind() == jsonedit.Array
}

// begin adds the edits that put an answer's beginning into a request, of which CanContinue said that it may be there.
func (b *Begun) begin(edits []jsonedit.Edit, doc *jsonedit.Doc, op llm.Op) []jsonedit.Edit {
	if op == llm.OpCompletions {
		return append(edits, jsonedit.SetString("prompt", doc.Value("prompt").String()+b.Text))
	}
	list := doc.Value("messages").Raw()
	raw := make([]byte, 0, len(list)+len(b.Text)+len(b.Reasoning)+96)
	raw = append(raw, list[:len(list)-1]...)
	raw = append(raw, `,{"role":"assistant","content":`...)
	raw = jsonedit.AppendString(raw, b.Text)
	if b.Reasoning != "" {
		raw = append(raw, `,"reasoning_content":`...)
		raw = jsonedit.AppendString(raw, b.Reasoning)
	}
	if b.Member != "" {
		raw = append(append(append(raw, `,"`...), b.Member...), `":true`...)
	}
	edits = append(edits, jsonedit.Set("messages", append(raw, `}]`...)))
	if b.Final {
		edits = append(edits, jsonedit.Set("continue_final_message", yes), jsonedit.Set("add_generation_prompt", no))
	}
	return edits
}

// NewContinuationEncoder returns an encoder of a stream that goes on: chunks bear the id, model and time of start and the role is told.
// reasoning is the member that reasoning has been written to; "" = reasoning_content.
func NewContinuationEncoder(op llm.Op, start *llm.Event, reasoning string) llm.Encoder {
	s := &streamEncoder{op: op, roles: []bool{true}, reasoning: reasoning}
	s.begin(start)
	return s
}

// shrunk is a limit on an answer of which some tokens are there already. Nothing asks for less than one.
func (b *Begun) shrunk(n int) int {
	if b == nil {
		return n
	}
	return max(n-b.Tokens, 1)
}

// setLimit is the edit that sets a limit on the answer's tokens.
func setLimit(name string, n int) jsonedit.Edit {
	return jsonedit.Set(name, strconv.AppendInt(nil, int64(n), 10))
}
