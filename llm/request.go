package llm

// Request is a chat request in canonical form: the hub of every translation. Raw fields hold JSON as it came.
type Request struct {
	Op          Op
	Model       string
	Messages    []Message
	Prompt      []string // completions only
	Stream      bool
	UsageAsked  bool
	MaxTokens   int // 0 = absent
	Temperature *float64
	TopP        *float64
	Seed        *int64
	Stop        []string
	N           int
	Tools       []Tool
	ToolChoice  []byte  // raw JSON; nil = absent
	Format      []byte  // raw response_format; nil = absent
	Reasoning   string  // reasoning effort; "" = absent
	Extra       []Field // every other top-level member, in order
}

// Field is a top-level member that the canonical form has no name for.
type Field struct {
	Name string
	Raw  []byte
}

// Message is one turn.
type Message struct {
	Role      string
	Name      string
	Parts     []Part
	ToolCalls []ToolCall
	ToolID    string // the call that a tool message answers
	Refusal   string
	Reasoning string
}

// PartKind tells the parts of a message apart.
type PartKind uint8

// The kinds of parts.
const (
	PartText PartKind = iota
	PartImage
	PartAudio
	PartFile
	PartOther
)

// Part is a piece of a message's content. Raw is the whole part as it came, for the dialect that it came in.
type Part struct {
	Kind PartKind
	Text string
	URL  string // image: data or http URL; Sluice never fetches it
	Raw  []byte
}

// Tool is a function that the model may call. Parameters is raw JSON schema.
type Tool struct {
	Name        string
	Description string
	Parameters  []byte
	Raw         []byte
}

// ToolCall is a call in an assistant's turn. Arguments is the model's text, which should be JSON.
type ToolCall struct {
	ID        string
	Name      string
	Arguments string
}
