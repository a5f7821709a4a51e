package regret

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The values are the textbook ones of the Clopper-Pearson interval's upper end, one-sided at alpha.
func TestUpperBound(t *testing.T) {
	for _, c := range []struct {
		k, n  int
		alpha float64
		want  float64
	}{
		{0, 29, .05, 1 - math.Pow(.05, 1./29)},
		{0, 1, .05, .95},
		{10, 10, .05, 1},
		{0, 0, .05, 1},
		{5, 50, .025, .21814},
		{81, 263, .025, .36760},
		{1, 20, .05, .21611},
	} {
		if got := UpperBound(c.k, c.n, c.alpha); math.Abs(got-c.want) > 2e-4 {
			t.Errorf("UpperBound(%d, %d, %g) = %.5f, want %.5f", c.k, c.n, c.alpha, got, c.want)
		}
	}
}

// The bound is the rate at which the binomial's own sum is alpha.
func TestUpperBoundAgainstTheSum(t *testing.T) {
	for _, n := range []int{3, 17, 200, 2500} {
		for _, k := range []int{0, 1, n / 10, n / 2, n - 1} {
			p := UpperBound(k, n, .0125)
			if got := below(k, n, p); math.Abs(got-.0125) > 1e-6 {
				t.Errorf("n=%d k=%d: P(X <= k) at the bound %.6f is %.8f, want 0.0125", n, k, p, got)
			}
		}
	}
}

func below(k, n int, p float64) (sum float64) {
	for i := 0; i <= k; i++ {
		a, _ := math.Lgamma(float64(n + 1))
		b, _ := math.Lgamma(float64(i + 1))
		c, _ := math.Lgamma(float64(n - i + 1))
		sum += math.Exp(a - b - c + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
	}
	return sum
}

// draw makes records whose regret grows with the gain; told says how much the gain tells of it.
func draw(r *rand.Rand, n int, told float64) []Record {
	records := make([]Record, n)
	for i := range records {
		g := 2*r.Float64() - 1
		records[i] = Record{Gain: g, Lost: r.Float64() < .15+told*.15*g}
	}
	return records
}

// trueRegret is the regret of draw's population at a threshold: the mean of .15 + told*.15*g over -1 … threshold.
func trueRegret(threshold, told float64) float64 { return .15 + told*.15*(threshold-1)/2 }

// TestPromiseHolds: over many resampled sets the promised rate is exceeded in at most 5 % of them, and three standard errors for the draw.
func TestPromiseHolds(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 9))
	const runs, limit = 400, .10
	broken, attained, coverage := 0, 0, 0.0
	for range runs {
		res := Calibrate(draw(r, 800, 1), limit, .95)
		if !res.Attainable {
			continue
		}
		attained++
		coverage += res.Coverage
		if trueRegret(res.Threshold, 1) > limit {
			broken++
		}
	}
	most := runs * (.05 + 3*math.Sqrt(.05*.95/runs))
	t.Logf("attained %d of %d, mean coverage %.2f, exceeded %d times", attained, runs, coverage/float64(attained), broken)
	if float64(broken) > most {
		t.Errorf("the promise was broken in %d of %d runs, at most %.0f are allowed", broken, runs, most)
	}
	if attained < runs*9/10 {
		t.Errorf("a threshold was found in %d of %d runs only: the search is weaker than the records", attained, runs)
	}
}

// Labels that the gain says nothing of: their rate is above the limit everywhere, and so nothing may be promised.
func TestShuffledLabelsPromiseNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	claims := 0
	for range 300 {
		records := draw(r, 800, 1)
		r.Shuffle(len(records), func(i, j int) { records[i].Lost, records[j].Lost = records[j].Lost, records[i].Lost })
		if Calibrate(records, .10, .95).Attainable {
			claims++
		}
	}
	if claims > 15 {
		t.Errorf("claimed a bound in %d of 300 runs on shuffled labels, at most 5 %% are allowed", claims)
	}
}

func TestCalibrate(t *testing.T) {
	same := make([]Record, 100)
	if res := Calibrate(same, .1, .95); !res.Attainable || res.Kept != 100 || res.Threshold != 0 || res.Coverage != 1 {
		t.Errorf("a hundred records of one gain and no loss: %+v", res)
	}
	if res := Calibrate(same[:20], .1, .95); res.Attainable {
		t.Errorf("twenty records cannot bound a rate by a tenth: %+v", res)
	}
	if res := Calibrate(nil, .1, .95); res.Attainable || res.Bound != 1 {
		t.Errorf("no records: %+v", res)
	}
	for i := range same {
		same[i] = Record{Gain: float64(i) / 100, Lost: i >= 60}
	}
	res := Calibrate(same, .1, .95)
	if !res.Attainable || res.Kept < 50 || res.Kept > 62 || res.Threshold != same[res.Kept-1].Gain || res.Bound > .1 {
		t.Errorf("losses begin at 0.60: %+v", res)
	}
}
