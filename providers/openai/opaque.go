package openai

import (
	"bytes"
	"strings"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/llm"
)

// lastEvents are the streams whose last event is known, by how the names of their events begin: such a stream is complete only with it.
var lastEvents = []struct {
	begins string
	last   []string
}{
	{"response.", []string{"response.completed", "response.incomplete", "response.failed", "response.cancelled"}},
	{"message_", []string{"message_stop"}},
	{"transcript.", []string{"transcript.text.done"}},
	{"speech.", []string{"speech.audio.done"}},
	{"image_generation.", []string{"image_generation.completed"}},
	{"image_edit.", []string{"image_edit.completed"}},
}

// preludes are events that come before an answer and are no part of it.
var preludes = []string{"response.created", "response.in_progress", "response.queued", "message_start", "ping", "keepalive"}

// opaque appends what a frame of a stream of another shape holds (the Responses API's, Anthropic's, images, audio): whether the answer
// has begun, failed or ended, and its usage. The frames themselves pass as they are.
func (d *streamDecoder) opaque(dst []llm.Event, name, data []byte) []llm.Event {
	if len(data) == 0 || data[0] != '{' || !jsonedit.Valid(data, answerDepth) {
		return d.life(dst, "")
	}
	root := jsonedit.Parse(data)
	kind := root.Field("type").String()
	if kind == "" {
		kind = string(name)
	}
	for _, s := range lastEvents {
		if !strings.HasPrefix(kind, s.begins) {
			continue
		}
		d.needs = s.begins
		if among(s.last, kind) {
			d.needs = ""
		}
	}
	response := root.Field("response")
	usage := root.Field("usage")
	if usage.Kind() != jsonedit.Object {
		usage = response.Field("usage")
	}
	if usage.Kind() != jsonedit.Object {
		usage = root.Field("message").Field("usage")
	}
	if fault := root.Field("error"); fault.Kind() > jsonedit.True || kind == "error" || kind == "response.failed" {
		b, ok := readError(root)
		if kind == "response.failed" {
			b, ok = readError(response)
		}
		if !ok {
			b = readMembers(root)
		}
		if kind == "error" {
			d.needs = ""
		}
		d.data = true
		dst = append(dst, llm.Event{Kind: llm.EventError, Err: b.Error(200, b.Classify(200))})
		return d.opaqueUsage(dst, usage)
	}
	if kind == "response.created" || kind == "message_start" {
		about := response
		if kind == "message_start" {
			about = root.Field("message")
		}
		if !d.started {
			d.started = true
			dst = append(dst, llm.Event{Kind: llm.EventStart, ID: clone(about.Field("id")), Model: clone(about.Field("model")), Created: about.Field("created_at").Int()})
		}
		return d.opaqueUsage(dst, usage)
	}
	return d.opaqueUsage(d.life(dst, kind), usage)
}

// life appends the answer's first sign of life, once.
func (d *streamDecoder) life(dst []llm.Event, kind string) []llm.Event {
	if d.data || among(preludes, kind) {
		return append(dst, llm.Event{Kind: llm.EventOther})
	}
	d.data = true
	return append(dst, llm.Event{Kind: llm.EventData})
}

// opaqueUsage appends a count. Streams that count in two places (Anthropic's: the prompt first, the answer last) have them joined.
func (d *streamDecoder) opaqueUsage(dst []llm.Event, usage jsonedit.Value) []llm.Event {
	if usage.Kind() != jsonedit.Object {
		return dst
	}
	u, sum := readUsage(usage), &d.reader.usage
	sum.Input, sum.Output = max(u.Input, sum.Input), max(u.Output, sum.Output)
	sum.Cached, sum.CacheWrite, sum.Reasoning = max(u.Cached, sum.Cached), max(u.CacheWrite, sum.CacheWrite), max(u.Reasoning, sum.Reasoning)
	if sum.Zero() {
		return dst
	}
	return append(dst, llm.Event{Kind: llm.EventUsage, Usage: *sum, Text: d.reader.raw(usage)})
}

// jsonDecoder reads an answer that is one JSON body. It gives its events at the end.
type jsonDecoder struct {
	op     llm.Op
	body   []byte
	reader reader
	err    error
	ended  bool
}

// maxAnswer is the largest JSON answer that is read, in bytes: embeddings of a large batch take more than a hundred megabytes.
const maxAnswer = 256 << 20

// Append collects the body; with end set it appends all events of the answer.
func (d *jsonDecoder) Append(dst []llm.Event, chunk []byte, end bool) ([]llm.Event, error) {
	if d.err != nil || d.ended {
		return dst, d.err
	}
	d.body = append(d.body, chunk...)
	switch {
	case len(d.body) > maxAnswer:
		d.err = broken("it is too long")
		return dst, d.err
	case !end:
		return dst, nil
	}
	d.ended = true
	n := len(dst)
	dst, err := d.events(dst)
	if err != nil {
		d.err = err
		return dst[:n], err
	}
	dst[n].Raw = d.body
	return dst, nil
}

func (d *jsonDecoder) events(dst []llm.Event) ([]llm.Event, error) {
	data := bytes.TrimSpace(d.body)
	if len(data) == 0 {
		return dst, broken("it is empty")
	}
	root, ok := readTop(data)
	if !ok {
		return dst, broken("it is not JSON, or cut")
	}
	if root.fault.Kind() > jsonedit.True && !(d.op == llm.OpOpaque && root.id.Exists()) {
		b, _ := readError(root.Value)
		return append(dst, llm.Event{Kind: llm.EventError, Err: b.Error(200, b.Classify(200))}), nil
	}
	var err error
	if d.op.Generates() {
		if dst, err = d.answer(dst, root); err != nil {
			return dst, err
		}
	} else {
		if d.op != llm.OpOpaque && root.Kind() != jsonedit.Object {
			return dst, broken("it is not an object")
		}
		dst = append(dst, llm.Event{Kind: llm.EventData, ID: clone(root.id), Model: clone(root.model)})
	}
	if u := root.usage; u.Kind() == jsonedit.Object {
		dst = append(dst, llm.Event{Kind: llm.EventUsage, Usage: readUsage(u), Text: d.reader.raw(u)})
	}
	return append(dst, llm.Event{Kind: llm.EventEnd}), nil
}

// answer appends the events of a chat.completion or text_completion.
func (d *jsonDecoder) answer(dst []llm.Event, root top) ([]llm.Event, error) {
	choices := root.choices
	if choices.Kind() != jsonedit.Array || none(choices) {
		return dst, broken("it has no choices")
	}
	dst = append(dst, llm.Event{Kind: llm.EventStart, ID: clone(root.id), Model: clone(root.model), Created: root.created.Int()})
	choices.Each(func(c jsonedit.Value) bool {
		dst = d.choice(dst, c)
		return true
	})
	return dst, nil
}

// choice appends the events of one choice, which ends with its EventFinish.
func (d *jsonDecoder) choice(dst []llm.Event, c jsonedit.Value) []llm.Event {
	n := len(dst)
	f := readChoice(c)
	if d.op == llm.OpCompletions {
		dst = d.reader.piece(dst, llm.EventText, f.text)
	} else {
		dst = d.reader.message(dst, f.message)
	}
	if f.logprobs.Kind() == jsonedit.Object {
		if len(dst) == n {
			dst = append(dst, llm.Event{Kind: llm.EventText})
		}
		dst[n].Logprobs = d.reader.raw(f.logprobs)
	}
	dst = append(dst, llm.Event{Kind: llm.EventFinish, Finish: reason(f.finish.String())})
	for i := n; i < len(dst); i++ {
		dst[i].Choice = f.index
	}
	return dst
}
