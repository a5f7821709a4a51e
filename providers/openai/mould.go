package openai

import (
	"bytes"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/llm"
)

// mould is what stood around the text of a chunk of the usual shape. The chunks of an answer differ in their text only, as a rule: what fits the mould
// is such a chunk, and need not be read again to know it.
type mould struct {
	before, after []byte // to the opening quote, from the closing one; empty = there is none yet
	kind          llm.EventKind
	index         int
}

// maxMould is the longest chunk in bytes that a mould is made of.
const maxMould = 2 << 10

// cast makes the mould of a chunk that readDelta took.
func (m *mould) cast(data []byte, d *delta) {
	m.before, m.after = m.before[:0], m.after[:0]
	if len(data) > maxMould {
		return
	}
	from, to := d.text.Offset()
	m.before, m.after = append(m.before, data[:from+1]...), append(m.after, data[to-1:]...)
	m.kind, m.index = d.kind, d.index
}

// fits returns the text of a chunk that differs in nothing else.
func (m *mould) fits(data []byte) (text jsonedit.Value, ok bool) {
	from, to := len(m.before), len(data)-len(m.after)
	if from == 0 || to <= from || !bytes.Equal(data[:from], m.before) || !bytes.Equal(data[to:], m.after) {
		return text, false
	}
	text = jsonedit.StringAt(data, from-1)
	_, end := text.Offset()
	return text, end == to+1
}
