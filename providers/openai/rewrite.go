package openai

import (
	"fmt"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/llm"
)

// Edits are all that Sluice changes in a body of its own dialect.
type Edits struct {
	Model            string // the model's name at the target; "" = leave alone
	Stream           *bool  // ask for a stream, or for one JSON body; nil = leave alone
	AskUsage         bool   // ask for the usage of a stream
	MaxTokensDefault int    // written where the request has no limit on its answer; 0 = leave alone
	MaxTokensCap     int    // lowers a larger limit; 0 = leave alone
	MaxTokensField   string // the name under which the default is written; "" = max_tokens
	Begun            *Begun // the answer's beginning, which the target goes on with; nil = none
}

// limits are the names of the limit on an answer's tokens. llama.cpp takes n_predict before all others; alone it is none, as others do not know it.
var limits = [...]string{"max_completion_tokens", "max_tokens", "max_output_tokens", "n_predict"}

// Rewrite appends the envelope's body with the edits made, for which dst grows at most once. Nil means that the body goes out as it came. All bytes that no edit names
// stay as they are. The error is never the client's fault: Scan has refused every body that cannot be edited.
func Rewrite(dst []byte, e *llm.Envelope, ed Edits) ([]byte, error) {
	doc, err := document(e)
	if err != nil {
		return nil, err
	}
	var room [8]jsonedit.Edit
	edits := room[:0]
	if ed.Model != "" && ed.Model != e.Model {
		edits = append(edits, jsonedit.SetString("model", ed.Model))
	}
	stream := e.Stream
	if ed.Stream != nil && *ed.Stream != e.Stream {
		stream = *ed.Stream
		edits = append(edits, jsonedit.Set("stream", literal(stream)))
		if !stream {
			edits = append(edits, jsonedit.Delete("stream_options")) // refused without a stream
		}
	}
	if stream && ed.AskUsage && !e.UsageAsked && e.Op.Generates() {
		edits = append(edits, jsonedit.SetIn("stream_options", "include_usage", yes))
	}
	if ed.Begun != nil {
		edits = ed.Begun.begin(edits, doc, e.Op)
	}
	if edits = limit(edits, doc, e, ed); len(edits) == 0 {
		return nil, nil
	}
	out, err := doc.Append(dst, edits...)
	if err != nil {
		return nil, fmt.Errorf("edit a scanned body: %w", err)
	}
	return out, nil
}

var yes, no = []byte("true"), []byte("false")

func literal(b bool) []byte {
	if b {
		return yes
	}
	return no
}

// document is what Scan admitted.
func document(e *llm.Envelope) (*jsonedit.Doc, error) {
	if d, ok := e.Doc.(*jsonedit.Doc); ok {
		return d, nil
	}
	return jsonedit.Admit(e.Body, maxDepth)
}

// limit adds the edits of the limit on the answer's tokens.
func limit(edits []jsonedit.Edit, doc *jsonedit.Doc, e *llm.Envelope, ed Edits) []jsonedit.Edit {
	if ed.MaxTokensDefault == 0 && ed.MaxTokensCap == 0 && ed.Begun == nil || e.Op == llm.OpEmbeddings {
		return edits
	}
	found := false
	for _, name := range limits {
		v := doc.Value(name)
		if v.Kind() != jsonedit.Number {
			continue
		}
		found = found || name != "n_predict"
		n := int(v.Int())
		if ed.MaxTokensCap > 0 {
			n = min(n, ed.MaxTokensCap)
		}
		if n = ed.Begun.shrunk(n); int64(n) != v.Int() {
			edits = append(edits, setLimit(name, n))
		}
	}
	if found || ed.MaxTokensDefault == 0 || !e.Op.Generates() {
		return edits
	}
	name := ed.MaxTokensField
	if name == "" || e.Op == llm.OpCompletions {
		name = "max_tokens"
	}
	n := ed.MaxTokensDefault
	if ed.MaxTokensCap > 0 {
		n = min(n, ed.MaxTokensCap)
	}
	return append(edits, setLimit(name, ed.Begun.shrunk(n)))
}
