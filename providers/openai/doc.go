// Package openai speaks the dialect of api.openai.com in both directions: chat, completions, embeddings and models, as JSON and as
// event streams, and what it must know of every other path under /v1.
//
// Invariant: between two parties of this dialect bytes pass through untouched but for the edits that [Rewrite] names. What a decoder
// makes of an answer does not depend on how its bytes were cut.
package openai

import "github.com/sluice-gateway/sluice/llm"

// maxDepth is how deep a client's JSON may nest; the root is 1.
const maxDepth = 64

// answerDepth is how deep an upstream's JSON may nest.
const answerDepth = 256

// maxChoices bounds the indices of choices and tool calls, and so what a hostile upstream's index can cost.
const maxChoices = 1024

// Codec is both halves of the dialect. The zero value is ready.
type Codec struct{}

var (
	_ llm.Downstream = Codec{}
	_ llm.Upstream   = Codec{}
)

// NewDecoder returns a decoder of one answer to an operation: an event stream or one JSON body. [Recycle] takes it back.
func (Codec) NewDecoder(op llm.Op, stream bool) llm.Decoder {
	if stream {
		d := streamDecoders.Get().(*streamDecoder)
		d.op = op
		return d
	}
	d := jsonDecoders.Get().(*jsonDecoder)
	d.op = op
	return d
}

// NewEncoder returns an encoder that writes answers from events alone: an event stream, or one JSON body folded at the end. Bytes of the
// same dialect go through [NewPassEncoder] instead. The stream has a usage chunk if it is given an EventUsage; a caller whose client did
// not ask for one leaves the event out.
func (Codec) NewEncoder(op llm.Op, stream bool) llm.Encoder {
	if stream {
		return &streamEncoder{op: op}
	}
	return &folder{op: op}
}
