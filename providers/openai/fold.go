package openai

import (
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/llm"
)

// folder folds the events of an answer into one JSON body, written at EventEnd.
type folder struct {
	op      llm.Op
	id      string
	model   string
	created int64
	choices []*folded
	usage   []byte
}

// folded is one choice so far.
type folded struct {
	index                    int
	text, reasoning, refusal []byte
	hasText                  bool
	calls                    []*foldedCall
	logprobs                 []foldedList
	finish                   string
}

type foldedCall struct {
	index     int
	id, name  string
	arguments []byte
}

// foldedList is one member of the logprobs: an array that grows with each chunk, or a null.
type foldedList struct {
	name  string
	items []byte
	array bool
}

// Append takes the event; at EventEnd it appends the body.
func (f *folder) Append(dst []byte, e *llm.Event) []byte {
	if len(e.Logprobs) > 0 {
		f.choice(e.Choice).addLogprobs(e.Logprobs)
	}
	switch e.Kind {
	case llm.EventStart:
		f.id, f.model, f.created = e.ID, e.Model, e.Created
	case llm.EventText:
		c := f.choice(e.Choice)
		c.text, c.hasText = append(c.text, e.Text...), c.hasText || len(e.Text) > 0
	case llm.EventReasoning:
		c := f.choice(e.Choice)
		c.reasoning = append(c.reasoning, e.Text...)
	case llm.EventRefusal:
		c := f.choice(e.Choice)
		c.refusal = append(c.refusal, e.Text...)
	case llm.EventTool:
		call := f.choice(e.Choice).call(e.Tool)
		if call.id == "" {
			call.id = e.ToolID
		}
		if call.name == "" {
			call.name = e.ToolName
		}
		call.arguments = append(call.arguments, e.Text...)
	case llm.EventFinish:
		f.choice(e.Choice).finish = e.Finish
	case llm.EventUsage:
		f.usage = appendUsage(f.usage[:0], e)
	case llm.EventEnd:
		return f.body(dst)
	}
	return dst
}

// choice finds or makes the choice of an index, in the order of the indices.
func (f *folder) choice(index int) *folded {
	i, ok := slices.BinarySearchFunc(f.choices, index, func(c *folded, n int) int { return c.index - n })
	if !ok {
		f.choices = slices.Insert(f.choices, i, &folded{index: index})
	}
	return f.choices[i]
}

func (c *folded) call(index int) *foldedCall {
	i, ok := slices.BinarySearchFunc(c.calls, index, func(t *foldedCall, n int) int { return t.index - n })
	if !ok {
		c.calls = slices.Insert(c.calls, i, &foldedCall{index: index})
	}
	return c.calls[i]
}

// addLogprobs joins the arrays of one chunk's logprobs to those before: content and refusal of chat, tokens and the rest of completions.
func (c *folded) addLogprobs(raw []byte) {
	jsonedit.Parse(raw).EachMember(func(name string, v jsonedit.Value) bool {
		i := slices.IndexFunc(c.logprobs, func(l foldedList) bool { return l.name == name })
		if i < 0 {
			i = len(c.logprobs)
			c.logprobs = append(c.logprobs, foldedList{name: strings.Clone(name)})
		}
		l := &c.logprobs[i]
		if v.Kind() != jsonedit.Array {
			return true
		}
		l.array = true
		v.Each(func(item jsonedit.Value) bool {
			if len(l.items) > 0 {
				l.items = append(l.items, ',')
			}
			l.items = append(l.items, item.Raw()...)
			return true
		})
		return true
	})
}

func (f *folder) body(dst []byte) []byte {
	object := "chat.completion"
	if f.op == llm.OpCompletions {
		object = "text_completion"
	}
	dst = appendHead(dst, f.id, object, f.created, f.model)
	dst = append(dst, `,"choices":[`...)
	for i, c := range f.choices {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"index":`...)
		dst = strconv.AppendInt(dst, int64(c.index), 10)
		if f.op == llm.OpCompletions {
			dst = append(dst, `,"text":`...)
			dst = jsonedit.AppendString(dst, string(c.text))
		} else {
			dst = c.message(dst)
		}
		dst = append(dst, `,"logprobs":`...)
		dst = c.appendLogprobs(dst)
		dst = append(dst, `,"finish_reason":`...)
		dst = appendNullable(dst, c.finish)
		dst = append(dst, '}')
	}
	dst = append(dst, ']')
	if len(f.usage) > 0 {
		dst = append(dst, `,"usage":`...)
		dst = append(dst, f.usage...)
	}
	return append(dst, '}')
}

// message appends the assistant's message. Its content is null when it has none but tool calls or a refusal.
func (c *folded) message(dst []byte) []byte {
	dst = append(dst, `,"message":{"role":"assistant","content":`...)
	if !c.hasText && (len(c.calls) > 0 || len(c.refusal) > 0) {
		dst = append(dst, "null"...)
	} else {
		dst = jsonedit.AppendString(dst, string(c.text))
	}
	if len(c.reasoning) > 0 {
		dst = append(dst, `,"reasoning_content":`...)
		dst = jsonedit.AppendString(dst, string(c.reasoning))
	}
	dst = append(dst, `,"refusal":`...)
	dst = appendNullable(dst, string(c.refusal))
	for i, t := range c.calls {
		if i == 0 {
			dst = append(dst, `,"tool_calls":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"id":`...)
		dst = jsonedit.AppendString(dst, t.id)
		dst = append(dst, `,"type":"function","function":{"name":`...)
		dst = jsonedit.AppendString(dst, t.name)
		dst = append(dst, `,"arguments":`...)
		dst = jsonedit.AppendString(dst, string(t.arguments))
		dst = append(dst, `}}`...)
	}
	if len(c.calls) > 0 {
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

func (c *folded) appendLogprobs(dst []byte) []byte {
	if len(c.logprobs) == 0 {
		return append(dst, "null"...)
	}
	dst = append(dst, '{')
	for i, l := range c.logprobs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = jsonedit.AppendString(dst, l.name)
		dst = append(dst, ':')
		if !l.array {
			dst = append(dst, "null"...)
			continue
		}
		dst = append(dst, '[')
		dst = append(dst, l.items...)
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// AppendError appends the error as the answer's JSON body.
func (f *folder) AppendError(dst []byte, err *llm.Error) []byte { return AppendErrorJSON(dst, err) }
