package llm

// Envelope is what routing needs to know of a request, read in one pass over an admitted body. Strings and slices are views into Body.
type Envelope struct {
	Op    Op
	Body  []byte // the admitted body, as it came
	Model string // what the client wrote in "model"

	Stream        bool // the client wants an event stream
	UsageAsked    bool // stream_options.include_usage is true
	UsageRefused  bool // stream_options.include_usage is there and false
	MaxTokens     int  // max_completion_tokens or max_tokens; 0 = absent
	N             int  // choices; 1 when absent
	Answers       int  // answers that are made: choices, or the candidates that they are the best of, for each prompt of a text completion
	Temperature   float64
	HasTemp       bool
	Logprobs      bool
	JSON          bool     // a JSON object or schema is asked for
	Grammar       bool     // any constrained decoding: JSON schema, regex, choice, grammar
	Tools         int      // tool definitions
	ToolBytes     int      // bytes of JSON that define them
	Images        int      // image parts
	Audio         int      // audio parts or audio output
	Files         int      // file parts
	Media         []Medium // in the order of the body
	Input         int      // items to embed
	Unfoldable    string   // name of a field whose answer a fold of a stream cannot carry; "" = none
	SystemBytes   int      // bytes of system and developer text
	ToolTurn      bool     // the last message is a tool's result
	ContentBytes  int      // bytes of all text content, every role
	Turns         []Turn
	ModelIsString bool // "model" was present and a string

	// Doc is what the codec that scanned the body keeps of it for its edits; nobody else looks into it.
	Doc any
}

// Turn is one message of the conversation.
type Turn struct {
	Role  string   // system, developer, user, assistant, tool
	Text  []string // its text parts, unescaped
	Calls []string // functions and arguments of an assistant turn's calls of tools, as they stand in the body: equal calls have equal ones
}

// PromptTokens estimates the prompt in tokens at four bytes a token and 765 an image: an admission estimate, not a bill. Bound is the most that it can be.
func (e *Envelope) PromptTokens() int {
	return (e.ContentBytes+e.ToolBytes+3)/4 + 4*len(e.Turns) + 765*e.Images
}
