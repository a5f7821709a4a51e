package train

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/sluice-gateway/sluice/router"
)

// Set are labelled rows that are measured together.
type Set struct {
	Name string
	Rows []*Row
	// Weak and Strong name the pair of models whose outcomes are the labels; "" takes the rows' own weak and strong means.
	Weak, Strong string
}

// Sets returns the rows for measuring, by source.
func (d *Data) Sets() []Set {
	sets := []Set{
		{Name: "MMLU-Pro, Mixtral-8x7B to Gemini-1.5-Pro", Weak: "Mixtral-8x7B-Instruct-v0.1", Strong: "gemini-1.5-pro-002"},
		{Name: "LLMRouter, Mistral-7B to Nemotron-51B", Weak: "mistral-7b-instruct-v0.3", Strong: "llama-3.1-nemotron-51b-instruct"},
		{Name: "ZeroEval crux"}, {Name: "ZeroEval math-l5"}, {Name: "ZeroEval numersense"}, {Name: "GSM8K-train steps"},
	}
	sources := []string{"mmlu_pro", "llmrouter", "zeroeval_crux", "zeroeval_math-l5", "zeroeval_numersense-v2", "gsm8k_train"}
	for i := range d.Gain {
		r := &d.Gain[i]
		if k := slices.Index(sources, r.Source); k >= 0 && r.Dev() {
			sets[k].Rows = append(sets[k].Rows, r)
		}
	}
	return append(sets, Set{Name: "natural, hard and easy", Rows: d.ForMeasuring()})
}

// ForMeasuring returns the natural prompts of the dev split.
func (d *Data) ForMeasuring() (rows []*Row) {
	for i := range d.Natural {
		if r := &d.Natural[i]; r.Dev() {
			rows = append(rows, r)
		}
	}
	return rows
}

// gain returns what the strong model adds to a row, and whether the row says.
func (s *Set) gain(r *Row) (float64, bool) {
	switch {
	case s.Weak != "":
		w, ok1 := r.Scores[s.Weak]
		g, ok2 := r.Scores[s.Strong]
		return g - w, ok1 && ok2
	case r.Weak != nil && r.Strong != nil:
		return *r.Strong - *r.Weak, true
	case r.Steps > 0:
		return stepGain(r.Steps), true
	case r.Band == "hard":
		return 1, true
	}
	return 0, r.Band == "easy"
}

// Eval measures a classifier.
type Eval struct {
	Classifier *router.Trained
	Prior      [router.NumClasses]float64
	Seed       uint64
	Out        io.Writer

	Behind   []string // what costs nothing and orders no worse than the router, by set
	Accuracy float64  // of the class, on the rows last measured
}

func (e *Eval) rng() *rand.Rand { return rand.New(rand.NewPCG(e.Seed, 4)) }

// scored is a way to order prompts.
type scored struct {
	name  string
	score []float64
}

// plainWays is how many of the ways to order prompts are the router and those that cost nothing; the others are bounds.
const plainWays = 4

// Gain prints how well a set's prompts are ordered by what a strong model adds, beside the ways that cost nothing to have.
func (e *Eval) Gain(s *Set) {
	h := router.NewHeuristic()
	ways := []scored{{name: "router"}, {name: "length"}, {name: "heuristic"}, {name: "class table"}, {name: "oracle"}, {name: "random"}}
	var gain []float64
	rng := e.rng()
	for _, r := range s.Rows {
		g, ok := s.gain(r)
		if !ok {
			continue
		}
		gain = append(gain, g)
		p := r.Read()
		c := e.Classifier.Classify(p)
		var table float64
		for i, q := range c.P {
			table += q * e.Prior[i]
		}
		for i, v := range [...]float64{c.Gain, float64(len(p.Text)), h.Classify(p).Gain, table, g, rng.Float64()} {
			ways[i].score = append(ways[i].score, v)
		}
	}
	if len(gain) < 10 {
		return
	}
	fmt.Fprintf(e.Out, "\n%s (%d prompts)\n%-14s %-22s %-10s %6s %6s\n", s.Name, len(gain), "ordered by", "APGR, 95 % interval", "RouteLLM's", "CPT50", "CPT80")
	var router float64
	for i, w := range ways {
		b := bootstrap(len(gain), e.rng(), func(items []int) float64 { return Fine(pick(w.score, items), pick(gain, items), rng) })
		fmt.Fprintf(e.Out, "%-14s %.3f  %.3f .. %.3f   %.3f      %5.1f  %5.1f\n", w.name, b.value, b.low, b.high, RouteLLM(w.score, gain),
			100*CPT(w.score, gain, .5), 100*CPT(w.score, gain, .8))
		switch {
		case i == 0:
			router = b.value
		case i < plainWays && b.value >= router:
			e.Behind = append(e.Behind, fmt.Sprintf("%s: %s %.3f, the router %.3f", s.Name, w.name, b.value, router))
		}
	}
}

// Classes prints how often the class is right, and how far its probabilities hold. It returns the bars of the reliability diagram.
func (e *Eval) Classes(name string, rows []*Row) [10]bin {
	var want, got, heuristic []int
	var sure []float64
	var right []bool
	h := router.NewHeuristic()
	for _, r := range rows {
		k := classIndex(r.Class)
		if k < 0 {
			continue
		}
		p := r.Read()
		c := e.Classifier.Classify(p)
		want, got, heuristic = append(want, k), append(got, classIndex(c.Name)), append(heuristic, classIndex(h.Classify(p).Name))
		sure, right = append(sure, c.Prob(c.Name)), append(right, c.Name == r.Class)
	}
	if len(want) == 0 {
		return [10]bin{}
	}
	fmt.Fprintf(e.Out, "\n%s (%d prompts)\n%-14s %-22s %s\n", name, len(want), "class by", "accuracy, 95 % interval", "macro-F1")
	for _, w := range []struct {
		name string
		got  []int
	}{{"router", got}, {"heuristic", heuristic}} {
		b := bootstrap(len(want), e.rng(), func(items []int) float64 {
			n := 0.0
			for _, i := range items {
				if w.got[i] == want[i] {
					n++
				}
			}
			return n / float64(len(items))
		})
		if w.name == "router" {
			e.Accuracy = b.value
		}
		fmt.Fprintf(e.Out, "%-14s %.3f  %.3f .. %.3f   %.3f\n", w.name, b.value, b.low, b.high, macroF1(want, w.got, router.NumClasses))
	}
	bins, ece := reliability(sure, right)
	fmt.Fprintf(e.Out, "expected calibration error %.3f\n", ece)
	return bins
}

// threshold is by_gain's default.
const threshold = .12

// Noise prints how often the same prompt, said in another way, gets another side or class.
func (e *Eval) Noise(rows []*Row) {
	fmt.Fprintf(e.Out, "\nthe same prompt in another way (%d prompts)\n%-14s %10s %10s\n", len(rows), "", "side flips", "class flips")
	for _, n := range noises {
		rng := e.rng()
		var sides, classes float64
		for _, r := range rows {
			p := r.Read()
			q := p
			q.Text = n.apply(p.Text, rng)
			a, b := e.Classifier.Classify(p), e.Classifier.Classify(q)
			if a.Gain > threshold != (b.Gain > threshold) {
				sides++
			}
			if a.Name != b.Name {
				classes++
			}
		}
		all := float64(len(rows)) / 100
		fmt.Fprintf(e.Out, "%-14s %8.1f %% %8.1f %%\n", n.name, sides/all, classes/all)
	}
}

const (
	gadgetWords = 8   // that an attacker puts before or behind a prompt …
	gadgetFrom  = 100 // … of so many with the largest weights …
	gadgetDraws = 20  // … in so many ways: which eight they are decides the class that they are taken for
)

// Gadgets prints what words with large weights do before and behind every prompt: how many go to the strong side that did not, and how many times
// as many strong calls there are, by the mean of several choices of the words, the least and the most.
func (e *Eval) Gadgets(name string, rows []*Row) {
	words := e.strongest(rows)
	if len(words) == 0 {
		return // nothing says anything
	}
	base := 0.0
	cheap := make([]bool, len(rows))
	for i, r := range rows {
		if cheap[i] = e.Classifier.Classify(r.Read()).Gain <= threshold; !cheap[i] {
			base++
		}
	}
	for _, at := range [...]string{"before", "behind"} {
		var flips, calls []float64
		rng := e.rng()
		for range gadgetDraws {
			gadget := ""
			for range gadgetWords {
				gadget += " " + words[rng.IntN(len(words))]
			}
			var attacked, flipped float64
			for i, r := range rows {
				p := r.Read()
				if at == "before" {
					p.Text = gadget + " " + p.Text
				} else {
					p.Text += gadget
				}
				if e.Classifier.Classify(p).Gain <= threshold {
					continue
				}
				attacked++
				if cheap[i] {
					flipped++
				}
			}
			flips = append(flips, 100*flipped/math.Max(1, float64(len(rows))-base))
			calls = append(calls, attacked/math.Max(1, base))
		}
		fmt.Fprintf(e.Out, "%-10s %-7s %5.1f %% of the cheap go strong (%.1f .. %.1f), strong calls x %.2f (%.2f .. %.2f)\n", name, at,
			mean(flips), slices.Min(flips), slices.Max(flips), mean(calls), slices.Min(calls), slices.Max(calls))
	}
}

// strongest returns the words that say most for a strong model, as an attacker who has the weights would pick them.
func (e *Eval) strongest(rows []*Row) []string {
	best := map[string]float64{}
	for _, r := range rows {
		for _, w := range e.Classifier.Why(r.Read(), 40) {
			var word string
			if n, _ := fmt.Sscanf(w.Feature, "word %q", &word); n == 1 {
				best[word] = max(best[word], w.Gain)
			}
		}
	}
	names := make([]string, 0, len(best))
	for w := range best {
		names = append(names, w)
	}
	slices.SortFunc(names, func(a, b string) int {
		if best[a] != best[b] {
			if best[a] > best[b] {
				return -1
			}
			return 1
		}
		if a < b {
			return -1
		}
		return 1
	})
	return names[:min(gadgetFrom, len(names))]
}
