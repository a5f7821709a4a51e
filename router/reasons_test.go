package router

import (
	"math"
	"strings"
	"testing"
)

// What a classification comes with is what Why says, but for the words.
func TestReasons(t *testing.T) {
	c := NewTrained()
	some := false
	for _, text := range []string{
		"Prove that there are infinitely many primes of the form 4k+3.", "translate to french: good morning", "hi", "",
		"A shop sells 12 apples at 3 for $2.50. How much do 7 cost after a discount of 15 %?",
		"Which of these is a noble gas?\nA) Oxygen\nB) Argon\nC) Nitrogen\nD) Chlorine", "```go\nfunc main() { panic(1) }\n```\nwhy does this crash?",
	} {
		p := Prompt{Text: text}
		var want []Weight
		for _, w := range c.Why(p, math.MaxInt) {
			if !strings.HasPrefix(w.Feature, "word ") {
				want = append(want, w)
			}
		}
		got := c.Classify(p).Reasons
		for i, r := range got {
			if i >= len(want) {
				if r != (Reason{}) {
					t.Errorf("%q: %s %+.4f is in no explanation", text, r.Feature, r.Gain)
				}
				continue
			}
			some = true
			if w := want[i]; r.Feature.String() != w.Feature || math.Abs(float64(r.Gain)-w.Gain) > 1e-5 {
				t.Errorf("%q: %d is %s %+.5f, want %s %+.5f", text, i, r.Feature, r.Gain, w.Feature, w.Gain)
			}
		}
	}
	if !some {
		t.Error("no prompt has a reason")
	}
}
