// Package providers knows who can answer and how to reach them: the presets of external services, the engines of own pools, credentials,
// what an error means and which dialect is spoken.
//
// Invariant: what a provider is like stands in tables, and is code only where a wire differs. No credential is ever printed, and no text of
// an upstream reaches a client before what looks like a credential was struck from it.
package providers

import (
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/providers/openai"
)

// Codec is both halves of a dialect.
type Codec struct {
	Down llm.Downstream
	Up   llm.Upstream
}

// codecs are the dialects that Sluice speaks.
var codecs = map[llm.Dialect]Codec{
	llm.OpenAI: {openai.Codec{}, openai.Codec{}},
}

// CodecOf returns the codec of a dialect; a zero one for a dialect that is not spoken.
func CodecOf(d llm.Dialect) Codec { return codecs[d] }

// Speaks reports whether a dialect has a codec.
func Speaks(d llm.Dialect) bool {
	_, ok := codecs[d]
	return ok
}
