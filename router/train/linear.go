package train

import (
	"math"
	"math/rand/v2"

	"github.com/sluice-gateway/sluice/router"
)

// linear is a linear model with several outputs over hashed rows and dense features.
type linear struct {
	outs  int
	row   []float32 // by row, then output
	dense [][router.NumDense]float32
	bias  []float32

	rowStep   []float32 // sums of squared gradients, one a row
	denseStep [][router.NumDense]float32
	biasStep  []float32
}

// fit are the trainer's settings.
type fit struct {
	epochs             int
	rate, denseRate    float64
	shrink, shrinkDeep float64 // of weights, an epoch: rows and dense
	cap                float32 // of one row's weight
}

func newLinear(outs int) *linear {
	m := &linear{outs: outs, row: make([]float32, router.NumRows*outs), rowStep: make([]float32, router.NumRows),
		dense: make([][router.NumDense]float32, outs), denseStep: make([][router.NumDense]float32, outs),
		bias: make([]float32, outs), biasStep: make([]float32, outs)}
	return m
}

// base adds up what the biases and dense features say of an output.
func (m *linear) base(in *input, k int) float32 {
	d := &m.dense[k]
	s := m.bias[k]
	for i, x := range in.dense {
		s += d[i] * x
	}
	return s
}

// stepDense moves the bias and the dense weights of an output against a gradient, each by its own rate (AdaGrad).
func (m *linear) stepDense(in *input, k int, g, rate float32) {
	m.biasStep[k] += g * g
	m.bias[k] -= rate * g / root(m.biasStep[k]+1e-6)
	w, s := &m.dense[k], &m.denseStep[k]
	for i, x := range in.dense {
		if x == 0 {
			continue
		}
		d := g * x
		s[i] += d * d
		w[i] -= rate * d / root(s[i]+1e-4)
	}
}

// decay shrinks all weights but the biases.
func (m *linear) decay(f *fit) {
	keep, deep := float32(1-f.shrink), float32(1-f.shrinkDeep)
	for i := range m.row {
		m.row[i] *= keep
	}
	for k := range m.dense {
		for i := range m.dense[k] {
			m.dense[k][i] *= deep
		}
	}
}

// at returns the rate of an epoch: it falls to a tenth.
func (f *fit) at(rate float64, epoch int) float32 {
	return float32(rate * (1 - .9*float64(epoch)/float64(f.epochs)))
}

type classRow = [router.NumClasses]float32

// sure is how likely a row's own class must be for the row to teach nothing more.
const sure = .995

// dropped is the share of a text's features that each look at it leaves out: no feature may rely on the others of its text.
const dropped = .2

// drop returns an input without some of its features, the others the larger for it.
func (in *input) drop(out *input, rng *rand.Rand) {
	out.rows, out.value, out.dense = out.rows[:0], out.value[:0], in.dense
	larger := float32(1 / math.Sqrt(1-dropped))
	for i, row := range in.rows {
		if rng.Float64() >= dropped {
			out.rows, out.value = append(out.rows, row), append(out.value, in.value[i]*larger)
		}
	}
}

// fitClasses fits the classes' log-odds.
func fitClasses(in []input, all []example, f fit, seed uint64) *linear {
	m := newLinear(router.NumClasses)
	rng := rand.New(rand.NewPCG(seed, 1))
	b := newBayes(in, all)
	known := make([]classRow, len(all))
	for i := range all {
		if e := &all[i]; e.class >= 0 && e.weight.class > 0 {
			known[i] = b.score(&in[i], e)
		}
	}
	var x input
	for epoch := range f.epochs {
		rate, denseRate := f.at(f.rate, epoch), f.at(f.denseRate, epoch)
		for _, i := range rng.Perm(len(all)) {
			e := &all[i]
			if e.class < 0 || e.weight.class == 0 {
				continue
			}
			var p classRow
			in[i].drop(&x, rng)
			m.classScores(&x, &p)
			for k, o := range known[i] {
				p[k] += o
			}
			softmax(&p)
			if p[e.class] > sure {
				continue
			}
			p[e.class]--
			w := float32(e.weight.class)
			for k := range p {
				p[k] *= w
				m.stepDense(&x, k, p[k], denseRate)
			}
			m.stepClasses(&x, &p, rate, f.cap)
		}
		m.decay(&f)
	}
	b.fold(m, f.cap)
	return m
}

func (m *linear) classScores(in *input, out *classRow) {
	for k := range out {
		out[k] = m.base(in, k)
	}
	for i, row := range in.rows {
		w := (*classRow)(m.row[int(row)*router.NumClasses:])
		v := in.value[i]
		for k := range w {
			out[k] += v * w[k]
		}
	}
}

// stepClasses moves the rows against the gradient of the scores, each row by its own rate.
func (m *linear) stepClasses(in *input, grad *classRow, rate, limit float32) {
	var square float32
	for _, g := range grad {
		square += g * g
	}
	for i, row := range in.rows {
		v := in.value[i]
		at := &m.rowStep[row]
		*at += square * v * v
		r := rate * v / root(*at+1e-6)
		w := (*classRow)(m.row[int(row)*router.NumClasses:])
		for k := range w {
			w[k] = max(-limit, min(limit, w[k]-r*grad[k]))
		}
	}
}

// fitGain fits the gain heads by least squares; every example teaches the head that would be asked of it.
func fitGain(in []input, all []example, f fit, seed uint64) *linear {
	m := newLinear(router.NumHeads)
	rng := rand.New(rand.NewPCG(seed, 2))
	for epoch := range f.epochs {
		rate, denseRate := f.at(f.rate, epoch), f.at(f.denseRate, epoch)
		for _, i := range rng.Perm(len(all)) {
			e, x := &all[i], &in[i]
			if !e.judged || e.weight.gain == 0 {
				continue
			}
			head := e.sketch.Head
			score := m.base(x, head)
			for k, row := range x.rows {
				score += x.value[k] * m.row[int(row)*router.NumHeads+head]
			}
			g := float32(e.weight.gain) * (score - float32(e.gain))
			m.stepDense(x, head, g, denseRate)
			for k, row := range x.rows {
				v := x.value[k]
				d := g * v
				at := &m.rowStep[row]
				*at += d * d
				w := &m.row[int(row)*router.NumHeads+head]
				*w = max(-f.cap, min(f.cap, *w-rate*d/root(*at+1e-6)))
			}
		}
		m.decay(&f)
	}
	return m
}

func softmax(x *classRow) {
	top := x[0]
	for _, v := range x[1:] {
		top = max(top, v)
	}
	var sum float32
	for i, v := range x {
		x[i] = float32(math.Exp(float64(v - top)))
		sum += x[i]
	}
	for i := range x {
		x[i] /= sum
	}
}

func root(x float32) float32 { return float32(math.Sqrt(float64(x))) }
