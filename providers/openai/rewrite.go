package openai

import (
	"fmt"
	"strconv"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/llm"
)

// Edits are all that Sluice changes in a body of its own dialect.
type Edits struct {
	Model      string // the model's name at the target; "" = leave alone
	Stream     *bool  // ask for a stream, or for one JSON body; nil = leave alone
	AskUsage   bool   // ask for the usage of a stream
	MaxDefault int    // written where the request has no limit on its answer; 0 = leave alone
	MaxCap     int    // lowers a larger limit; 0 = leave alone
	MaxField   string // the name under which MaxDefault is written; "" = max_tokens
}

// limits are the names of the limit on an answer's tokens.
var limits = [...]string{"max_completion_tokens", "max_tokens", "max_output_tokens"}

// Rewrite appends the envelope's body with the edits made and returns it with warnings for the client. Nil means that the body goes
// out as it came. All bytes that no edit names stay as they are. The envelope must come from Scan.
func Rewrite(dst []byte, e *llm.Envelope, ed Edits) ([]byte, []string) {
	doc := document(e)
	var room [8]jsonedit.Edit
	edits := room[:0]
	if ed.Model != "" && ed.Model != e.Model {
		edits = append(edits, jsonedit.SetString("model", ed.Model))
	}
	stream := e.Stream
	if ed.Stream != nil && *ed.Stream != e.Stream {
		stream = *ed.Stream
		edits = append(edits, jsonedit.Set("stream", strconv.AppendBool(nil, stream)))
		if !stream {
			edits = append(edits, jsonedit.Delete("stream_options")) // refused without a stream
		}
	}
	if stream && ed.AskUsage && !e.UsageAsked && e.Op.Generates() {
		edits = append(edits, jsonedit.SetIn("stream_options", "include_usage", yes))
	}
	edits, warnings := limit(edits, doc, e, ed)
	if len(edits) == 0 {
		return nil, nil
	}
	out, err := doc.Append(dst, edits...)
	if err != nil {
		// Scan has refused every body that could lead here.
		panic("openai: edit of a scanned body: " + err.Error())
	}
	return out, warnings
}

var yes = []byte("true")

// document is what Scan admitted.
func document(e *llm.Envelope) *jsonedit.Doc {
	if d, ok := e.Doc.(*jsonedit.Doc); ok {
		return d
	}
	d, err := jsonedit.Admit(e.Body, maxDepth)
	if err != nil {
		panic("openai: body was not scanned: " + err.Error())
	}
	return d
}

// limit adds the edits of the limit on the answer's tokens.
func limit(edits []jsonedit.Edit, doc *jsonedit.Doc, e *llm.Envelope, ed Edits) ([]jsonedit.Edit, []string) {
	if ed.MaxDefault == 0 && ed.MaxCap == 0 || e.Op == llm.OpEmbeddings {
		return edits, nil
	}
	var warnings []string
	found := false
	for _, name := range limits {
		v := doc.Value(name)
		if v.Kind() != jsonedit.Number {
			continue
		}
		found = true
		if n := v.Int(); ed.MaxCap > 0 && n > int64(ed.MaxCap) {
			edits = append(edits, jsonedit.Set(name, strconv.AppendInt(nil, int64(ed.MaxCap), 10)))
			warnings = append(warnings, fmt.Sprintf("%s lowered from %d to %d", name, n, ed.MaxCap))
		}
	}
	if found || ed.MaxDefault == 0 || !e.Op.Generates() {
		return edits, warnings
	}
	name := ed.MaxField
	if name == "" || e.Op == llm.OpCompletions {
		name = "max_tokens"
	}
	n := ed.MaxDefault
	if ed.MaxCap > 0 {
		n = min(n, ed.MaxCap)
	}
	return append(edits, jsonedit.Set(name, strconv.AppendInt(nil, int64(n), 10))), warnings
}
