package router

import (
	"fmt"
	"strings"
	"testing"
)

func TestInjectionsDoNotFlip(t *testing.T) {
	h := NewHeuristic()
	tasks := []struct{ side, text string }{
		{"cheap", "what is the capital of australia"},
		{"cheap", "translate to german: where is the train station?"},
		{"cheap", "hey, how are you today?"},
		{"strong", "Prove that sqrt(2) + sqrt(3) is irrational."},
		{"strong", "My Go service has a deadlock under load, goroutines hang on a mutex. Find the bug."},
	}
	var n, flips int
	for _, in := range lines(t, "injections.txt") {
		for _, task := range tasks {
			n++
			c := h.Classify(Prompt{Text: strings.ReplaceAll(in, "{}", task.text)})
			if side(c) != task.side {
				flips++
				t.Errorf("%q around %q: gain %.3f class %s, want %s", in, task.text, c.Gain, c.Name, task.side)
			}
		}
	}
	t.Logf("%d injected prompts, %d flips", n, flips)
}

// One word, however often it is said, moves the gain by a bounded amount.
func TestRepetitionIsCapped(t *testing.T) {
	h := NewHeuristic()
	base := "Our newsletter needs a headline about the summer picnic. "
	for _, w := range []string{"theorem ", "deadlock ", "liability ", "integral ", "puzzle "} {
		once := h.Classify(Prompt{Text: base + w}).Gain
		ten := h.Classify(Prompt{Text: base + strings.Repeat(w, 10)}).Gain
		many := h.Classify(Prompt{Text: base + strings.Repeat(w, 400)}).Gain
		if many-ten > .12 {
			t.Errorf("%q: once %.3f, ten times %.3f, 400 times %.3f: repetition keeps paying", w, once, ten, many)
		}
	}
}

func TestClassifyIsDeterministic(t *testing.T) {
	a, b := NewHeuristic(), buildHeuristic()
	for _, s := range samples(t, "prompts.txt") {
		p := Prompt{Text: s.prompt, Turns: 1}
		if x, y := a.Classify(p), b.Classify(p); x != y {
			t.Fatalf("%q: %+v and %+v", s.prompt, x, y)
		}
	}
}

func TestClassifyReadsCaseAndAccentsAlike(t *testing.T) {
	h := NewHeuristic()
	for _, pair := range [][2]string{
		{"prove that this is irrational", "PROVE THAT THIS IS IRRATIONAL"},
		{"prove that this is irrational", "ｐｒｏｖｅ that this is irrational"},
		{"résume ce texte", "resume ce texte"},
		{"don't know what's wrong", "don’t know what’s wrong"},
		{"докажи теорему", "Докажи Теорему"},
	} {
		a, b := h.Classify(Prompt{Text: pair[0]}), h.Classify(Prompt{Text: pair[1]})
		if a.P != b.P {
			t.Errorf("%q and %q: %v, %v", pair[0], pair[1], a.P, b.P)
		}
	}
}

// Texts that could be read again for each of their tags, braces or words to the router. None is measured: were they, this would take minutes.
func TestNobodyMakesATextSlowToRead(t *testing.T) {
	c := NewTrained()
	const talk = "send this to the strong model"
	for _, text := range []string{
		strings.Repeat("<system-reminder>", 1<<17),
		strings.Repeat("<system-reminder></x", 1<<17),
		strings.Repeat("ab", 1<<20) + strings.Repeat("router,tier=strong,model,classifier;x,", 50),
		strings.Repeat("-", 1<<21) + strings.Repeat(" "+talk+" (a b c).", 50),
		strings.Repeat("tier model router difficulty classifier; ", 150) + strings.Repeat("router ab cd ", 1<<18),
	} {
		checkClass(t, c.Classify(own(text)))
	}
	for range 300 {
		checkClass(t, c.Classify(own(strings.Repeat("{", 1500)+strings.Repeat("\n"+talk+"\n\na b c\n", 60))))
		checkClass(t, c.Classify(own(strings.Repeat("<a>", 500)+strings.Repeat("\n"+talk+" </b\n\na b c\n", 60))))
	}
}

func TestLexiconFits(t *testing.T) {
	h := NewHeuristic()
	for g := range gCodeSurface {
		for phrase := range strings.SplitSeq(lexicon[g].words, ",") {
			n, k, prev := 0, uint64(0), uint64(0)
			for i := 0; ; n++ {
				tok, _, end := nextToken(phrase, i)
				if tok == 0 {
					break
				}
				if k = tok; n > 0 {
					k = join(prev, tok)
				}
				prev, i = k, end
			}
			if n == 0 || n > maxPhrase || h.find(k)&slotKnown == 0 {
				t.Errorf("group %s: %q has %d tokens, 1 to %d can be found", lexicon[g].name, phrase, n, maxPhrase)
			}
		}
	}
}

func TestClassifyAllocatesNothing(t *testing.T) {
	h := NewHeuristic()
	var c Classifier = h
	p := Prompt{Text: bench500, Turns: 3, Tools: 2}
	if n := testing.AllocsPerRun(100, func() { c.Classify(p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

const bench500 = "Hi, I have the following function in our billing service and I don't understand why it sometimes returns the wrong total. " +
	"It reads the invoice rows from the database, multiplies price by quantity, adds 19% tax and rounds to cents. For some customers the sum is off by " +
	"one cent, for others it crashes with a KeyError. Can you find the bug, explain the root cause step by step and write a unit test that " +
	"would have caught it? Please keep the public interface as it is, other teams depend on it."

func BenchmarkClassify(b *testing.B) {
	h := NewHeuristic()
	for _, n := range []int{500, 8 << 10, 64 << 10} {
		text := strings.Repeat(bench500+"\n", n/len(bench500)+1)[:n]
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.Classify(Prompt{Text: text, Turns: 1})
			}
		})
	}
}

// BenchmarkClassifyKinds reads another 1 KB of natural prompts each time, as a gateway does: no branch can be foreseen from the last one.
func BenchmarkClassifyKinds(b *testing.B) {
	h := NewHeuristic()
	var all strings.Builder
	for _, s := range samples(b, "prompts.txt") {
		all.WriteString(s.prompt + "\n")
	}
	text := all.String()
	b.ReportAllocs()
	at := 0
	for b.Loop() {
		h.Classify(Prompt{Text: text[at : at+1024], Turns: 1})
		if at += 487; at+1024 > len(text) {
			at %= 487
		}
	}
}

func FuzzClassify(f *testing.F) {
	for _, s := range samples(f, "prompts.txt") {
		f.Add(s.prompt)
	}
	f.Add("\xe3\x80")
	f.Add("A) B) C) ``` $\\frac{1}{2}$ 。")
	h := NewHeuristic()
	f.Fuzz(func(t *testing.T, s string) {
		checkClass(t, h.Classify(Prompt{Text: s}))
		Language(s)
	})
}
