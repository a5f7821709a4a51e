package openai

import (
	"cmp"
	"strconv"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/internal/sse"
	"github.com/sluice-gateway/sluice/llm"
)

// doneFrame ends a stream of chat or completions.
var doneFrame = []byte("data: [DONE]\n\n")

// NewPassEncoder returns the encoder between two parties of this dialect: it passes each event's bytes as they came, but for the frames
// that hold only usage, which it leaves out unless keepUsage is set. Its AppendError is a stream's: a JSON body that passes has no middle.
func NewPassEncoder(keepUsage bool) llm.Encoder { return &passer{keepUsage} }

type passer struct{ keepUsage bool }

// Append appends the event's bytes.
func (p *passer) Append(dst []byte, e *llm.Event) []byte {
	if e.UsageOnly && !p.keepUsage {
		return dst
	}
	return append(dst, e.Raw...)
}

// AppendError appends the error as the stream's last event.
func (p *passer) AppendError(dst []byte, err *llm.Error) []byte { return AppendErrorEvent(dst, err) }

// streamEncoder writes a stream from events alone.
type streamEncoder struct {
	op        llm.Op
	head      []byte // every chunk up to its choices
	roles     []bool // by choice: the role was written
	reasoning string // the member that reasoning is written to; "" = reasoning_content
	payload   []byte
}

// Append appends the frames that the event causes.
func (s *streamEncoder) Append(dst []byte, e *llm.Event) []byte {
	switch e.Kind {
	case llm.EventStart:
		s.begin(e)
		return s.role(dst, e.Choice)
	case llm.EventComment:
		return sse.AppendComment(dst, "")
	case llm.EventUsage:
		p := append(append(s.payload[:0], s.headed()...), `[],"usage":`...)
		s.payload = append(appendUsage(p, e), '}')
		return sse.AppendData(dst, s.payload)
	case llm.EventError:
		if e.Err != nil {
			return s.AppendError(dst, e.Err)
		}
	case llm.EventData: // an answer that has no stream of its own, such as embeddings
		return sse.AppendData(dst, e.Raw)
	case llm.EventEnd:
		return append(dst, doneFrame...)
	case llm.EventText, llm.EventReasoning, llm.EventRefusal, llm.EventTool, llm.EventFinish:
		dst = s.role(dst, e.Choice)
		return s.chunk(dst, e)
	}
	return dst
}

func (s *streamEncoder) begin(e *llm.Event) {
	object := "chat.completion.chunk"
	if s.op == llm.OpCompletions {
		object = "text_completion"
	}
	s.head = append(appendHead(s.head[:0], e.ID, object, e.Created, e.Model), `,"choices":`...)
}

func (s *streamEncoder) headed() []byte {
	if s.head == nil {
		s.begin(&llm.Event{})
	}
	return s.head
}

// role writes a choice's first chunk, once.
func (s *streamEncoder) role(dst []byte, choice int) []byte {
	if s.op == llm.OpCompletions || choice < 0 || choice >= maxChoices {
		return dst
	}
	for len(s.roles) <= choice {
		s.roles = append(s.roles, false)
	}
	if s.roles[choice] {
		return dst
	}
	s.roles[choice] = true
	s.payload = append(s.payload[:0], s.headed()...)
	s.payload = append(s.payload, `[{"index":`...)
	s.payload = strconv.AppendInt(s.payload, int64(choice), 10)
	s.payload = append(s.payload, `,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}`...)
	return sse.AppendData(dst, s.payload)
}

func (s *streamEncoder) chunk(dst []byte, e *llm.Event) []byte {
	p := append(s.payload[:0], s.headed()...)
	p = append(p, `[{"index":`...)
	p = strconv.AppendInt(p, int64(e.Choice), 10)
	if s.op == llm.OpCompletions {
		p = append(p, `,"text":`...)
		p = jsonedit.AppendString(p, string(e.Text))
	} else {
		p = append(p, `,"delta":{`...)
		p = s.delta(p, e)
		p = append(p, '}')
	}
	p = append(p, `,"logprobs":`...)
	if len(e.Logprobs) > 0 {
		p = append(p, e.Logprobs...)
	} else {
		p = append(p, "null"...)
	}
	p = append(p, `,"finish_reason":`...)
	p = appendNullable(p, e.Finish)
	s.payload = append(p, `}]}`...)
	return sse.AppendData(dst, s.payload)
}

func (s *streamEncoder) delta(p []byte, e *llm.Event) []byte {
	switch e.Kind {
	case llm.EventText:
		p = append(p, `"content":`...)
	case llm.EventReasoning:
		p = append(append(append(p, '"'), cmp.Or(s.reasoning, "reasoning_content")...), `":`...)
	case llm.EventRefusal:
		p = append(p, `"refusal":`...)
	case llm.EventTool:
		p = append(p, `"tool_calls":[{"index":`...)
		p = strconv.AppendInt(p, int64(e.Tool), 10)
		if e.ToolID != "" {
			p = append(p, `,"id":`...)
			p = jsonedit.AppendString(p, e.ToolID)
		}
		if e.ToolID != "" || e.ToolName != "" {
			p = append(p, `,"type":"function"`...)
		}
		p = append(p, `,"function":{`...)
		if e.ToolName != "" {
			p = append(p, `"name":`...)
			p = jsonedit.AppendString(p, e.ToolName)
			p = append(p, ',')
		}
		p = append(p, `"arguments":`...)
		p = jsonedit.AppendString(p, string(e.Text))
		return append(p, `}}]`...)
	default:
		return p
	}
	return jsonedit.AppendString(p, string(e.Text))
}

// AppendError appends the error as the stream's last event.
func (s *streamEncoder) AppendError(dst []byte, err *llm.Error) []byte {
	return AppendErrorEvent(dst, err)
}

// appendHead appends the beginning of an answer or a chunk, up to its model.
func appendHead(dst []byte, id, object string, created int64, model string) []byte {
	dst = append(dst, `{"id":`...)
	dst = jsonedit.AppendString(dst, id)
	dst = append(dst, `,"object":"`...)
	dst = append(dst, object...)
	dst = append(dst, `","created":`...)
	dst = strconv.AppendInt(dst, created, 10)
	dst = append(dst, `,"model":`...)
	return jsonedit.AppendString(dst, model)
}

// appendUsage appends a count: as the provider wrote it where the event has that, since it may hold more than Sluice reads.
func appendUsage(dst []byte, e *llm.Event) []byte {
	if len(e.Text) > 0 {
		return append(dst, e.Text...)
	}
	u := e.Usage
	for i, f := range [...]struct {
		name string
		n    int
	}{
		{`{"prompt_tokens":`, u.Input}, {`,"completion_tokens":`, u.Output}, {`,"total_tokens":`, u.Input + u.Output},
		{`,"prompt_tokens_details":{"cached_tokens":`, u.Cached}, {`},"completion_tokens_details":{"reasoning_tokens":`, u.Reasoning},
	} {
		if i == 4 && u.CacheWrite > 0 {
			dst = append(dst, `,"cache_write_tokens":`...)
			dst = strconv.AppendInt(dst, int64(u.CacheWrite), 10)
		}
		dst = append(dst, f.name...)
		dst = strconv.AppendInt(dst, int64(f.n), 10)
	}
	return append(dst, `}}`...)
}
