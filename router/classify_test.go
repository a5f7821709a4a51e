package router

import (
	"bufio"
	"math"
	"os"
	"strings"
	"testing"
)

type sample struct{ side, class, prompt string }

// threshold is by_gain's default: above it a prompt goes to the strong side.
const threshold = 0.12

func lines(t testing.TB, file string) []string {
	t.Helper()
	f, err := os.Open("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if l := sc.Text(); l != "" && l[0] != '#' {
			out = append(out, strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\t`, "\t").Replace(l))
		}
	}
	return out
}

func samples(t testing.TB, file string) []sample {
	var out []sample
	for _, l := range lines(t, file) {
		p := strings.SplitN(l, "|", 3)
		if len(p) != 3 || p[0] != "cheap" && p[0] != "strong" {
			t.Fatalf("bad sample %q", l)
		}
		out = append(out, sample{p[0], p[1], p[2]})
	}
	return out
}

func side(c Class) string {
	if c.Gain > threshold {
		return "strong"
	}
	return "cheap"
}

// The floors are what holds, not what is wished for: the lexicon was written beside the first file and knows it, the second it does not.
func TestClassifyNaturalPrompts(t *testing.T) {
	for _, set := range []struct {
		file                  string
		count                 int
		sideFloor, classFloor float64
	}{{"prompts.txt", 150, .95, .90}, {"prompts_fresh.txt", 28, .78, .45}} {
		n, sides, classes := measure(t, set.file)
		t.Logf("%s: %d prompts, sides %.3f, classes %.3f", set.file, n, sides, classes)
		if n < set.count || sides < set.sideFloor || classes < set.classFloor {
			t.Errorf("want at least %d prompts, sides %.2f, classes %.2f", set.count, set.sideFloor, set.classFloor)
		}
	}
}

func measure(t *testing.T, file string) (n int, onSide, inClass float64) {
	h := NewHeuristic()
	var sides, classes, judged int
	for _, s := range samples(t, file) {
		n++
		c := h.Classify(Prompt{Text: s.prompt, Turns: 1})
		if side(c) == s.side {
			sides++
		} else {
			t.Logf("side: want %s, gain %.3f class %s: %.90q", s.side, c.Gain, c.Name, s.prompt)
		}
		if s.class == "-" {
			continue
		}
		judged++
		if c.Name == s.class {
			classes++
		} else {
			t.Logf("class: want %s, got %s (%.2f), gain %.3f: %.90q", s.class, c.Name, c.Prob(c.Name), c.Gain, s.prompt)
		}
	}
	return n, float64(sides) / float64(n), float64(classes) / float64(judged)
}

func TestClassifyIsFinite(t *testing.T) {
	h := NewHeuristic()
	for _, s := range []string{"", " ", "\x00", "\xff\xfe", "'", "```", strings.Repeat("prove ", 5000), strings.Repeat("你", 9000), strings.Repeat("a", 1<<16), "?!?!", "😀😀"} {
		checkClass(t, h.Classify(Prompt{Text: s}))
	}
}

func checkClass(t *testing.T, c Class) {
	t.Helper()
	var sum float64
	for _, p := range c.P {
		if !(p >= 0 && p <= 1) {
			t.Fatalf("probability %v", p)
		}
		sum += p
	}
	if math.Abs(sum-1) > 1e-9 || !(c.Gain >= -1 && c.Gain <= 1) || !(c.Novelty >= 0 && c.Novelty <= 1) || c.Prob(c.Name) == 0 {
		t.Fatalf("sum %v, %+v", sum, c)
	}
}
