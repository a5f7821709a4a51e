package llm

// Dialect is a wire format that clients or providers speak.
type Dialect string

// OpenAI is the dialect of api.openai.com: chat, completions, embeddings and models under /v1.
const OpenAI Dialect = "openai"

// Op is what a request asks for. The zero value is OpOpaque: a path whose body Sluice passes through unread but for its model.
type Op uint8

// The operations that Sluice reads.
const (
	OpOpaque      Op = iota
	OpChat           // POST /v1/chat/completions
	OpCompletions    // POST /v1/completions
	OpEmbeddings     // POST /v1/embeddings
	OpModels         // GET /v1/models
	OpModel          // GET /v1/models/{id}
)

var opNames = [...]string{OpOpaque: "opaque", OpChat: "chat", OpCompletions: "text_completion", OpEmbeddings: "embeddings", OpModels: "models", OpModel: "model"}

// String returns the name that the GenAI semantic conventions give the operation.
func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return "unknown"
}

// Generates reports whether the operation is one that a model answers with text: chat or completions.
func (o Op) Generates() bool { return o == OpChat || o == OpCompletions }

// Downstream is the client's half of a codec: what a dialect's clients send and expect.
type Downstream interface {
	// Scan admits a body strictly and reads what routing needs of it. The error is an *Error of kind invalid request with the byte offset.
	// The envelope holds views into body.
	Scan(op Op, body []byte) (*Envelope, error)
	// Decode reads the whole request into the canonical form, for a translation.
	Decode(e *Envelope) (*Request, error)
	// NewEncoder returns an encoder of answers to the client: an event stream, or one JSON body folded at the end.
	NewEncoder(op Op, stream bool) Encoder
}

// Upstream is the provider's half of a codec: what a dialect's servers take and answer.
type Upstream interface {
	// AppendRequest writes the canonical request as a body in the dialect and returns the names of fields that it cannot carry.
	AppendRequest(dst []byte, r *Request) (body []byte, lost []string, err error)
	// NewDecoder returns a decoder of one answer: an event stream or one JSON body.
	NewDecoder(op Op, stream bool) Decoder
}

// Decoder turns the bytes of one answer into events. Its output does not depend on where the bytes were cut.
type Decoder interface {
	// Append appends the events that chunk completes to dst. Events hold views that live until the next call. With end set the answer is
	// complete: what is missing then is an error of class stream_broken. It pushes into a slice, not through an iterator, so that an
	// event of a passing stream costs no allocation.
	Append(dst []Event, chunk []byte, end bool) ([]Event, error)
}

// Encoder turns events into a client's bytes.
type Encoder interface {
	// Append appends the bytes that the event causes; a folding encoder writes at EventEnd only.
	Append(dst []byte, e *Event) []byte
	// AppendError appends the error as the dialect's last word: an error event of a stream, or a JSON error body. Nothing may follow it.
	AppendError(dst []byte, err *Error) []byte
}
