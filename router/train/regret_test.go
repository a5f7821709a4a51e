package train

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/router/regret"
)

// judged returns the dev rows with outcomes of both groups of models, with the gains that the router gives them. A prompt that the strong group gets
// right and the cheap one does not counts as lost when it stays cheap.
func judged(t *testing.T) []regret.Record {
	d, c := load(t), router.NewTrained()
	var out []regret.Record
	for i := range d.Gain {
		r := &d.Gain[i]
		if r.Dev() && r.Weak != nil && r.Strong != nil {
			out = append(out, regret.Record{Gain: c.Classify(r.Read()).Gain, Lost: *r.Weak < .5 && *r.Strong >= .5})
		}
	}
	if len(out) < 800 {
		t.Fatalf("only %d judged dev rows", len(out))
	}
	return out
}

// splits resamples calibration and test halves and returns how often a threshold was found and how often its promise was exceeded on the half that
// it was not made on, by more than the noise of that half.
func splits(records []regret.Record, limit float64, runs int, r *rand.Rand) (found, exceeded, beyondNoise int, coverage float64) {
	for range runs {
		r.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
		half := len(records) / 2
		res := regret.Calibrate(records[:half], limit, .95)
		if !res.Attainable {
			continue
		}
		kept, lost := 0, 0
		for _, x := range records[half:] {
			if x.Gain <= res.Threshold {
				kept++
				if x.Lost {
					lost++
				}
			}
		}
		found++
		coverage += res.Coverage
		rate := float64(lost) / float64(max(1, kept))
		if rate > limit {
			exceeded++
		}
		if rate > limit+2*math.Sqrt(limit*(1-limit)/float64(max(1, kept))) {
			beyondNoise++
		}
	}
	return found, exceeded, beyondNoise, coverage / float64(max(1, found))
}

// TestPromiseOnDevRows: over 200 resampled halves of the judged dev rows the promised rate is exceeded in at most 5 % of them. The half that
// measures is itself a sample, so a rate above the limit by less than two of its standard errors is noise; the plain count is printed.
func TestPromiseOnDevRows(t *testing.T) {
	records := judged(t)
	lost := 0
	for _, x := range records {
		if x.Lost {
			lost++
		}
	}
	all := float64(lost) / float64(len(records))
	r := rand.New(rand.NewPCG(3, 1))
	for _, limit := range []float64{.05, .08, .10, .12, .15, .20} {
		found, exceeded, beyond, coverage := splits(records, limit, 200, r)
		t.Logf("limit %.2f (all cheap loses %.3f of %d): found in %d of 200, coverage %.2f, exceeded %d, beyond noise %d", limit, all, len(records), found, coverage, exceeded, beyond)
		if beyond > 10 {
			t.Errorf("limit %.2f: the promise was exceeded in %d of 200 splits", limit, beyond)
		}
		if exceeded > 10+6 { // 5 % and two standard errors of the draw
			t.Errorf("limit %.2f: the promised rate was exceeded in %d of 200 splits, noise of the measuring half included", limit, exceeded)
		}
	}
}

// TestShuffledOutcomesPromiseNothing: with outcomes that the gain says nothing of, a limit below the rate of all is not attainable, and says so.
func TestShuffledOutcomesPromiseNothing(t *testing.T) {
	records := judged(t)
	lost := 0
	for _, x := range records {
		if x.Lost {
			lost++
		}
	}
	limit := .8 * float64(lost) / float64(len(records))
	r := rand.New(rand.NewPCG(5, 8))
	claims := 0
	for range 200 {
		r.Shuffle(len(records), func(i, j int) { records[i].Lost, records[j].Lost = records[j].Lost, records[i].Lost })
		if regret.Calibrate(records[:len(records)/2], limit, .95).Attainable {
			claims++
		}
	}
	t.Logf("limit %.3f: claimed in %d of 200", limit, claims)
	if claims > 16 {
		t.Errorf("a bound of %.3f was claimed in %d of 200 runs on shuffled outcomes", limit, claims)
	}
}
