package llm

// EventKind tells the events of an answer apart.
type EventKind uint8

// The kinds of events, in the order in which an answer has them.
const (
	EventOther     EventKind = iota // bytes that carry nothing Sluice reads; passed on between equal dialects
	EventComment                    // a stream's comment: never counts as life
	EventStart                      // id, model and role; not yet an answer
	EventText                       // a piece of the answer's text
	EventReasoning                  // a piece of the model's reasoning
	EventRefusal                    // a piece of a refusal
	EventTool                       // a piece of a tool call: id and name first, then arguments
	EventData                       // the data of an answer without events of its own (embeddings, opaque JSON)
	EventFinish                     // a choice has ended, and why
	EventUsage                      // the provider's count
	EventError                      // the provider's error inside an answer
	EventEnd                        // the answer is complete
)

// Event is one step of an answer. Byte slices are views that live until the decoder's next call.
type Event struct {
	Kind   EventKind
	Choice int
	// Raw is what the event was read from: a whole frame of the stream with its blank line, or the whole JSON body. When one frame
	// holds several events the first has Raw and the others have none, so appending every Raw gives the upstream's bytes back.
	Raw      []byte
	Text     []byte // text, reasoning, refusal, arguments; of a usage its JSON as the provider wrote it, nil when there is none
	Tool     int    // index of the tool call in its choice
	ToolID   string
	ToolName string
	Finish   string // stop, length, tool_calls, content_filter, …
	Logprobs []byte // raw JSON
	Usage    Usage
	Err      *Error
	ID       string // EventStart
	Model    string // EventStart
	Created  int64  // EventStart, Unix seconds
	// UsageOnly marks a frame that holds nothing but usage: removed for clients that did not ask for one.
	UsageOnly bool
}

// Real reports whether the event is part of an answer that a client can see: until the first one a stream may still fail over.
func (e *Event) Real() bool {
	switch e.Kind {
	case EventText, EventReasoning, EventRefusal:
		return len(e.Text) > 0
	case EventTool, EventData:
		return true
	case EventFinish:
		return e.Finish != ""
	}
	return false
}
