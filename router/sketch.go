package router

// Sizes that a trainer needs.
const (
	NumHeads = numHeads
	NumGrams = numGrams
	NumRows  = numRows
	NumDense = numDense
)

// Sketch is all that a trainer reads of a prompt: what a Trained classifier would see of it.
type Sketch struct {
	Grams     [NumGrams][]uint32 // hashed features by kind, each once; those of parts are in Parts
	Parts     []Part             // of all words, each once
	Dense     [NumDense]float32
	Words     []uint32 // the single words as they come
	Head      int      // the gain head that is asked
	Heuristic Class
}

// Part is a hashed feature of a part of a word, and that of the word.
type Part struct{ Feature, Word uint32 }

// GramPart is the kind of the features of parts.
const GramPart = gramPart

// record is every feature of a text as it comes.
type record struct {
	kinds [numGrams][]uint32
	parts []Part
}

func (r *record) reset() { *r = record{} }

func (r *record) take(kind int, batch []gram) {
	for _, f := range batch {
		r.kinds[kind] = append(r.kinds[kind], uint32(f))
	}
}

func (r *record) part(word gram, batch []gram) {
	for _, f := range batch {
		r.parts = append(r.parts, Part{uint32(f), uint32(word)})
	}
}

// Sketch reads a prompt for a trainer.
func (h *Heuristic) Sketch(p Prompt) Sketch {
	r := new(reading)
	r.grams.record = new(record)
	r.read(h, &p)
	all := r.grams.record
	s := Sketch{Dense: r.dense, Head: r.kind, Heuristic: r.heuristic, Words: all.kinds[gramWord], Parts: once(all.parts)}
	for kind, fs := range all.kinds {
		s.Grams[kind] = once(fs)
	}
	return s
}

// once returns what there is, each once, in the order in which it came.
func once[T comparable](all []T) (out []T) {
	seen := make(map[T]bool, len(all))
	for _, f := range all {
		if !seen[f] {
			seen[f] = true
			out = append(out, f)
		}
	}
	return out
}

// Row returns the row of a hashed feature.
func Row(f uint32) int { return int(gram(f).row()) }

// Weights are what a row says for every class and gain head, in units of the model.
type Weights struct {
	Class  [NumClasses]int8
	Heads  [NumHeads]int8
	Common bool // the feature is a word whose parts are not read
}

// Fill makes the rows of a model. owner says which feature a row belongs to, and its weights; ok is false for a row that is nobody's, which has none.
func (m *Model) Fill(owner func(row int) (feature uint32, w Weights, ok bool)) {
	m.table = tableOf(make([]byte, tableSize))
	for i := range numRows {
		b := m.table.row(uint32(i))
		f, w, ok := owner(i)
		for k, v := range w.Heads {
			b[k] = byte(int(v) + weightZero)
		}
		for k, v := range w.Class {
			b[rowClasses+k] = byte(int(v) + weightZero)
		}
		if w.Common {
			b[rowCommon] = 1
		}
		if m.table.tags[i] = noTag; ok {
			m.table.tags[i] = gram(f).tag()
		}
	}
}
