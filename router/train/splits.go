package train

import (
	"crypto/md5"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/router"
)

// split is one way to keep rows from the trainer: fold says which fold a row is kept out in, -1 for a row that is never measured.
type split struct {
	name  string
	folds int
	fold  func(*Row) int
}

// splits are four ways to ask how well the gain is known: of rows like those seen, of whole groups that were not seen, of tasks and of sources that
// were not seen.
func (d *Data) splits() []split {
	var tasks, sources []string
	for i := range d.Gain {
		r := &d.Gain[i]
		if !slices.Contains(sources, r.Source) {
			sources = append(sources, r.Source)
		}
		if r.Source == "llmrouter" && !slices.Contains(tasks, r.Task) {
			tasks = append(tasks, r.Task)
		}
	}
	const random = 3
	return []split{
		{"random", random, func(r *Row) int { return int(md5.Sum([]byte(r.Prompt))[2]) % random }},
		{"grouped", random, func(r *Row) int { return int(md5.Sum([]byte(group(r)))[2]) % random }},
		{"leave one task out", len(tasks), func(r *Row) int { return slices.Index(tasks, r.Task) }},
		{"leave one source out", len(sources), func(r *Row) int { return slices.Index(sources, r.Source) }},
	}
}

// group is what rows share that must not be torn apart: the beginning of their text, and with it the passage or the template.
func group(r *Row) string {
	words := strings.Fields(r.Prompt)
	return strings.Join(words[:min(4, len(words))], " ")
}

// Splits trains once for every fold of every split and prints how well the rows that were kept out are ordered, those of LLMRouter by its pair of
// models, the worst split first.
func (e *Eval) Splits(d *Data, o Options) {
	set := Set{Weak: "mistral-7b-instruct-v0.3", Strong: "llama-3.1-nemotron-51b-instruct"}
	all := examplesOf(d, &o, func(*Row) bool { return true })
	type result struct {
		name                      string
		router, heuristic, length float64
		n                         int
	}
	var results []result
	for _, s := range d.splits() {
		var score, heuristic, length, gain []float64
		for k := range s.folds {
			held := func(r *Row) bool {
				return r.Source != Natural && r.Source != Cue && r.Source != Typed && s.fold(r) == k
			}
			var seen []example
			var out []*example
			for i := range all {
				x := &all[i]
				_, ok := set.gain(x.row)
				switch {
				case !held(x.row):
					seen = append(seen, *x)
				case x.row.Source == "llmrouter" && ok:
					out = append(out, x)
				}
			}
			if len(out) == 0 {
				continue
			}
			c := fitExamples(seen, d.Sum, o).Classifier()
			for _, x := range out {
				p := x.row.Read()
				g, _ := set.gain(x.row)
				score, heuristic = append(score, c.Classify(p).Gain), append(heuristic, x.sketch.Heuristic.Gain)
				length, gain = append(length, float64(len(p.Text))), append(gain, g)
			}
		}
		rng := e.rng()
		results = append(results, result{s.name, Fine(score, gain, rng), Fine(heuristic, gain, rng), Fine(length, gain, rng), len(gain)})
	}
	slices.SortFunc(results, func(a, b result) int {
		if a.router < b.router {
			return -1
		}
		return 1
	})
	fmt.Fprintf(e.Out, "\nLLMRouter, all rows, each by a model that has not seen it; the worst split first\n%-22s %8s %8s %10s %8s\n", "split", "prompts", "router", "heuristic", "length")
	for _, r := range results {
		fmt.Fprintf(e.Out, "%-22s %8d %8.3f %10.3f %8.3f\n", r.name, r.n, r.router, r.heuristic, r.length)
	}
}

// examplesOf reads the rows that teach something.
func examplesOf(d *Data, o *Options, keep func(*Row) bool) []example {
	var rows []*Row
	for _, set := range [][]Row{d.Gain, d.Class, d.Cues, d.Typed, d.Natural} {
		for i := range set {
			if r := &set[i]; keep(r) && o.teaches(r) {
				rows = append(rows, r)
			}
		}
	}
	return sketches(rows, func(r *Row) router.Prompt {
		if r.Prompt4 != "" {
			return r.read(r.Prompt4)
		}
		return r.Read()
	}, o)
}
