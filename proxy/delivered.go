package proxy

import (
	"bytes"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
)

// maxDelivered bounds what is kept of a stream to carry it on, in bytes: whoever breaks a longer answer has broken it for good.
const maxDelivered = 256 << 10

// delivered is what a client has got of an answer, so that another attempt can be held to it. Its buffers live on in the next exchange.
type delivered struct {
	kept   bool   // it is complete, and the answer may be carried on
	text   []byte // of all runs, one after the other
	runs   []run
	pieces int             // events that text came in
	start  llm.Event       // the id, model and time that the client has seen
	author *policies.Model // whose text came last
	// reasoning is the member that the first attempt wrote its reasoning to; "" = it had none.
	reasoning string
}

// run is text of one kind without anything between. Where a piece ended is no part of it: no two attempts cut alike.
type run struct {
	kind llm.EventKind
	tool int
	name string // of the tool
	end  int    // offset in text
}

func (r *run) takes(e *llm.Event) bool {
	return r.kind == e.Kind && (e.Kind != llm.EventTool || r.tool == e.Tool)
}

// open forgets the last answer.
func (d *delivered) open(keep bool) {
	if cap(d.text) > keepBytes {
		d.text = nil
	}
	clear(d.runs)
	*d = delivered{kept: keep, text: d.text[:0], runs: d.runs[:0]}
}

// keep takes an event that the client gets.
func (d *delivered) keep(e *llm.Event, by *policies.Model) {
	if !d.kept {
		return
	}
	switch e.Kind {
	case llm.EventText, llm.EventReasoning, llm.EventRefusal, llm.EventTool:
	case llm.EventData:
		d.kept = false // sound, pictures: nothing that could be compared
		return
	default:
		return
	}
	if len(d.text)+len(e.Text) > maxDelivered {
		d.kept, d.text = false, nil
		return
	}
	n := len(d.runs)
	if n == 0 || !d.runs[n-1].takes(e) {
		d.runs = append(d.runs, run{kind: e.Kind, tool: e.Tool, name: e.ToolName})
		n++
		if e.Kind == llm.EventReasoning && d.reasoning == "" {
			d.reasoning = reasoningMember(e.Raw)
		}
	}
	d.text = append(d.text, e.Text...)
	d.pieces++
	d.runs[n-1].end = len(d.text)
	if d.runs[n-1].name == "" {
		d.runs[n-1].name = e.ToolName
	}
	d.author = by
}

// reasoningMember is where a chunk has its reasoning: servers differ in its name.
func reasoningMember(raw []byte) string {
	if len(raw) > 0 && !bytes.Contains(raw, []byte(`"reasoning_content"`)) {
		return "reasoning"
	}
	return "reasoning_content"
}

// tokens estimates the answer so far: servers send a token at a time unless their pieces are too large for that.
func (d *delivered) tokens() int {
	if n := len(d.text); n > 8*d.pieces {
		return (n + 3) / 4
	}
	return d.pieces
}

// begins is where a run begins in text.
func (d *delivered) begins(i int) int {
	if i == 0 {
		return 0
	}
	return d.runs[i-1].end
}

// able reports whether the answer can be carried on: all of it is kept, and no tool call in it is whole, because a client may have acted on it.
func (d *delivered) able() bool {
	if !d.kept || len(d.runs) == 0 {
		return false
	}
	for i := range d.runs {
		if d.runs[i].kind != llm.EventTool {
			continue
		}
		if i < len(d.runs)-1 || jsonedit.Valid(bytes.TrimSpace(d.text[d.begins(i):]), maxArguments) {
			return false
		}
	}
	return true
}

// maxArguments is how deep the arguments of a tool call may nest.
const maxArguments = 256

// prefix is the answer's text so far if it is nothing but text, and reasoning that is complete because the text follows it.
func (d *delivered) prefix() (reasoning, text []byte, ok bool) {
	last := len(d.runs) - 1
	if last < 0 || last > 1 || d.runs[last].kind != llm.EventText || last == 1 && d.runs[0].kind != llm.EventReasoning {
		return nil, nil, false
	}
	at := d.begins(last)
	return d.text[:at], d.text[at:], true
}

// calls reports whether the client has seen the beginning of a tool call, so that its id and name must not be told again.
func (d *delivered) calls(tool int) bool {
	for i := range d.runs {
		if d.runs[i].kind == llm.EventTool && d.runs[i].tool == tool {
			return true
		}
	}
	return false
}

// cursor is how far an attempt has reproduced an answer.
type cursor struct {
	run, at int
	level   bool // all of it: what comes now is new
}

// follow holds an event to the answer. What is left of the event is new and to be delivered; false: the attempt says something else.
func (d *delivered) follow(c *cursor, e llm.Event) (left llm.Event, fresh, ok bool) {
	if c.level {
		return d.fresh(e), true, true
	}
	for !d.runs[c.run].takes(&e) {
		if c.at < d.runs[c.run].end || c.run == len(d.runs)-1 {
			return e, false, false
		}
		c.run++
	}
	r := &d.runs[c.run]
	if e.ToolName != "" && r.name != "" && e.ToolName != r.name {
		return e, false, false
	}
	n := min(r.end-c.at, len(e.Text))
	if !bytes.Equal(d.text[c.at:c.at+n], e.Text[:n]) {
		return e, false, false
	}
	c.at += n
	e.Text = e.Text[n:]
	last := c.run == len(d.runs)-1
	c.level = last && c.at == r.end
	if len(e.Text) == 0 {
		return e, false, true
	}
	return d.fresh(e), true, last
}

// fresh is an event that goes on where the client is: a tool call that it knows has its id and name already.
func (d *delivered) fresh(e llm.Event) llm.Event {
	if e.Kind == llm.EventTool && d.calls(e.Tool) {
		e.ToolID, e.ToolName = "", ""
	}
	return e
}
