package router

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
)

// Model is what a Trained classifier knows. `sluice-train train` writes it.
type Model struct {
	Params
	table *table
}

// Params are a model's numbers but for the weights of hashed features.
type Params struct {
	Data      [32]byte // SHA-256 of what it was trained on
	Seed      uint64
	Prior     [NumClasses]float64 // the class table: gain, -1 … 1
	Sharpness float64             // what the classes' logits are multiplied with before the softmax, so that probabilities hold
	Shift     [NumClasses]float64 // … and what is added to them then
	// PriorShare is what the gain of a familiar text has, by head, of the class table with HeuristicShare of the heuristic in it.
	PriorShare     [numHeads]float64
	HeuristicShare float64
	// Doubt are three values of novelty: from the first on that share grows, at the second it is all, at the third the heuristic alone is.
	Doubt [3]float64

	Mean, Scale [numDense]float32 // of the dense features: (x - mean) * scale
	ClassBias   [NumClasses]float32
	ClassDense  [NumClasses][numDense]float32
	ClassUnit   [NumClasses][numGrams]float32 // the value of a row's weight of 1, before the norm
	HeadBias    [numHeads]float32
	HeadDense   [numHeads][numDense]float32
	HeadUnit    [numHeads][numGrams]float32
}

// denseMax is how far a dense feature may be from its mean, in standard deviations: none can say more.
const denseMax = DenseMax

// DenseMax is the cap.
const DenseMax = 3

const modelMagic = "sluice router 5\n"

//go:embed model.bin
var embedded []byte

// Embedded returns the model within the binary.
var Embedded = sync.OnceValue(func() *Model {
	m, err := ReadModel(embedded)
	if err != nil {
		panic("router: the embedded model: " + err.Error())
	}
	return m
})

// ReadModel reads a model from what Model.Write wrote, and keeps the bytes, which must not change any more.
func ReadModel(b []byte) (*Model, error) {
	if !bytes.HasPrefix(b, []byte(modelMagic)) {
		return nil, errors.New("not a router model")
	}
	b = b[len(modelMagic):]
	m := new(Model)
	n, err := binary.Decode(b, binary.LittleEndian, &m.Params)
	if err != nil {
		return nil, err
	}
	if b = b[n:]; len(b) != tableSize {
		return nil, fmt.Errorf("%d bytes of rows, want %d", len(b), tableSize)
	}
	m.table = tableOf(b)
	return m, nil
}

// Write writes the model.
func (m *Model) Write(w io.Writer) error {
	b := []byte(modelMagic)
	b, err := binary.Append(b, binary.LittleEndian, &m.Params)
	if err != nil {
		return err
	}
	b = append(b, m.table.tags[:]...)
	b = append(b, m.table.rows[:]...)
	_, err = w.Write(b)
	return err
}

// normalise brings the dense features to mean 0 and deviation 1, and caps them.
func (m *Model) normalise(x, z *[numDense]float32) {
	for i, v := range x {
		d := (v - m.Mean[i]) * m.Scale[i]
		if d > denseMax {
			d = denseMax
		}
		if d < -denseMax {
			d = -denseMax
		}
		z[i] = d
	}
}

// norms returns what each kind of hashed features is multiplied with: the root of its number divides, so that a long text says no more than a
// short one.
func (g *grams) norms() (n [numGrams]float64) {
	for kind := range g.sums {
		k := g.sums[kind].n
		if kind == gramPart && k > 0 {
			k += g.unread
		}
		if k > 0 {
			n[kind] = 1 / math.Sqrt(float64(k))
		}
	}
	return n
}
