package router

import (
	"cmp"
	"math"
	"slices"
	"strconv"
)

// Weight is what one feature of a prompt says of its gain.
type Weight struct {
	Feature string  // word "deadlock", lexicon: proof, length …
	Gain    float64 // its share of the gain, above or below that of an average prompt
}

// surfaceNames names the surface features as an explanation shows them. Those that bend one curve have one name and are added up.
var surfaceNames = [numSurface]string{
	surfBytes: "length", surfBytesOver60: "length", surfBytesOver150: "length", surfBytesOver400: "length", surfBytesOver1000: "length", surfBytesOver3000: "length",
	surfWords: "length", surfFewWords: "few words", surfSentences: "sentences", surfSentenceLength: "length of sentences", surfLines: "lines",
	surfLineLength: "length of lines", surfWordLength: "length of words", surfDigits: "digits", surfDigitShare: "digits", surfNumbers: "numbers",
	surfNumbersOver2: "numbers", surfNumbersOver5: "numbers", surfNumberShare: "numbers", surfLongNumbers: "long numbers", surfDecimals: "decimals",
	surfLargest: "largest number", surfUpperShare: "capitals", surfWideShare: "characters beyond ASCII", surfCommas: "commas", surfCommaShare: "commas",
	surfAsks: "question marks", surfAsked: "question marks", surfBangs: "exclamation marks", surfQuotes: "quotes", surfParens: "parentheses",
	surfBraces: "braces", surfMaths: "marks of mathematics", surfMathShare: "marks of mathematics", surfDollars: "dollar signs",
	surfBackslashes: "backslashes", surfMarks: "marks", surfOptions: "answer options", surfChoice: "answer options", surfStem: "length of the stem",
	surfOptionLength: "length of options", surfCode: "marks of code", surfLatex: "LaTeX", surfFormula: "formulas", surfLog: "marks of logs",
	surfIndent: "indented lines", surfVariety: "variety of words", surfTurns: "turns", surfTools: "tools", surfImages: "images", surfJSON: "JSON asked for",
	surfExact: "numbers in options",
}

// Why returns the features that say most of a prompt's gain, the largest first, at most n. Where the text is new to the model, the gain leans
// on the class table and the heuristic, and the features say as much less. It allocates; Classify does not.
func (t *Trained) Why(p Prompt, n int) []Weight {
	r := new(reading)
	m := t.model
	r.reset(m.table)
	r.read(t.heuristic, &p)
	if r.grams.said == 0 {
		return nil
	}
	var z [numDense]float32
	m.normalise(&r.dense, &z)
	c := t.judge(r)
	counts := m.learnedShare(r.kind, c.Novelty)
	sums := map[string]float64{}
	for i, x := range z {
		if name := denseName(i); name != "" {
			sums[name] += counts * float64(m.HeadDense[r.kind][i]*x)
		}
	}
	norm := r.grams.norms()[gramWord]
	unit := counts * norm * float64(m.HeadUnit[r.kind][gramWord])
	for from := 0; ; {
		k, start, end := nextToken(p.Text, from)
		if k == 0 {
			break
		}
		from = end
		w := p.Text[start:end]
		if w[0] >= '0' && w[0] <= '9' {
			continue
		}
		f := hashed(gramWord, k)
		if m.table.own(f) {
			sums["word "+strconv.Quote(w)] = unit * float64(m.table.row(f.row()).head(r.kind))
		}
	}
	all := make([]Weight, 0, len(sums))
	for name, g := range sums {
		if math.Abs(g) >= .0005 {
			all = append(all, Weight{name, g})
		}
	}
	slices.SortFunc(all, func(a, b Weight) int {
		return cmp.Or(cmp.Compare(math.Abs(b.Gain), math.Abs(a.Gain)), cmp.Compare(a.Feature, b.Feature))
	})
	return all[:min(n, len(all))]
}

// denseName names a dense feature; "" for the heuristic's own opinion of the class, which is not a feature of the text.
func denseName(i int) string {
	switch {
	case i < numSurface:
		return surfaceNames[i]
	case i < denseProb:
		return "lexicon: " + lexicon[i-denseLexicon].name
	case i == denseGain:
		return "heuristic"
	}
	return ""
}
