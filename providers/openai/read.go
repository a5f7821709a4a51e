package openai

import (
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/llm"
)

// reader turns JSON of answers into events. Their bytes are views of the JSON where it has them as they are, and else live in the scratch
// space until reset.
type reader struct {
	scratch  []byte
	fleeting bool      // the JSON is gone before the events are, so that all is copied
	usage    llm.Usage // opaque streams: what was counted so far
}

// keepScratch bounds what a reader holds on to between calls, in bytes.
const keepScratch = 64 << 10

func (r *reader) reset() {
	if cap(r.scratch) > keepScratch {
		r.scratch = nil
	}
	r.scratch = r.scratch[:0]
}

// raw is a value as it is written.
func (r *reader) raw(v jsonedit.Value) []byte {
	if !r.fleeting {
		return v.Bytes()
	}
	n := len(r.scratch)
	r.scratch = append(r.scratch, v.Raw()...)
	return r.scratch[n:len(r.scratch):len(r.scratch)]
}

// text is a string without its escapes.
func (r *reader) text(v jsonedit.Value) []byte {
	raw := v.Raw()
	if len(raw) < 2 {
		return nil
	}
	if !r.fleeting && strings.IndexByte(raw, '\\') < 0 {
		b := v.Bytes()
		return b[1 : len(b)-1 : len(b)-1]
	}
	n := len(r.scratch)
	r.scratch = slices.Grow(r.scratch, len(raw))
	r.scratch = jsonedit.AppendUnescaped(r.scratch, raw[1:len(raw)-1])
	return r.scratch[n:len(r.scratch):len(r.scratch)]
}

// piece appends an event for a string that is not empty.
func (r *reader) piece(dst []llm.Event, k llm.EventKind, v jsonedit.Value) []llm.Event {
	if v.Kind() != jsonedit.String || len(v.Raw()) == 2 {
		return dst
	}
	return append(dst, llm.Event{Kind: k, Text: r.text(v)})
}

// message appends the events of a message of an answer or of a chunk's delta: reasoning before text, as models write.
func (r *reader) message(dst []llm.Event, m jsonedit.Value) []llm.Event {
	var content, thought, thoughtToo, refusal, calls jsonedit.Value
	other := false
	m.EachMember(func(key string, v jsonedit.Value) bool {
		switch key {
		case "content":
			content = v
		case "reasoning_content":
			thought = v
		case "reasoning":
			thoughtToo = v
		case "refusal":
			refusal = v
		case "tool_calls":
			calls = v
		case "audio", "images", "function_call":
			other = other || v.Kind() > jsonedit.True
		}
		return true
	})
	n := len(dst)
	if dst = r.piece(dst, llm.EventReasoning, thought); len(dst) == n {
		dst = r.piece(dst, llm.EventReasoning, thoughtToo)
	}
	if content.Kind() == jsonedit.Array { // Mistral's
		content.Each(func(p jsonedit.Value) bool {
			dst = r.part(dst, p)
			return true
		})
	} else {
		dst = r.piece(dst, llm.EventText, content)
	}
	dst = r.piece(dst, llm.EventRefusal, refusal)
	i := 0
	calls.Each(func(c jsonedit.Value) bool {
		dst = r.call(dst, c, i)
		i++
		return true
	})
	if other && len(dst) == n {
		dst = append(dst, llm.Event{Kind: llm.EventData})
	}
	return dst
}

func (r *reader) part(dst []llm.Event, p jsonedit.Value) []llm.Event {
	if p.Field("type").String() != "thinking" {
		return r.piece(dst, llm.EventText, p.Field("text"))
	}
	p.Field("thinking").Each(func(t jsonedit.Value) bool {
		dst = r.piece(dst, llm.EventReasoning, t.Field("text"))
		return true
	})
	return dst
}

// call appends a tool call or a piece of one. Whole answers and some servers give no index: then it is the place in the list.
func (r *reader) call(dst []llm.Event, c jsonedit.Value, place int) []llm.Event {
	e := llm.Event{Kind: llm.EventTool, Tool: place}
	var function jsonedit.Value
	c.EachMember(func(key string, v jsonedit.Value) bool {
		switch key {
		case "index":
			if v.Kind() == jsonedit.Number {
				e.Tool = indexOf(v)
			}
		case "id":
			e.ToolID = clone(v)
		case "function", "custom":
			if v.Kind() == jsonedit.Object {
				function = v
			}
		}
		return true
	})
	function.EachMember(func(key string, v jsonedit.Value) bool {
		switch key {
		case "name":
			e.ToolName = clone(v)
		case "arguments", "input":
			switch v.Kind() {
			case jsonedit.String:
				e.Text = r.text(v)
			case jsonedit.Object, jsonedit.Array: // some engines forget to quote
				e.Text = r.raw(v)
			}
		}
		return true
	})
	return append(dst, e)
}

// readUsage reads a count in the chat API's names, the Responses API's or Anthropic's.
func readUsage(v jsonedit.Value) (u llm.Usage) {
	apart, write := 0, 0 // Anthropic counts cached input beside the rest
	v.EachMember(func(key string, v jsonedit.Value) bool {
		switch key {
		case "prompt_tokens", "input_tokens":
			u.Input = count(v)
		case "completion_tokens", "output_tokens":
			u.Output = count(v)
		case "prompt_tokens_details", "input_tokens_details":
			if n := count(v.Field("cached_tokens")); n > 0 {
				u.Cached = n
			}
			u.CacheWrite = count(v.Field("cache_write_tokens"))
		case "completion_tokens_details", "output_tokens_details":
			u.Reasoning = max(count(v.Field("reasoning_tokens")), count(v.Field("thinking_tokens")))
		case "prompt_cache_hit_tokens", "cached_tokens": // DeepSeek's and Moonshot's
			u.Cached = max(u.Cached, count(v))
		case "cache_read_input_tokens":
			apart = count(v)
		case "cache_creation_input_tokens":
			write = count(v)
		}
		return true
	})
	if apart+write > 0 {
		u.Input += apart + write
		u.Cached, u.CacheWrite = apart, write
	}
	return u
}

// count is a number of tokens: what is negative or out of all proportion counts for nothing.
func count(v jsonedit.Value) int {
	if n := v.Int(); n > 0 && n < 1<<40 {
		return int(n)
	}
	return 0
}

// indexOf is the index of a choice or a tool call, held within what can be true.
func indexOf(v jsonedit.Value) int { return int(min(max(v.Int(), 0), maxChoices-1)) }

// clone is a string of its own.
func clone(v jsonedit.Value) string {
	if v.Kind() != jsonedit.String {
		return ""
	}
	return strings.Clone(v.String())
}

// reasons are the usual ends of a choice, so that reading one allocates nothing.
var reasons = [...]string{"stop", "length", "tool_calls", "content_filter", "function_call", "error", "abort", "eos_token"}

func reason(s string) string {
	for _, r := range reasons {
		if r == s {
			return r
		}
	}
	return strings.Clone(s)
}
