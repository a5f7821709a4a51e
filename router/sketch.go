package router

import "bytes"

// Sizes that a trainer needs.
const (
	NumHeads = numHeads
	NumGrams = numGrams
	NumRows  = numRows
	NumDense = numDense
)

// Sketch is all that a trainer reads of a prompt: what a Trained classifier would see of it.
type Sketch struct {
	Grams     [NumGrams][]uint32 // hashed features by kind, each once
	Dense     [NumDense]float32
	Words     []uint32 // the single words as they come
	Head      int      // the gain head that is asked
	Heuristic Class
}

// Sketch reads a prompt for a trainer.
func (h *Heuristic) Sketch(p Prompt) Sketch {
	var all []uint32
	r := new(reading)
	r.grams.record = &all
	r.read(h, &p)
	s := Sketch{Dense: r.dense, Head: r.kind, Heuristic: r.heuristic}
	seen := make(map[uint32]bool, len(all))
	for _, f := range all {
		kind := f >> (rowBits + tagBits)
		f &= 1<<(rowBits+tagBits) - 1
		if kind == gramWord {
			s.Words = append(s.Words, f)
		}
		if k := kind<<(rowBits+tagBits) | f; !seen[k] {
			seen[k] = true
			s.Grams[kind] = append(s.Grams[kind], f)
		}
	}
	return s
}

// Row returns the row of a hashed feature.
func Row(f uint32) int { return int(gram(f).row()) }

// Weights are what a row says for every class and gain head, in units of the model.
type Weights struct {
	Class [NumClasses]int8
	Heads [NumHeads]int8
}

// Fill makes the rows of a model. owner says which feature a row belongs to, and its weights; ok is false for a row that is nobody's.
func (m *Model) Fill(owner func(row int) (feature uint32, w Weights, ok bool)) {
	m.tags, m.rows = make([]byte, numRows), bytes.Repeat([]byte{weightZero}, numRows*rowSize)
	for i := range numRows {
		f, w, ok := owner(i)
		if !ok {
			continue
		}
		m.tags[i] = gram(f).tag()
		row := m.rows[i*rowSize:][:rowSize]
		for k, v := range w.Heads {
			row[k] = byte(int(v) + weightZero)
		}
		for k, v := range w.Class {
			row[rowClasses+k] = byte(int(v) + weightZero)
		}
	}
}
