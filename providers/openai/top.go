package openai

import (
	"strings"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
)

// top is an answer's or a chunk's JSON with the members that are read of it, the last one where a key stands twice.
type top struct {
	jsonedit.Value
	id, model, created, choices, usage, fault, groq jsonedit.Value
}

// readTop reads and checks a JSON value in one pass. False means that it is no JSON. What is no object has no members.
func readTop(data []byte) (t top, ok bool) {
	c := jsonedit.Over(data, answerDepth)
	if !c.Enter('{') {
		t.Value = c.Value()
		return t, c.Done()
	}
	for key, more := c.Member(); more; key, more = c.Member() {
		v := c.Value()
		switch key {
		case "id":
			t.id = v
		case "model":
			t.model = v
		case "created":
			t.created = v
		case "choices":
			t.choices = v
		case "usage":
			t.usage = v
		case "error":
			t.fault = v
		case "x_groq":
			t.groq = v
		}
	}
	if !c.Done() {
		return top{}, false
	}
	t.Value = jsonedit.Parse(data)
	return t, true
}

// fields are the members that are read of a choice.
type fields struct {
	index                                  int
	delta, message, text, logprobs, finish jsonedit.Value
}

func readChoice(c jsonedit.Value) (f fields) {
	c.EachMember(func(key string, v jsonedit.Value) bool {
		switch key {
		case "index":
			f.index = indexOf(v)
		case "delta":
			f.delta = v
		case "message":
			f.message = v
		case "text":
			f.text = v
		case "logprobs":
			f.logprobs = v
		case "finish_reason":
			f.finish = v
		}
		return true
	})
	return f
}

// none says that an array is empty.
func none(list jsonedit.Value) bool {
	return strings.TrimLeft(list.Raw()[1:], " \t\r\n") == "]"
}
