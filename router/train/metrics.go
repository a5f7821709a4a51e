package train

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// ranked returns the order of scores from high to low; ties are broken by chance.
func ranked(score []float64, rng *rand.Rand) []int {
	order := rng.Perm(len(score))
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(score[b], score[a]) })
	return order
}

// Fine returns the share of the performance gap that is recovered on average over every share of strong calls (APGR): .5 is chance. gain is what
// the strong model adds to each prompt. It is NaN when the strong model adds nothing at all.
func Fine(score, gain []float64, rng *rand.Rand) float64 {
	var total, area, sum float64
	for _, g := range gain {
		total += g
	}
	for _, i := range ranked(score, rng) {
		area += sum + gain[i]/2
		sum += gain[i]
	}
	if total <= 0 {
		return math.NaN()
	}
	return area / float64(len(score)) / total
}

// point is a share of strong calls and what share of the performance gap it recovers.
type point struct{ strong, recovered float64 }

// deciles are the points of RouteLLM's protocol: the edges of the scores' deciles as thresholds, a prompt goes to the strong model from
// the edge on, at the last edge above it.
func deciles(score, gain []float64) []point {
	sorted := slices.Sorted(slices.Values(score))
	var total float64
	for _, g := range gain {
		total += g
	}
	points := make([]point, 0, 11)
	for k := range 11 {
		at := float64(k) / 10 * float64(len(sorted)-1)
		low := int(at)
		edge := sorted[low]
		if low+1 < len(sorted) {
			edge += (at - float64(low)) * (sorted[low+1] - edge)
		}
		var n, sum float64
		for i, s := range score {
			if s >= edge && k < 10 || s > edge {
				n++
				sum += gain[i]
			}
		}
		points = append(points, point{n / float64(len(score)), sum / total})
	}
	slices.Reverse(points)
	return points
}

// RouteLLM returns the APGR of RouteLLM's harness.
func RouteLLM(score, gain []float64) float64 {
	p := deciles(score, gain)
	var area float64
	for i := 1; i < len(p); i++ {
		area += (p[i].strong - p[i-1].strong) * (p[i].recovered + p[i-1].recovered) / 2
	}
	return area
}

// CPT returns the share of strong calls at which a share of the performance gap is recovered, as RouteLLM's harness reads it off.
func CPT(score, gain []float64, share float64) float64 {
	p := deciles(score, gain)
	for i := 1; i < len(p); i++ {
		if a, b := p[i-1], p[i]; b.recovered >= share && b.recovered > a.recovered {
			return a.strong + (share-a.recovered)/(b.recovered-a.recovered)*(b.strong-a.strong)
		}
	}
	return 1
}

// interval is a value with its 95 % bootstrap interval.
type interval struct{ value, low, high float64 }

const resamples = 200

// bootstrap measures something of n items, and of resamples of them.
func bootstrap(n int, rng *rand.Rand, measure func(items []int) float64) interval {
	items := make([]int, n)
	for i := range items {
		items[i] = i
	}
	out := interval{value: measure(items)}
	values := make([]float64, 0, resamples)
	for range resamples {
		for i := range items {
			items[i] = rng.IntN(n)
		}
		if v := measure(items); !math.IsNaN(v) {
			values = append(values, v)
		}
	}
	slices.Sort(values)
	if len(values) > 0 {
		out.low, out.high = values[len(values)*25/1000], values[len(values)*975/1000]
	}
	return out
}

func pick(x []float64, items []int) []float64 {
	out := make([]float64, len(items))
	for k, i := range items {
		out[k] = x[i]
	}
	return out
}

// macroF1 is the mean over classes of the harmonic mean of precision and recall.
func macroF1(want, got []int, classes int) float64 {
	hit, wanted, said := make([]float64, classes), make([]float64, classes), make([]float64, classes)
	for i, w := range want {
		wanted[w]++
		said[got[i]]++
		if got[i] == w {
			hit[w]++
		}
	}
	var sum, n float64
	for k := range classes {
		if wanted[k] == 0 {
			continue
		}
		n++
		sum += 2 * hit[k] / (wanted[k] + said[k])
	}
	return sum / n
}

// bin is a bar of a reliability diagram.
type bin struct{ n, sure, right float64 }

// reliability sorts answers by how sure they are; the second result is the expected calibration error.
func reliability(sure []float64, right []bool) (bins [10]bin, ece float64) {
	for i, p := range sure {
		b := &bins[min(9, int(p*10))]
		b.n++
		b.sure += p
		if right[i] {
			b.right++
		}
	}
	for _, b := range bins {
		ece += math.Abs(b.sure-b.right) / float64(len(sure))
	}
	return bins, ece
}

func mean(x []float64) (m float64) {
	for _, v := range x {
		m += v / float64(len(x))
	}
	return m
}
