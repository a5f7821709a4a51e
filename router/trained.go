package router

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"sync"
)

// The gain is had from one of several heads, chosen by the look of the text: what makes a choice question hard says little of a story with
// numbers, and neither says much of the rest.
const (
	headChoice  = iota // answer options are listed
	headProblem        // a calculation in words
	headRest
	numHeads
)

// Trained classifies by a linear model over hashed words, parts of words and the look of the text, and falls back on its class table and on the
// heuristic as a text leaves what the model was trained on. It does not allocate and is safe for concurrent use.
type Trained struct {
	model     *Model
	heuristic *Heuristic
	prior     [NumClasses]float64
}

// NewTrained returns the classifier that the binary holds, which routers use unless they are given another.
func NewTrained() *Trained { return Embedded().Classifier() }

// ClassifierID names that classifier: a calibration holds for the gains of the one it was made with.
var ClassifierID = sync.OnceValue(func() string {
	sum := sha256.Sum256(embedded)
	return "trained-" + hex.EncodeToString(sum[:6])
})

// Classifier returns the classifier of a model.
func (m *Model) Classifier() *Trained {
	return &Trained{model: m, heuristic: NewHeuristic(), prior: m.Prior}
}

// WithPrior returns a classifier with another class table: the gain, in [-1, 1], that a class has when no more is known than the class.
// Classes that the table does not name keep theirs.
func (t *Trained) WithPrior(table map[string]float64) *Trained {
	c := *t
	for i, name := range Classes {
		if g, ok := table[name]; ok {
			c.prior[i] = g
		}
	}
	return &c
}

// reading is all that is read of one text.
type reading struct {
	scan  scan
	grams grams
	size  int // bytes that count

	hits      [numGroups]float64 // as the heuristic weighs them
	heuristic Class
	dense     [numDense]float32
	kind      int // of gain head
}

// reset makes a reading ready for a text.
func (r *reading) reset(t *table) {
	r.grams.reset(t)
	r.size = 0
	r.dense = [numDense]float32{}
}

// readings are too large for a stack that nobody has grown yet.
var readings = sync.Pool{New: func() any { return new(reading) }}

// read reads a prompt. Talk to the router is found in a first pass; where there is some, a second one reads the text without it.
func (r *reading) read(h *Heuristic, prompt *Prompt) {
	p := *prompt
	p.Text = unpadded(p.Text)
	r.pass(h, p.Text, nil)
	if r.scan.talk.n > 0 {
		talk := r.scan.talk
		out := talk.cuts(p.Text)
		if out.all(p.Text) {
			out = talk.tight(p.Text)
		}
		if !out.all(p.Text) {
			g := &r.grams
			record := g.record
			r.reset(g.table)
			if g.record = record; record != nil {
				record.reset()
			}
			r.pass(h, p.Text, &out)
		}
	}
	r.grams.end()
	hits := r.scan.evidence()
	r.heuristic = judge(&hits, &r.scan, p)
	r.hits = hits
	r.surface(&p, &r.dense)
	for g, v := range hits {
		r.dense[denseLexicon+g] = float32(sat(v))
	}
	for i, q := range r.heuristic.P {
		r.dense[denseProb+i] = float32(q)
	}
	r.dense[denseGain] = float32(r.heuristic.Gain)
	r.kind = r.head()
}

// pass scans the ends of a text but for what is cut out. Where a word stands is counted in what is left.
func (r *reading) pass(h *Heuristic, text string, out *cuts) {
	total := len(text)
	if out != nil {
		total -= out.bytes()
	}
	r.scan = scan{table: h, grams: &r.grams, total: total}
	r.grams.lastFrom = total - lastBytes
	if len(text) <= MaxScan {
		r.stretch(text, 0, len(text), out)
		return
	}
	r.stretch(text, 0, scanHead, out)
	r.stretch(text, len(text)-scanTail, len(text), out)
}

// stretch reads text[from:to].
func (r *reading) stretch(text string, from, to int, out *cuts) {
	gone := 0
	if out != nil {
		for _, c := range out.c[:out.n] {
			if c.to > from && c.from < to {
				r.piece(text[from:max(from, c.from)], from-gone)
				from = min(c.to, to)
			}
			gone += c.to - c.from
		}
	}
	r.piece(text[from:to], from-gone)
}

func (r *reading) piece(s string, at int) {
	if s == "" {
		return
	}
	r.size += len(s)
	r.scan.text(s, max(0, at))
}

// head chooses the gain head.
func (r *reading) head() int {
	s := &r.scan
	switch {
	case s.options >= 3:
		return headChoice
	case r.grams.numbers.n >= 2 && s.words >= 15 && s.latex == 0 && s.code < 3 && !s.fence && s.braces == 0 && r.hits[gMathWord] > 0 && s.indent == 0:
		return headProblem
	}
	return headRest
}

// Classify implements Classifier.
func (t *Trained) Classify(p Prompt) Class {
	r := readings.Get().(*reading)
	defer readings.Put(r)
	r.reset(t.model.table)
	r.read(t.heuristic, &p)
	if r.grams.said == 0 {
		return r.heuristic // there is nothing to read
	}
	return t.judge(r)
}

// judge turns a reading into a class.
func (t *Trained) judge(r *reading) Class {
	var z [numDense]float32
	m := t.model
	m.normalise(&r.dense, &z)
	var logit [NumClasses]float64
	norm := r.grams.norms()
	for i := range logit {
		l := float64(m.ClassBias[i]) + dot(&m.ClassDense[i], &z)
		for kind := range norm {
			l += float64(m.ClassUnit[i][kind]) * float64(r.grams.sums[kind].class[i]) * norm[kind]
		}
		logit[i] = l*m.Sharpness + m.Shift[i]
	}
	var c Class
	best, second := softmax(&c.P, &logit)
	c.Name = Classes[best]
	unknown := (float64(r.grams.fresh-r.grams.known) + .5) / (float64(r.grams.fresh) + 1)
	c.Novelty = min(1, max(0, .7*unknown+.3*(1-(c.P[best]-c.P[second]))))
	learned := float64(m.HeadBias[r.kind]) + dot(&m.HeadDense[r.kind], &z)
	for kind := range norm {
		learned += float64(m.HeadUnit[r.kind][kind]) * float64(r.grams.sums[kind].heads[r.kind]) * norm[kind]
	}
	var table float64
	for i, q := range c.P {
		table += q * t.prior[i]
	}
	c.Gain = m.blend(r.kind, learned, table, r.heuristic.Gain, c.Novelty)
	c.Reasons = reasons(&m.HeadDense[r.kind], &z, float32(m.learnedShare(r.kind, c.Novelty)))
	return c
}

// blend mixes the gain: what was learned with a share of what is known without it, the class table and some of the heuristic; that alone as a text
// grows new, and the heuristic where nothing is known of it.
func (m *Model) blend(kind int, learned, table, heuristic, novelty float64) float64 {
	prior := table + m.HeuristicShare*(heuristic-table)
	share := m.PriorShare[kind]
	share += (1 - share) * ramp(novelty, m.Doubt[0], m.Doubt[1])
	gain := learned + share*(prior-learned)
	gain += ramp(novelty, m.Doubt[1], m.Doubt[2]) * (heuristic - gain)
	return math.Tanh(gain)
}

// learnedShare is how much of the gain blend leaves to what was learned.
func (m *Model) learnedShare(kind int, novelty float64) float64 {
	return (1 - m.PriorShare[kind]) * (1 - ramp(novelty, m.Doubt[0], m.Doubt[1])) * (1 - ramp(novelty, m.Doubt[1], m.Doubt[2]))
}

// ramp rises from 0 at lo to 1 at hi.
func ramp(x, lo, hi float64) float64 {
	if x <= lo {
		return 0
	}
	if x >= hi {
		return 1
	}
	return (x - lo) / (hi - lo)
}

func dot(w, z *[numDense]float32) float64 {
	var s0, s1, s2, s3 float32 // apart, since each waits for its last sum
	i := 0
	for ; i < numDense/8*8; i += 8 {
		a, b := (*[8]float32)(w[i:]), (*[8]float32)(z[i:])
		s0 += a[0]*b[0] + a[4]*b[4]
		s1 += a[1]*b[1] + a[5]*b[5]
		s2 += a[2]*b[2] + a[6]*b[6]
		s3 += a[3]*b[3] + a[7]*b[7]
	}
	for ; i < numDense; i++ {
		s0 += w[i] * z[i]
	}
	return float64(s0 + s1 + (s2 + s3))
}
