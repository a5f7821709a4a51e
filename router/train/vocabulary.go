package train

import (
	"math"

	"github.com/sluice-gateway/sluice/router"
)

// vocabulary says which feature owns each row of the model. Many features hash to one row; it goes to the one that most texts have, single
// words first, so that a word the model knows is known for certain and what it does not know stays silent.
type vocabulary struct {
	owner  [router.NumRows]uint32
	owned  [router.NumRows]bool
	common map[uint32]bool // words whose parts are not read: they say what there is to say themselves
}

const (
	leastTexts  = 2  // that have a feature
	commonTexts = 16 // … and a word that is common
	wordBonus   = 4
	handWritten = 3 // times as much as a benchmark's
)

func newVocabulary(all []example) *vocabulary {
	c := counts{count: map[uint32]float64{}, texts: map[uint32]float64{}, last: map[uint32]int{}}
	for i := range all {
		for kind, fs := range all[i].sketch.Grams {
			for _, f := range fs {
				c.add(i, &all[i], kind, f)
			}
		}
	}
	v := &vocabulary{common: map[uint32]bool{}}
	for i := range all {
		for _, f := range all[i].sketch.Grams[0] {
			v.common[f] = c.texts[f] >= commonTexts
		}
	}
	for i := range all {
		for _, p := range all[i].sketch.Parts {
			if !v.common[p.Word] {
				c.add(i, &all[i], router.GramPart, p.Feature)
			}
		}
	}
	best := make([]float64, router.NumRows)
	for f, n := range c.count {
		row := router.Row(f)
		if c.texts[f] < leastTexts || n < best[row] || n == best[row] && f > v.owner[row] {
			continue
		}
		best[row], v.owner[row], v.owned[row] = n, f, true
	}
	for f := range v.common {
		v.common[f] = v.common[f] && v.owner[router.Row(f)] == f
	}
	return v
}

// counts are how often features come: in texts, each reading of a prompt being one, and in what counts.
type counts struct {
	count, texts map[uint32]float64
	last         map[uint32]int // the text that had it last, from 1 on
}

// add counts a feature of a text, once.
func (c *counts) add(i int, e *example, kind int, f uint32) {
	if c.last[f] == i+1 {
		return
	}
	c.last[f] = i + 1
	w := 1.0
	switch e.row.Source {
	case Natural:
		w = handWritten
	case Typed:
		w = handWritten * e.row.share
	}
	if kind == 0 {
		w *= wordBonus
	}
	c.count[f] += w
	c.texts[f]++
}

// input is an example's features as a linear model takes them.
type input struct {
	rows  []int32
	value []float32 // by row
	kind  []uint8
	dense [router.NumDense]float32
}

// kindShare is how much each kind of hashed feature says, beside the others.
var kindShare = [router.NumGrams]float64{1, .8, 1, .7, .7}

// input normalises an example: every kind of its known features to the same length, the dense ones to mean 0 and deviation 1.
func (v *vocabulary) input(s *router.Sketch, scale *standard) (in input) {
	seen := map[int32]bool{}
	for kind, fs := range s.Grams {
		from := len(in.rows)
		take := func(f uint32) {
			row := int32(router.Row(f))
			if v.owned[row] && v.owner[row] == f && !seen[row] {
				seen[row] = true
				in.rows = append(in.rows, row)
			}
		}
		for _, f := range fs {
			take(f)
		}
		unread := 0
		if kind == router.GramPart {
			for _, p := range s.Parts {
				if v.common[p.Word] {
					unread++
				} else {
					take(p.Feature)
				}
			}
		}
		n := len(in.rows) - from
		x := float32(kindShare[kind] / math.Sqrt(float64(max(n+unread, 1))))
		for range n {
			in.value = append(in.value, x)
			in.kind = append(in.kind, uint8(kind))
		}
	}
	for i, d := range s.Dense {
		in.dense[i] = scale.apply(i, d)
	}
	return in
}

// standard brings dense features to mean 0 and deviation 1.
type standard struct{ mean, scale [router.NumDense]float32 }

// naturalLook is how many times a natural prompt counts in what texts look like on average.
const naturalLook = 6

// newStandard measures examples.
func newStandard(all []example) *standard {
	s := new(standard)
	weight := func(e *example) float64 {
		switch e.row.Source {
		case Natural:
			return naturalLook
		case Typed:
			return e.row.share
		}
		return 1
	}
	for i := range router.NumDense {
		var n, sum, squares float64
		for k := range all {
			w, x := weight(&all[k]), float64(all[k].sketch.Dense[i])
			n += w
			sum += w * x
			squares += w * x * x
		}
		mean := sum / n
		if d := math.Sqrt(max(0, squares/n-mean*mean)); d > 1e-3 {
			s.mean[i], s.scale[i] = float32(mean), float32(1/d)
		}
	}
	return s
}

func (s *standard) apply(i int, x float32) float32 {
	return max(-router.DenseMax, min(router.DenseMax, (x-s.mean[i])*s.scale[i]))
}
