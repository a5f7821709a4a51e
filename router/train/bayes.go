package train

import (
	"math"

	"github.com/sluice-gateway/sluice/router"
)

// Naive Bayes knows something of a feature after one text, where the fit by gradients needs several. Its log-odds go into the model with a
// share, and the fit adds what they do not say: short texts in many languages are mostly words that came once or twice.
const (
	bayesShare  = .2
	bayesSmooth = .5 // texts of each class that every feature is held to have had
)

// bayes are counts of texts, by weight: of each class, and of those with a feature.
type bayes struct {
	row   []classRow
	total [router.NumClasses]float64
	all   float64
}

func newBayes(in []input, all []example) *bayes {
	b := &bayes{row: make([]classRow, router.NumRows)}
	for i := range in {
		e := &all[i]
		if e.class < 0 || e.weight.class == 0 {
			continue
		}
		b.total[e.class] += e.weight.class
		b.all += e.weight.class
		for _, r := range in[i].rows {
			b.row[r][e.class] += float32(e.weight.class)
		}
	}
	return b
}

// odds returns a feature's log-odds of each class, in the model's share, without texts of a class and weight that it was counted in.
func (b *bayes) odds(row int32, class int, weight float64) (out classRow) {
	c := b.row[row]
	if class >= 0 {
		c[class] = max(0, c[class]-float32(weight))
	}
	var n float64
	for _, v := range c {
		n += float64(v)
	}
	if n < .01 {
		return out
	}
	for k, v := range c {
		in := (float64(v) + bayesSmooth) / (b.total[k] + 1)
		rest := (n - float64(v) + bayesSmooth*(router.NumClasses-1)) / (b.all - b.total[k] + 1)
		out[k] = bayesShare * float32(math.Log(in/rest))
	}
	return out
}

// score adds up what naive Bayes says of a text that it was counted in, as if it had not been, in none of the ways that it is read.
func (b *bayes) score(in *input, e *example) (out classRow) {
	weight := e.weight.class
	if e.row.Source == Typed {
		weight = typedClass * e.row.worth
	}
	for i, row := range in.rows {
		o := b.odds(row, e.class, weight)
		for k := range out {
			out[k] += in.value[i] * o[k]
		}
	}
	return out
}

// fold adds the log-odds to the rows of a model that was fitted beside them.
func (b *bayes) fold(m *linear, limit float32) {
	for row := range router.NumRows {
		o := b.odds(int32(row), -1, 0)
		w := (*classRow)(m.row[row*router.NumClasses:])
		for k := range w {
			w[k] = max(-limit, min(limit, w[k]+o[k]))
		}
	}
}
