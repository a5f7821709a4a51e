package openai

import (
	"bytes"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/internal/sse"
	"github.com/sluice-gateway/sluice/llm"
)

// streamDecoder reads an event stream. It relies on sse.Scanner keeping a frame's Raw in place until the next Feed.
type streamDecoder struct {
	op      llm.Op
	frames  sse.Scanner
	reader  reader
	choices []choiceState
	asked   int // choices that the request asked for; 0 = one
	mould   mould

	sniffed bool   // the first byte that is not white space was seen
	plain   bool   // the answer is no event stream at all
	body    []byte // of a plain answer
	started bool   // EventStart was given
	data    bool   // opaque: EventData was given
	needs   string // opaque: the kind of stream whose last event is known, and is missing yet
	ended   bool   // EventEnd was given; what follows is nobody's
	err     error
}

// choiceState is what is known of one choice of the answer.
type choiceState struct {
	index    int
	finished bool
}

// Append appends the events that chunk completes. A final frame that lacks its blank line is given one.
func (d *streamDecoder) Append(dst []llm.Event, chunk []byte, end bool) ([]llm.Event, error) {
	if d.err != nil {
		return dst, d.err
	}
	d.reader.reset()
	if !d.sniffed {
		chunk = d.sniff(chunk)
	}
	if d.plain {
		d.body = append(d.body, chunk...)
	} else {
		d.frames.Feed(chunk)
	}
	dst, err := d.drain(dst)
	if err != nil && d.whole() { // the answer is there: what came instead of its end mark takes nothing from it
		err, end = nil, true
		d.frames.Reset()
	}
	if err == nil && end && !d.ended {
		dst, err = d.finish(dst)
	}
	if err != nil {
		d.err = err
		return dst, err
	}
	return dst, nil
}

// sniff looks at the first byte that is not white space and returns what is left of the chunk: no event stream begins as JSON or HTML do.
func (d *streamDecoder) sniff(chunk []byte) []byte {
	i := 0
	for i < len(chunk) && (chunk[i] == ' ' || chunk[i] == '\n' || chunk[i] == '\r' || chunk[i] == '\t') {
		i++
	}
	if i == len(chunk) {
		return chunk
	}
	d.sniffed = true
	if c := chunk[i]; c == '{' || c == '[' || c == '<' {
		d.plain = true
		d.frames.Feed(chunk[:i])
		return chunk[i:]
	}
	return chunk
}

// drain reads the frames that are complete.
func (d *streamDecoder) drain(dst []llm.Event) ([]llm.Event, error) {
	for !d.ended {
		f, ok := d.frames.Next()
		if !ok {
			if d.frames.Err() != nil {
				return dst, broken("an event is too long")
			}
			if len(d.body) > maxPlain {
				return dst, broken("not an event stream")
			}
			return dst, nil
		}
		var err error
		if dst, err = d.frame(dst, &f); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// maxPlain is how many bytes of an answer that is no event stream are kept, to find the error in it.
const maxPlain = 1 << 20

// finish judges the end of the bytes.
func (d *streamDecoder) finish(dst []llm.Event) ([]llm.Event, error) {
	if d.plain {
		if b, ok := ReadError(d.body); ok {
			return append(dst, llm.Event{Kind: llm.EventError, Raw: d.body, Err: b.Error(200, b.Classify(200))}), nil
		}
		return dst, broken("not an event stream")
	}
	if tail := d.frames.Tail(); len(bytes.TrimSpace(tail)) > 0 {
		whole := d.complete() // before the tail: it may be the cut half of what nobody needs any more
		out, err := d.last(dst, tail)
		if err != nil && !whole {
			return out, broken("it was cut within an event")
		}
		if err == nil {
			dst = out
		}
	}
	if d.ended {
		return dst, nil
	}
	if !d.complete() {
		return dst, broken("it ended early")
	}
	d.ended = true
	e := llm.Event{Kind: llm.EventEnd}
	if d.op.Generates() { // providers forget it, and clients wait for it
		e.Raw = doneFrame[:len(doneFrame):len(doneFrame)]
	}
	return append(dst, e), nil
}

// last reads a final frame that lacks its blank line. It does so in a scanner of its own, since views of the other one are in dst.
func (d *streamDecoder) last(dst []llm.Event, tail []byte) ([]llm.Event, error) {
	var frames sse.Scanner
	frames.Feed(tail)
	for range 2 {
		frames.Feed([]byte("\n"))
		if f, ok := frames.Next(); ok {
			return d.frame(dst, &f)
		}
	}
	return dst, nil
}

// complete says that nothing of the answer is missing but, perhaps, its [DONE].
func (d *streamDecoder) complete() bool {
	if !d.op.Generates() {
		return d.needs == "" && (d.data || d.started)
	}
	for _, c := range d.choices {
		if !c.finished {
			return false
		}
	}
	return len(d.choices) > 0
}

// whole says that every choice that was asked for has come to its end: one that has not begun could still be missing.
func (d *streamDecoder) whole() bool {
	return d.op.Generates() && d.complete() && len(d.choices) >= d.asked
}

// frame appends what one frame holds; the first event has its bytes.
func (d *streamDecoder) frame(dst []llm.Event, f *sse.Frame) ([]llm.Event, error) {
	switch {
	case f.Comment:
		return append(dst, llm.Event{Kind: llm.EventComment, Raw: f.Raw}), nil
	case f.Data == nil:
		return append(dst, llm.Event{Kind: llm.EventOther, Raw: f.Raw}), nil
	}
	data := bytes.TrimSpace(f.Data)
	if string(data) == "[DONE]" {
		if d.op.Generates() && len(d.choices) == 0 {
			return dst, broken("it is empty")
		}
		d.ended = true
		return append(dst, llm.Event{Kind: llm.EventEnd, Raw: f.Raw}), nil
	}
	n := len(dst)
	var err error
	d.reader.fleeting = f.Joined
	switch {
	case d.started && d.op.Generates() && f.Event == nil && d.usual(&dst, data):
	case !d.op.Generates():
		dst = d.opaque(dst, f.Event, data)
	case len(data) == 0 || string(f.Event) == "ping":
	default:
		if dst, err = d.chunk(dst, f.Event, data); err != nil {
			return dst, err // its bytes go nowhere
		}
	}
	if len(dst) == n {
		dst = append(dst, llm.Event{Kind: llm.EventOther})
	}
	dst[n].Raw = f.Raw
	return dst, nil
}

// usual appends the event of a chunk of the usual shape, and else says that it has not.
func (d *streamDecoder) usual(dst *[]llm.Event, data []byte) bool {
	if text, ok := d.mould.fits(data); ok {
		*dst = append(*dst, llm.Event{Kind: d.mould.kind, Choice: d.mould.index, Text: d.reader.text(text)})
		return true
	}
	u, ok := readDelta(data, d.op == llm.OpCompletions)
	if !ok {
		return false
	}
	d.state(u.index)
	d.mould.cast(data, &u)
	*dst = append(*dst, llm.Event{Kind: u.kind, Choice: u.index, Text: d.reader.text(u.text)})
	return true
}

// chunk appends the events of one chat.completion.chunk or text_completion.
func (d *streamDecoder) chunk(dst []llm.Event, name, data []byte) ([]llm.Event, error) {
	top, ok := readTop(data)
	if !ok || top.Kind() != jsonedit.Object {
		return dst, broken("an event is not JSON")
	}
	choices, usage := top.choices, top.usage
	if k := top.fault.Kind(); k > jsonedit.Null && k != jsonedit.False || string(name) == "error" {
		b, ok := readError(top.Value)
		if !ok {
			b = readMembers(top.Value)
		}
		if d.whole() {
			return dst, broken("an error behind its end")
		}
		return append(dst, llm.Event{Kind: llm.EventError, Err: b.Error(200, b.Classify(200))}), nil
	}
	if usage.Kind() != jsonedit.Object {
		usage = top.groq.Field("usage")
	}
	if choices.Kind() != jsonedit.Array || none(choices) {
		if usage.Kind() == jsonedit.Object {
			return append(dst, llm.Event{Kind: llm.EventUsage, Usage: readUsage(usage), Text: d.reader.raw(usage), UsageOnly: true}), nil
		}
		return dst, nil
	}
	if !d.started {
		d.started = true
		dst = append(dst, llm.Event{Kind: llm.EventStart, ID: clone(top.id), Model: clone(top.model), Created: top.created.Int()})
	}
	choices.Each(func(c jsonedit.Value) bool {
		dst = d.choice(dst, c)
		if usage.Kind() != jsonedit.Object { // Moonshot's place
			usage = c.Field("usage")
		}
		return true
	})
	if usage.Kind() == jsonedit.Object {
		dst = append(dst, llm.Event{Kind: llm.EventUsage, Usage: readUsage(usage), Text: d.reader.raw(usage)})
	}
	return dst, nil
}

// choice appends the events of one choice of a chunk.
func (d *streamDecoder) choice(dst []llm.Event, c jsonedit.Value) []llm.Event {
	n := len(dst)
	f := readChoice(c)
	state := d.state(f.index)
	if d.op == llm.OpCompletions {
		dst = d.reader.piece(dst, llm.EventText, f.text)
	} else {
		dst = d.reader.message(dst, f.delta)
	}
	if f.logprobs.Kind() == jsonedit.Object {
		if len(dst) == n {
			dst = append(dst, llm.Event{Kind: llm.EventText})
		}
		dst[n].Logprobs = d.reader.raw(f.logprobs)
	}
	if told(f.finish) {
		dst = append(dst, llm.Event{Kind: llm.EventFinish, Finish: reason(f.finish.String())})
		state.finished = true
	}
	for i := n; i < len(dst); i++ {
		dst[i].Choice = f.index
	}
	return dst
}

// state finds or makes the state of a choice.
func (d *streamDecoder) state(index int) *choiceState {
	for i := range d.choices {
		if d.choices[i].index == index {
			return &d.choices[i]
		}
	}
	d.choices = append(d.choices, choiceState{index: index})
	return &d.choices[len(d.choices)-1]
}
