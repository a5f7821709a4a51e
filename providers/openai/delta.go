package openai

import (
	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/llm"
)

// delta is what the usual chunk holds once an answer has begun: one choice with one piece of text or reasoning, and nothing else to read.
type delta struct {
	kind  llm.EventKind
	index int
	text  jsonedit.Value
}

// readDelta reads and checks a chunk in one pass. False means that it is of another shape or no JSON: then chunk has the word, and makes of
// every chunk that readDelta takes the same event.
func readDelta(data []byte, completions bool) (d delta, ok bool) {
	c := jsonedit.Over(data, answerDepth)
	if !c.Enter('{') {
		return d, false
	}
	seen := false
	for key, more := c.Member(); more; key, more = c.Member() {
		switch key {
		case "choices":
			if seen || !d.list(&c, completions) {
				return d, false
			}
			seen = true
		case "error", "usage", "x_groq":
			if c.Value().Kind() != jsonedit.Null {
				return d, false
			}
		default:
			c.Value()
		}
	}
	return d, seen && d.kind != llm.EventOther && c.Done()
}

// list reads the choices.
func (d *delta) list(c *jsonedit.Cursor, completions bool) bool {
	if !c.Enter('[') || !c.Element() || !c.Enter('{') {
		return false
	}
	piece, seen := "delta", false
	if completions {
		piece = "text"
	}
	for key, more := c.Member(); more; key, more = c.Member() {
		switch key {
		case piece:
			if seen || completions && !d.plain(c) || !completions && !d.message(c) {
				return false
			}
			seen = true
		case "index":
			d.index = indexOf(c.Value())
		case "logprobs", "finish_reason", "usage":
			if c.Value().Kind() != jsonedit.Null {
				return false
			}
		default:
			c.Value()
		}
	}
	return !c.Element()
}

// plain reads a text completion's piece.
func (d *delta) plain(c *jsonedit.Cursor) bool {
	if d.text = c.Value(); !told(d.text) {
		return false
	}
	d.kind = llm.EventText
	return true
}

// message reads a chat's piece: text or reasoning, not both.
func (d *delta) message(c *jsonedit.Cursor) bool {
	if !c.Enter('{') {
		return false
	}
	var content, thought, thoughtToo jsonedit.Value
	for key, more := c.Member(); more; key, more = c.Member() {
		v := c.Value()
		switch key {
		case "content":
			if content = v; v.Kind() > jsonedit.String {
				return false
			}
		case "reasoning_content":
			thought = v
		case "reasoning":
			thoughtToo = v
		case "refusal", "tool_calls", "audio", "images", "function_call":
			if v.Kind() != jsonedit.Null {
				return false
			}
		}
	}
	if !told(thought) {
		thought = thoughtToo
	}
	switch {
	case told(thought) && told(content):
		return false
	case told(thought):
		d.kind, d.text = llm.EventReasoning, thought
	case told(content):
		d.kind, d.text = llm.EventText, content
	}
	return true
}

// told says that a value is a string that is not empty.
func told(v jsonedit.Value) bool { return v.Kind() == jsonedit.String && len(v.Raw()) > 2 }
