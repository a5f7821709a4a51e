package train

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/router"
)

// An order by the gain itself is the best there is, the reverse the worst, and chance is in the middle: .5 by either protocol.
func TestOrdersAreMeasured(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	n := 2000
	gain, chance, reverse := make([]float64, n), make([]float64, n), make([]float64, n)
	for i := range gain {
		gain[i] = float64(i % 2)
		chance[i], reverse[i] = rng.Float64(), -gain[i]
	}
	for _, tt := range []struct {
		name  string
		score []float64
		want  float64
	}{{"gain", gain, .75}, {"chance", chance, .5}, {"reverse", reverse, .25}} {
		if got := Fine(tt.score, gain, rng); math.Abs(got-tt.want) > .02 {
			t.Errorf("by %s: APGR %.3f, want %.2f", tt.name, got, tt.want)
		}
	}
	if got := RouteLLM(chance, gain); math.Abs(got-.5) > .02 {
		t.Errorf("by chance: RouteLLM's APGR %.3f", got)
	}
	if got := CPT(chance, gain, .8); math.Abs(got-.8) > .03 {
		t.Errorf("by chance: CPT80 %.3f", got)
	}
}

func TestReliability(t *testing.T) {
	bins, ece := reliability([]float64{.95, .95, .55, .55}, []bool{true, true, true, false})
	if bins[9].n != 2 || bins[5].right != 1 || math.Abs(ece-.05) > 1e-9 {
		t.Errorf("%+v, error %.3f", bins, ece)
	}
	var b strings.Builder
	if err := Diagram(&b, bins); err != nil || !strings.HasSuffix(b.String(), "</svg>\n") {
		t.Errorf("%v %s", err, b.String())
	}
}

// The report is the same every time, and holds what the issue of the router asks for.
func TestEvalPrints(t *testing.T) {
	d := load(t)
	report := func() string {
		var b strings.Builder
		e := &Eval{Classifier: router.NewTrained(), Prior: Prior(), Seed: 1, Out: &b}
		for _, s := range d.Sets() {
			s.Rows = s.Rows[:min(len(s.Rows), 40)]
			e.Gain(&s)
		}
		natural := d.Sets()[6].Rows[:40]
		e.Classes("natural", natural)
		e.Noise(natural)
		e.Gadgets("caps", natural)
		return b.String()
	}
	got := report()
	for _, want := range []string{"MMLU-Pro", "LLMRouter", "GSM8K", "length", "class table", "oracle", "CPT80", "macro-F1", "expected calibration error", "paraphrase", "strong calls x"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in the report:\n%s", want, got)
		}
	}
	if again := report(); again != got {
		t.Error("the same rows and seed give another report")
	}
}

func TestSplitsKeepWhatTheySay(t *testing.T) {
	d := load(t)
	for _, s := range d.splits() {
		folds := make([]int, s.folds)
		groups := map[string]int{}
		for i := range d.Gain {
			r := &d.Gain[i]
			k := s.fold(r)
			if k < 0 {
				continue
			}
			folds[k]++
			if at, ok := groups[group(r)]; ok && s.name == "grouped" && at != k {
				t.Fatalf("%s: a group is in folds %d and %d", s.name, at, k)
			}
			groups[group(r)] = k
		}
		for k, n := range folds {
			if n == 0 {
				t.Errorf("%s: fold %d is empty", s.name, k)
			}
		}
	}
}

func TestCuesAreRead(t *testing.T) {
	rows, err := Cues([]byte("# about\ncreative | a {n} on {t} | poem, song\nsubject | | rain, snow\n"), 1)
	if err != nil || len(rows) != 2 || rows[0].Class != "creative" || !strings.HasPrefix(rows[0].Prompt, "a poem on ") {
		t.Errorf("%v %+v", err, rows)
	}
	for _, bad := range []string{"creative | x\nsubject | | a\n", "nothing | {n} | x\nsubject | | a\n", "creative | {n} | x\n"} {
		if _, err := Cues([]byte(bad), 1); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestRowsSayWhereTheyAreWrong(t *testing.T) {
	for in, want := range map[string]string{
		"{}": "x:1: neither", `{"prompt":"a"}` + "\n" + `{"prompt":"a","class":"no"}`: "x:2: no class", "{": "x:1: ",
	} {
		if _, err := Rows("x", strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestTypedPromptsAreRead(t *testing.T) {
	const pasted = "== material\na mail\n== quote\n\"a word\"\n"
	rows, err := typedPrompts([]byte("# about\n== summarization easy\nshort: {m}\nwhat now\n\n"+pasted), 1)
	if err != nil || len(rows) != readings+1 || rows[0].Prompt != "short: a mail" || rows[0].Class != "summarization" || rows[readings].Band != "easy" {
		t.Errorf("%v %+v", err, rows)
	}
	var share float64
	for _, r := range rows {
		share += r.share
	}
	if math.Abs(share-2) > 1e-9 {
		t.Errorf("two prompts weigh %v", share)
	}
	for _, bad := range []string{"no heading\n" + pasted, "== nothing easy\nx\n" + pasted, "== code soon\nx\n" + pasted, "== code easy\nx\n"} {
		if _, err := typedPrompts([]byte(bad), 1); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// Scores that promise too much, and one class that is said too seldom, are set right.
func TestCalibrationFindsWhatWasSpoilt(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	var h heldOut
	for range 3000 {
		var score classRow
		truth := calibration{sharpness: 1}
		for k := range score {
			score[k] = float32(2 * rng.NormFloat64())
		}
		p := truth.probabilities(&score)
		u, class := rng.Float64(), 0
		for class < len(p)-1 && u > p[class] {
			u -= p[class]
			class++
		}
		for k := range score {
			score[k] *= 2
		}
		score[3] -= 1
		h.score, h.class = append(h.score, score), append(h.class, class)
	}
	c := h.calibrate()
	if math.Abs(c.sharpness-.5) > .06 || c.shift[3] < .2 {
		t.Errorf("sharpness %.3f, shift of the class that is said too seldom %.3f", c.sharpness, c.shift[3])
	}
}
