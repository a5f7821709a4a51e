package train

import (
	"crypto/md5"
	"strings"
	"sync"

	"github.com/sluice-gateway/sluice/router"
)

// example is a row as the trainer sees it.
type example struct {
	row    *Row
	sketch router.Sketch
	class  int     // -1: not labelled
	gain   float64 // what a strong model adds, by the label
	judged bool    // there is a gain
	weight struct{ class, gain float64 }
}

// What a row weighs. Natural prompts are few and are what the router meets; the benchmarks' are many and alike, and templates teach little.
const (
	naturalClass = 2
	cueClass     = .6
	typedClass   = 1
	otherClass   = .1
	otherEvery   = 6 // one in so many of the benchmarks' rows
	naturalGain  = 6
	typedGain    = 2
	problemGain  = .5
)

// label fills in what a row says and how much it weighs.
func (e *example) label(o *Options) {
	r := e.row
	e.class = classIndex(r.Class)
	e.weight.class, e.weight.gain = 0, 1
	switch {
	case r.Source == Natural:
		e.weight.class, e.weight.gain = naturalClass, naturalGain
	case r.Source == Typed:
		e.weight.class, e.weight.gain = typedClass*r.share, typedGain*r.share
		if r.worth > 1 {
			e.weight.gain = 0 // other words for a task make it no harder
		}
	case r.Source == Cue:
		e.weight.class = cueClass
	case strings.HasPrefix(r.Source, "p3/"), r.Source == "template":
	case md5.Sum([]byte(r.Prompt))[1]%otherEvery == 0:
		e.weight.class = otherClass
	}
	switch {
	case r.Band != "" && e.class >= 0:
		e.gain, e.judged = bandGain(r.Band, o.Prior[e.class]), true
	case r.Weak != nil && r.Strong != nil:
		e.gain, e.judged = *r.Strong-*r.Weak, true
	case r.Steps > 0:
		e.gain, e.judged = stepGain(r.Steps), true
		e.weight.gain = problemGain
	}
}

// stepGain is what a strong model adds to a story with numbers: more with every step of its solution.
func stepGain(steps int) float64 { return .05 + .06*float64(min(steps, 8)) }

// bandGain is what a strong model adds to a natural prompt, by the band that its reader gave it. Within a band the class table orders.
func bandGain(band string, prior float64) float64 {
	if band == "hard" {
		return .20 + .6*prior
	}
	return -.02 + .3*prior
}

// sketches reads rows into examples, on two goroutines: the result does not depend on them.
func sketches(rows []*Row, text func(*Row) router.Prompt, o *Options) []example {
	out := make([]example, len(rows))
	h := router.NewHeuristic()
	var work sync.WaitGroup
	const workers = 2
	for w := range workers {
		work.Go(func() {
			for i := w; i < len(rows); i += workers {
				e := &out[i]
				e.row = rows[i]
				e.sketch = h.Sketch(text(rows[i]))
				e.label(o)
			}
		})
	}
	work.Wait()
	return out
}
