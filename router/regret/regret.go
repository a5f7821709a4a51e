package regret

import (
	"cmp"
	"math"
	"slices"
)

// Record is one judged prompt.
type Record struct {
	Gain float64 // the router's, -1 … 1
	Lost bool    // the cheap tier's answer was wrong and the strong tier's was, or is taken to be, right
}

// Result is what the records allow to promise.
type Result struct {
	Attainable bool
	Threshold  float64 // prompts of at most this gain are kept; meaningful only if attainable
	Kept, Lost int     // records at most that gain, and those of them that lost a right answer
	Bound      float64 // upper bound on the regret at the confidence of the whole search
	Coverage   float64 // share of the records that are kept
	Rate       float64 // regret if every record were kept, as seen
	Records    int
}

// starts are the shares of the records at which a search begins, and step is how much further each next test goes. They do not depend on the
// labels: given the gains they are fixed before a label is looked at.
var starts = [...]float64{.2, .5}

const step = .025

// Calibrate finds the largest threshold whose regret is at most limit with the confidence (as 0.95). Thresholds are tested from small to large
// in a fixed sequence that ends at the first one that fails (learn then test), from places which share the allowed error equally. So the
// promise fails with at most 1 - confidence, however many thresholds were looked at. Not attainable means that no threshold passed.
func Calibrate(records []Record, limit, confidence float64) Result {
	sorted := slices.Clone(records)
	slices.SortFunc(sorted, func(a, b Record) int { return cmp.Compare(a.Gain, b.Gain) })
	lost := make([]int, len(sorted)+1)
	for i, r := range sorted {
		lost[i+1] = lost[i]
		if r.Lost {
			lost[i+1]++
		}
	}
	n := len(sorted)
	res := Result{Records: n, Bound: 1}
	if n == 0 {
		return res
	}
	res.Rate = float64(lost[n]) / float64(n)
	alpha := (1 - confidence) / float64(len(starts))
	for _, from := range starts {
		for share := from; share < 1+step/2; share += step {
			kept := whole(sorted, int(math.Round(share*float64(n))))
			if kept == 0 {
				continue
			}
			bound := UpperBound(lost[kept], kept, alpha)
			if bound > limit {
				break
			}
			if kept > res.Kept {
				res.Attainable, res.Kept, res.Lost, res.Bound = true, kept, lost[kept], bound
			}
		}
	}
	if res.Attainable {
		res.Threshold = sorted[res.Kept-1].Gain // nothing between the last one kept and the next is promised
		res.Coverage = float64(res.Kept) / float64(n)
	}
	return res
}

// whole lowers a count of kept records to where the gain changes: records of one gain are kept together or not at all.
func whole(sorted []Record, kept int) int {
	if kept >= len(sorted) {
		return len(sorted)
	}
	for kept > 0 && sorted[kept-1].Gain == sorted[kept].Gain {
		kept--
	}
	return kept
}

// Fewest returns how many records are needed before a limit can be shown, if none of them lost anything.
func Fewest(limit, confidence float64) int {
	if limit <= 0 || limit >= 1 {
		return math.MaxInt
	}
	alpha := (1 - confidence) / float64(len(starts))
	return int(math.Ceil(math.Log(alpha) / math.Log1p(-limit)))
}
