package train

import (
	"crypto/md5"
	"math"
	"slices"

	"github.com/sluice-gateway/sluice/router"
)

// heldFolds is in how many parts the natural prompts are held out, one after the other, to see how far the classes' probabilities hold.
const heldFolds = 3

// heldOut are the scores of classes that a model gives prompts which it was not trained on, and their classes.
type heldOut struct {
	score []classRow
	class []int
}

// holdOut scores every natural prompt by a model of all the rest.
func holdOut(all []example, f fit, seed uint64) (out heldOut) {
	for k := range heldFolds {
		var seen []example
		var held []*example
		for i := range all {
			switch e := &all[i]; {
			case e.class < 0 || e.weight.class == 0:
			case e.row.Source == Natural && int(md5.Sum([]byte(e.row.own()))[4])%heldFolds == k:
				held = append(held, e)
			default:
				seen = append(seen, *e)
			}
		}
		v := newVocabulary(seen)
		scale := newStandard(seen)
		in := make([]input, len(seen))
		for i := range seen {
			in[i] = v.input(&seen[i].sketch, scale)
		}
		m := fitClasses(in, seen, f, seed)
		for _, e := range held {
			x := v.input(&e.sketch, scale)
			var p classRow
			m.classScores(&x, &p)
			out.score, out.class = append(out.score, p), append(out.class, e.class)
		}
	}
	return out
}

// calibration is how scores become probabilities that hold: all are multiplied with one number, and each class has one of its own added.
type calibration struct {
	sharpness float64
	shift     [router.NumClasses]float64
}

const (
	calibrationSteps = 400
	calibrationRate  = .3
	shiftCost        = .02 // of a shift's square, beside the mean loss: a class gets one only for good reasons
)

// calibrate finds the calibration with the least log loss, by gradients.
func (h *heldOut) calibrate() calibration {
	c := calibration{sharpness: 1}
	for range calibrationSteps {
		var slope float64
		var shift [router.NumClasses]float64
		for i := range h.score {
			p := c.probabilities(&h.score[i])
			p[h.class[i]]--
			for k, g := range p {
				slope += g * float64(h.score[i][k])
				shift[k] += g
			}
		}
		n := float64(len(h.score))
		c.sharpness -= calibrationRate * slope / n / 4 // scores are larger than one
		for k := range shift {
			c.shift[k] -= calibrationRate * (shift[k]/n + 2*shiftCost*c.shift[k])
		}
	}
	return c
}

func (c *calibration) probabilities(score *classRow) (p [router.NumClasses]float64) {
	var sum float64
	for k, s := range score {
		p[k] = c.sharpness*float64(s) + c.shift[k]
	}
	top := slices.Max(p[:])
	for k := range p {
		p[k] = math.Exp(p[k] - top)
		sum += p[k]
	}
	for k := range p {
		p[k] /= sum
	}
	return p
}
