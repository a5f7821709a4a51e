package openai

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/llm"
)

// Decode reads the whole request into the canonical form. The error is an *llm.Error, status 400, that names the parameter.
func (Codec) Decode(e *llm.Envelope) (*llm.Request, error) {
	if !e.Op.Generates() {
		return nil, invalid("", "a "+e.Op.String()+" request cannot be translated")
	}
	r := &llm.Request{Op: e.Op, N: e.N, Stream: e.Stream, UsageAsked: e.UsageAsked, MaxTokens: e.MaxTokens, Model: strings.Clone(e.Model)}
	doc, docErr := document(e)
	if docErr != nil {
		return nil, refusal(docErr)
	}
	var err *llm.Error
	doc.Root().EachMember(func(key string, v jsonedit.Value) bool {
		if v.Kind() != jsonedit.Null {
			err = decodeMember(r, key, v)
		}
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

func decodeMember(r *llm.Request, key string, v jsonedit.Value) *llm.Error {
	switch key {
	case "model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n":
	case "messages":
		var err *llm.Error
		i := 0
		v.Each(func(m jsonedit.Value) bool {
			var msg llm.Message
			if msg, err = decodeMessage(m, i); err == nil {
				r.Messages = append(r.Messages, msg)
			}
			i++
			return err == nil
		})
		return err
	case "prompt":
		return decodePrompt(r, v)
	case "temperature":
		r.Temperature = number(v)
	case "top_p":
		r.TopP = number(v)
	case "seed":
		n, ok := v.Integer()
		if !ok {
			return invalid(key, "seed must be a whole number")
		}
		r.Seed = &n
	case "stop":
		r.Stop = texts(v)
	case "tools":
		v.Each(func(t jsonedit.Value) bool {
			f := t.Field("function")
			tool := llm.Tool{Name: clone(f.Field("name")), Description: clone(f.Field("description")), Raw: []byte(t.Raw())}
			if p := f.Field("parameters"); p.Exists() {
				tool.Parameters = []byte(p.Raw())
			}
			r.Tools = append(r.Tools, tool)
			return true
		})
	case "tool_choice":
		r.ToolChoice = []byte(v.Raw())
	case "response_format":
		r.Format = []byte(v.Raw())
	case "reasoning_effort":
		r.Reasoning = clone(v)
	default:
		r.Extra = append(r.Extra, llm.Field{Name: strings.Clone(key), Raw: []byte(v.Raw())})
	}
	return nil
}

func decodePrompt(r *llm.Request, v jsonedit.Value) *llm.Error {
	bad := v.Kind() != jsonedit.String && v.Kind() != jsonedit.Array
	v.Each(func(p jsonedit.Value) bool {
		bad = bad || p.Kind() != jsonedit.String
		return true
	})
	if bad {
		return invalid("prompt", "a prompt of token ids cannot be translated")
	}
	r.Prompt = texts(v)
	return nil
}

func decodeMessage(m jsonedit.Value, i int) (llm.Message, *llm.Error) {
	msg := llm.Message{
		Role: clone(m.Field("role")), Name: clone(m.Field("name")), ToolID: clone(m.Field("tool_call_id")), Refusal: clone(m.Field("refusal")),
	}
	if msg.Reasoning = clone(m.Field("reasoning_content")); msg.Reasoning == "" {
		msg.Reasoning = clone(m.Field("reasoning"))
	}
	if msg.Role == "" {
		return msg, invalid(fmt.Sprintf("messages[%d].role", i), "a message must have a role")
	}
	switch c := m.Field("content"); c.Kind() {
	case jsonedit.String:
		msg.Parts = []llm.Part{{Kind: llm.PartText, Text: clone(c)}}
	case jsonedit.Array:
		c.Each(func(p jsonedit.Value) bool {
			msg.Parts = append(msg.Parts, decodePart(p))
			return true
		})
	}
	m.Field("tool_calls").Each(func(c jsonedit.Value) bool {
		f := c.Field("function")
		msg.ToolCalls = append(msg.ToolCalls, llm.ToolCall{ID: clone(c.Field("id")), Name: clone(f.Field("name")), Arguments: clone(f.Field("arguments"))})
		return true
	})
	return msg, nil
}

func decodePart(p jsonedit.Value) llm.Part {
	part := llm.Part{Kind: llm.PartOther, Raw: []byte(p.Raw())}
	switch p.Field("type").String() {
	case "text":
		part.Kind, part.Text = llm.PartText, clone(p.Field("text"))
	case "image_url":
		part.Kind = llm.PartImage
		if part.URL = clone(p.Field("image_url").Field("url")); part.URL == "" {
			part.URL = clone(p.Field("image_url"))
		}
	case "input_audio":
		part.Kind = llm.PartAudio
	case "file":
		part.Kind = llm.PartFile
	}
	return part
}

func number(v jsonedit.Value) *float64 {
	if v.Kind() != jsonedit.Number {
		return nil
	}
	f := v.Float()
	return &f
}

// texts is a string, or the strings of an array.
func texts(v jsonedit.Value) (list []string) {
	if v.Kind() == jsonedit.String {
		return []string{clone(v)}
	}
	v.Each(func(s jsonedit.Value) bool {
		list = append(list, clone(s))
		return true
	})
	return list
}

// AppendRequest writes the canonical request as a body of this dialect and returns the names of fields that it cannot carry.
func (Codec) AppendRequest(dst []byte, r *llm.Request) (body []byte, lost []string, err error) {
	w := writer{dst: append(dst, '{')}
	w.text("model", r.Model)
	switch r.Op {
	case llm.OpChat:
		w.name("messages")
		w.dst = append(w.dst, '[')
		for i := range r.Messages {
			w.comma(i)
			w.message(&r.Messages[i], i)
		}
		w.dst = append(w.dst, ']')
	case llm.OpCompletions:
		w.name("prompt")
		w.strings(r.Prompt, len(r.Prompt) == 1)
	default:
		return dst, nil, invalid("", "a "+r.Op.String()+" request cannot be translated")
	}
	if r.Stream {
		w.raw("stream", yes)
		if r.UsageAsked {
			w.raw("stream_options", []byte(`{"include_usage":true}`))
		}
	}
	w.integer("max_tokens", r.MaxTokens)
	w.float("temperature", r.Temperature)
	w.float("top_p", r.TopP)
	if r.Seed != nil {
		w.raw("seed", strconv.AppendInt(nil, *r.Seed, 10))
	}
	if len(r.Stop) > 0 {
		w.name("stop")
		w.strings(r.Stop, len(r.Stop) == 1)
	}
	if r.N > 1 {
		w.integer("n", r.N)
	}
	w.tools(r.Tools)
	w.raw("tool_choice", r.ToolChoice)
	w.raw("response_format", r.Format)
	if r.Reasoning != "" {
		w.text("reasoning_effort", r.Reasoning)
	}
	for _, f := range r.Extra {
		w.raw(f.Name, f.Raw)
	}
	return append(w.dst, '}'), w.lost, nil
}

// writer appends the members of one object.
type writer struct {
	dst  []byte
	some bool
	lost []string
}

func (w *writer) name(key string) {
	if w.some {
		w.dst = append(w.dst, ',')
	}
	w.some = true
	w.dst = append(jsonedit.AppendString(w.dst, key), ':')
}

func (w *writer) comma(i int) {
	if i > 0 {
		w.dst = append(w.dst, ',')
	}
}

func (w *writer) text(key, s string) {
	w.name(key)
	w.dst = jsonedit.AppendString(w.dst, s)
}

// raw writes a value that is JSON; nil is absent.
func (w *writer) raw(key string, value []byte) {
	if value != nil {
		w.name(key)
		w.dst = append(w.dst, value...)
	}
}

func (w *writer) integer(key string, n int) {
	if n > 0 {
		w.name(key)
		w.dst = strconv.AppendInt(w.dst, int64(n), 10)
	}
}

func (w *writer) float(key string, f *float64) {
	if f == nil {
		return
	}
	if math.IsInf(*f, 0) || math.IsNaN(*f) {
		w.lost = append(w.lost, key)
		return
	}
	w.name(key)
	w.dst = strconv.AppendFloat(w.dst, *f, 'g', -1, 64)
}

func (w *writer) strings(list []string, single bool) {
	if single {
		w.dst = jsonedit.AppendString(w.dst, list[0])
		return
	}
	w.dst = append(w.dst, '[')
	for i, s := range list {
		w.comma(i)
		w.dst = jsonedit.AppendString(w.dst, s)
	}
	w.dst = append(w.dst, ']')
}

func (w *writer) tools(tools []llm.Tool) {
	if len(tools) == 0 {
		return
	}
	w.name("tools")
	w.dst = append(w.dst, '[')
	for i, t := range tools {
		w.comma(i)
		if t.Raw != nil {
			w.dst = append(w.dst, t.Raw...)
			continue
		}
		f := writer{dst: append(w.dst, `{"type":"function","function":{`...)}
		f.text("name", t.Name)
		if t.Description != "" {
			f.text("description", t.Description)
		}
		f.raw("parameters", t.Parameters)
		w.dst = append(f.dst, `}}`...)
	}
	w.dst = append(w.dst, ']')
}

func (w *writer) message(m *llm.Message, at int) {
	f := writer{dst: append(w.dst, '{')}
	f.text("role", m.Role)
	if m.Name != "" {
		f.text("name", m.Name)
	}
	f.name("content")
	switch {
	case len(m.Parts) == 0:
		f.dst = append(f.dst, "null"...)
	case len(m.Parts) == 1 && m.Parts[0].Kind == llm.PartText && m.Parts[0].Raw == nil:
		f.dst = jsonedit.AppendString(f.dst, m.Parts[0].Text)
	default:
		f.parts(m.Parts, at)
	}
	for i, c := range m.ToolCalls {
		if i == 0 {
			f.name("tool_calls")
			f.dst = append(f.dst, '[')
		} else {
			f.dst = append(f.dst, ',')
		}
		f.call(c)
	}
	if len(m.ToolCalls) > 0 {
		f.dst = append(f.dst, ']')
	}
	if m.ToolID != "" {
		f.text("tool_call_id", m.ToolID)
	}
	if m.Refusal != "" {
		f.text("refusal", m.Refusal)
	}
	if m.Reasoning != "" {
		f.text("reasoning_content", m.Reasoning)
	}
	w.dst = append(f.dst, '}')
	w.lost = append(w.lost, f.lost...)
}

func (w *writer) call(c llm.ToolCall) {
	w.dst = append(w.dst, `{"id":`...)
	w.dst = jsonedit.AppendString(w.dst, c.ID)
	w.dst = append(w.dst, `,"type":"function","function":{"name":`...)
	w.dst = jsonedit.AppendString(w.dst, c.Name)
	w.dst = append(w.dst, `,"arguments":`...)
	w.dst = jsonedit.AppendString(w.dst, c.Arguments)
	w.dst = append(w.dst, `}}`...)
}

// parts writes a content of several parts. A part that came in this dialect goes out as it came.
func (w *writer) parts(parts []llm.Part, at int) {
	w.dst = append(w.dst, '[')
	n := 0
	for i, p := range parts {
		if p.Raw == nil && p.Kind != llm.PartText && !(p.Kind == llm.PartImage && p.URL != "") {
			w.lost = append(w.lost, fmt.Sprintf("messages[%d].content[%d]", at, i))
			continue
		}
		w.comma(n)
		n++
		switch {
		case p.Raw != nil:
			w.dst = append(w.dst, p.Raw...)
		case p.Kind == llm.PartImage:
			w.dst = append(w.dst, `{"type":"image_url","image_url":{"url":`...)
			w.dst = jsonedit.AppendString(w.dst, p.URL)
			w.dst = append(w.dst, `}}`...)
		default:
			w.dst = append(w.dst, `{"type":"text","text":`...)
			w.dst = jsonedit.AppendString(w.dst, p.Text)
			w.dst = append(w.dst, '}')
		}
	}
	w.dst = append(w.dst, ']')
}
