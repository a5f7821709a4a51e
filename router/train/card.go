package train

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/sluice-gateway/sluice/router"
)

// Table prints what the rows are that a model is made of, for its card.
func (d *Data) Table(out func(format string, a ...any)) {
	out("| rows | what | licence |\n|---|---|---|\n")
	for _, t := range []struct {
		rows          []Row
		what, licence string
	}{
		{d.Gain, "outcomes of models on MMLU-Pro (without MMLU), LLMRouter's 14 tasks, ZeroEval crux, math-l5, numersense; GSM8K-train by steps", "Apache-2.0, MIT"},
		{d.Class, "prompts by class from templates and benchmarks; only a sixth of those that are not templates is used", "MIT, Apache-2.0"},
		{d.Natural, "natural prompts, written and labelled for this repository by two writers and read by the other (class, easy or hard)", "this repository's"},
		{d.Typed, "prompts as people type them, written for training alone (`typed.txt`; some are read with several pasted texts, each counted here)", "this repository's"},
		{d.Cues, "short prompts made of the words by which people ask (`cues.txt`)", "this repository's"},
	} {
		dev := 0
		for i := range t.rows {
			if t.rows[i].Dev() {
				dev++
			}
		}
		out("| %d, %d of them for measuring | %s | %s |\n", len(t.rows), dev, t.what, t.licence)
	}
}

// goldFolds is in how many parts the gold rows are measured, each by a model that has seen the others.
const goldFolds = 3

// Gold prints what labels of the distribution itself are worth: rows in the data's format, each ordered by a model that was trained on the others too.
func (e *Eval) Gold(d *Data, name string, rows []Row, o Options) {
	all := examplesOf(d, &o, func(r *Row) bool { return !r.Dev() })
	gold := examplesOf(&Data{Gain: rows}, &o, func(*Row) bool { return true })
	var score, length, heuristic, gain []float64
	for k := range goldFolds {
		seen := slices.Clone(all)
		var held []*example
		for i := range gold {
			if i%goldFolds == k {
				held = append(held, &gold[i])
			} else {
				seen = append(seen, gold[i])
			}
		}
		c := fitExamples(seen, d.Sum, o).Classifier()
		for _, x := range held {
			p := x.row.Read()
			score, length = append(score, c.Classify(p).Gain), append(length, float64(len(p.Text)))
			heuristic, gain = append(heuristic, x.sketch.Heuristic.Gain), append(gain, x.gain)
		}
	}
	fmt.Fprintf(e.Out, "\n%s (%d prompts)\n%-14s %-22s\n", name, len(gain), "ordered by", "APGR, 95 % interval")
	for _, w := range []scored{{"with gold", score}, {"length", length}, {"heuristic", heuristic}} {
		rng := rand.New(rand.NewPCG(e.Seed, 6))
		b := bootstrap(len(gain), e.rng(), func(items []int) float64 { return Fine(pick(w.score, items), pick(gain, items), rng) })
		fmt.Fprintf(e.Out, "%-14s %.3f  %.3f .. %.3f\n", w.name, b.value, b.low, b.high)
	}
}

// Confused prints how often the class of prompts is right by class, and what it is most often taken for, the worst first.
func (e *Eval) Confused(rows []*Row) {
	var taken [router.NumClasses][router.NumClasses]int
	for _, r := range rows {
		if k := classIndex(r.Class); k >= 0 {
			taken[k][classIndex(e.Classifier.Classify(r.Read()).Name)]++
		}
	}
	type line struct {
		class int
		right float64
	}
	var lines []line
	for k := range taken {
		n := 0
		for _, v := range taken[k] {
			n += v
		}
		lines = append(lines, line{k, float64(taken[k][k]) / float64(max(n, 1))})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.right, b.right) })
	for _, l := range lines {
		most := 0
		for j, v := range taken[l.class] {
			if j != l.class && (most == l.class || v > taken[l.class][most]) {
				most = j
			}
		}
		fmt.Fprintf(e.Out, "%-20s %.2f right, taken for %s in %d\n", router.Classes[l.class], l.right, router.Classes[most], taken[l.class][most])
	}
}

// Calibration returns the expected calibration errors of the class on rows: as the model's scores come, and as they are calibrated.
func Calibration(m *router.Model, rows []*Row) (raw, calibrated float64) {
	plain := *m
	plain.Sharpness, plain.Shift = 1, [router.NumClasses]float64{}
	errors := func(c *router.Trained) float64 {
		var sure []float64
		var right []bool
		for _, r := range rows {
			got := c.Classify(r.Read())
			sure, right = append(sure, got.Prob(got.Name)), append(right, got.Name == r.Class)
		}
		_, ece := reliability(sure, right)
		return math.Round(ece*1000) / 1000
	}
	return errors(plain.Classifier()), errors(m.Classifier())
}
