package wording

import (
	"slices"
	"strings"
)

// rephrase writes fixed expressions in the one way that stands for all of them.
func rephrase(words []word) []word {
	for i := 0; i < len(words); i++ {
		for _, e := range expressions[words[i].text] {
			if n := begin(words[i:], e.is); n > 0 {
				words = slices.Replace(words, i, i+n, spelt(e.stands)...)
				break
			}
		}
	}
	return words
}

// begin returns how many words the expression takes at their beginning, 0 when it does not stand there.
func begin(words []word, e []string) int {
	if len(words) < len(e) {
		return 0
	}
	for i, s := range e {
		if w := &words[i]; w.exact || w.cap || w.mark != none || w.text != s {
			return 0
		}
	}
	return len(e)
}

func spelt(texts []string) []word {
	out := make([]word, len(texts))
	for i, s := range texts {
		out[i].text = s
	}
	return out
}

// particles joins a verb with the little word that makes another verb of it, wherever that stands: turn the light off, turn off the light.
func particles(words []word) []word {
	for i := 0; i+1 < len(words); i++ {
		if !separable[words[i].text] || words[i].exact {
			continue
		}
		for j := i + 1; j < len(words) && j < i+7 && words[j].mark != stop; j++ {
			last := j+1 == len(words) || words[j+1].mark == stop || prepositions[words[j+1].text] != ""
			if p := &words[j]; partnered[p.text] && !p.exact && (j == i+1 || last) {
				words[i] = word{text: words[i].text + "+" + p.text, exact: true}
				words = slices.Delete(words, j, j+1)
				break
			}
		}
	}
	return words
}

// frame takes the frame of a question away from its matter: politeness, and the words that only say what is asked for. The kind of question that
// they make is what is left of them.
func frame(words []word) (kind string, rest []word) {
	lead, words := adverbial(polite(words))
	kind, words = asked(words)
	if len(lead) > 0 {
		words = append(append(slices.Clone(words), word{mark: stop}), lead...)
	}
	return kind, words
}

// polite drops what is said before and after a question and is no part of it.
func polite(words []word) []word {
	words = trimmed(words)
	for again := true; again; {
		again = false
		for _, p := range prefaces {
			if n := begin(words, p); n > 0 && n < len(words) {
				words, again = unstopped(words[n:]), true
				break
			}
		}
	}
	return words
}

// adverbial takes what stands before the question and its comma: "In Python, how do I …".
func adverbial(words []word) (lead, rest []word) {
	if len(words) == 0 || prepositions[words[0].text] == "" || words[0].exact || words[0].cap {
		return nil, words
	}
	i := slices.IndexFunc(words, func(w word) bool {
		return w.mark == stop || !w.exact && !w.cap && (questions[w.text] || w.text == "what" || w.text == "which")
	})
	if i <= 1 || i > 6 || i == len(words) {
		return nil, words
	}
	return words[:i], unstopped(words[i:])
}

// trimmed drops politeness at the end.
func trimmed(words []word) []word {
	for {
		for len(words) > 0 && words[len(words)-1].mark == stop {
			words = words[:len(words)-1]
		}
		n := len(words)
		for _, p := range farewells {
			if n > len(p) && begin(words[n-len(p):], p) > 0 {
				words = words[:n-len(p)]
				break
			}
		}
		if len(words) == n {
			return words
		}
	}
}

func unstopped(words []word) []word {
	for len(words) > 0 && words[0].mark == stop {
		words = words[1:]
	}
	return words
}

// asked finds the kind of question.
func asked(words []word) (kind string, rest []word) {
	first := func(i int) string {
		if i < len(words) && !words[i].exact && !words[i].cap {
			return words[i].text
		}
		return ""
	}
	switch w := first(0); {
	case w == "what" || w == "which":
		return priced(meant("what", words[1:]))
	case w == "how":
		if n := manner(words[1:]); n > 0 {
			return "how", words[1+n:]
		}
		return priced("how", words[1:])
	case questions[w]:
		if last := words[len(words)-1].text; w == "where" && len(words) > 2 && (last == "located" || last == "situated") {
			words = words[:len(words)-1]
		}
		return w, words[1:]
	case auxiliaries[w] || w == "was" || w == "were" || w == "did" || modals[w] != "" || w == "have" || w == "has":
		return "whether", words
	case w == "tell" || w == "give" || w == "show":
		return told(words, first)
	case w == "explain" || w == "describe":
		switch next := first(1); {
		case next == "what" || next == "how" || questions[next]:
			return asked(words[1:])
		case next != "the" && len(words) > 1:
			return "what", words[1:]
		}
	}
	return "", words
}

// told is what follows "tell me": a question, a thing that there is one of, or anything.
func told(words []word, first func(int) string) (kind string, rest []word) {
	n := 1
	if w := first(1); w == "me" || w == "us" {
		n = 2
	}
	switch w := first(n); {
	case n == len(words):
		return "", words
	case w == "what" || w == "which" || w == "how" || questions[w]:
		return asked(words[n:])
	case w == "the" || w == "my", owns(words, n):
		return "what", words[n:]
	case w == "about":
		return "about", words[n+1:]
	case w == "summarize" || articles[w] && first(n+1) == "summarize":
		return "", words[n:]
	}
	return "give", words[n:]
}

// manner returns how many words after "how" ask for the way to do something, whoever does it.
func manner(words []word) int {
	for _, m := range manners {
		if n := begin(words, m); n > 0 && n < len(words) {
			return n
		}
	}
	return 0
}

// meant turns "what does X mean" into "what is the meaning of X".
func meant(kind string, words []word) (string, []word) {
	n := len(words)
	if n > 2 && words[0].text == "does" && words[n-1].text == "mean" {
		return kind, append(spelt([]string{"meaning", "of"}), words[1:n-1]...)
	}
	return kind, words
}

// priced turns "how much does X cost" and "how much is X" into "what is the price of X".
func priced(kind string, words []word) (string, []word) {
	n := len(words)
	if kind != "how" || n < 3 || words[0].text != "much" {
		return kind, words
	}
	cost := slices.IndexFunc(words, func(w word) bool { return w.text == "cost" })
	switch aux := words[1].text; {
	case (aux == "does" || aux == "do") && cost > 2 && (cost == n-1 || prepositions[words[cost+1].text] != ""):
		return "what", slices.Concat(spelt([]string{"price", "of"}), words[2:cost], words[cost+1:])
	case aux == "is" || aux == "are":
		return "what", append(spelt([]string{"price", "of"}), words[2:]...)
	}
	return kind, words
}

// root is the word without its inflection, by the one name of what means the same, unless the word itself is literally meant.
func (w *word) root(literal bool) string {
	switch {
	case w.exact:
		return w.text
	case literal:
		return inflected(w.text)
	}
	if one := synonyms[w.text]; one != "" {
		return one
	}
	return alike(inflected(w.text))
}

// alike returns the one name of a word's like.
func alike(s string) string {
	if one := synonyms[s]; one != "" {
		return one
	}
	return s
}

// inflected strips a plural's or a third person's s, and -ing. The past stays: it is another question.
func inflected(s string) string {
	n := len(s)
	switch {
	case n < 4 || stiff[s]:
	case strings.HasSuffix(s, "ies") && n > 4:
		return s[:n-3] + "y"
	case strings.HasSuffix(s, "sses"), strings.HasSuffix(s, "shes"), strings.HasSuffix(s, "ches"), strings.HasSuffix(s, "xes"):
		return s[:n-2]
	case strings.HasSuffix(s, "s") && !strings.HasSuffix(s, "ss") && !strings.HasSuffix(s, "us") && !strings.HasSuffix(s, "is"):
		return s[:n-1]
	case strings.HasSuffix(s, "ing") && n > 5:
		return infinitive(s[:n-3])
	}
	return s
}

// infinitive undoes what -ing does to a verb's end: making, running.
func infinitive(s string) string {
	n := len(s)
	if n < 3 {
		return s + "ing"
	}
	vowel := func(c byte) bool { return strings.IndexByte("aeiou", c) >= 0 }
	switch a, b, c := s[n-3], s[n-2], s[n-1]; {
	case !strings.ContainsAny(s, "aeiouy"):
		return s + "ing"
	case b == c && strings.IndexByte("lsz", c) < 0 && !vowel(c):
		return s[:n-1]
	case !vowel(a) && vowel(b) && !vowel(c) && strings.IndexByte("wxy", c) < 0:
		return s + "e"
	}
	return s
}
