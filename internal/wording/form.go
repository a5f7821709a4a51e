package wording

import (
	"hash/fnv"
	"slices"
	"strings"
)

// MaxText bounds the texts that have a form, in bytes: a longer one says too much for a few words to make no difference.
const MaxText = 1000

// Form is what a text says, with every word that carries a meaning in its place. Two texts ask the same only if their forms are equal. The zero
// Form is that of a text which has none.
type Form struct{ text string }

// Same reports whether two texts of these forms can be the same question. What has no form is like nothing, itself included.
func (f Form) Same(g Form) bool { return f.text != "" && f.text == g.text }

// Hash is equal for equal forms, and as a rule for no others.
func (f Form) Hash() uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(f.text)) // a hash never fails to write
	return h.Sum64()
}

// Exists reports whether the text has a form.
func (f Form) Exists() bool { return f.text != "" }

// Size is what the form takes, in bytes.
func (f Form) Size() int { return len(f.text) }

// String shows the form: the kind of question, the words of the matter, each phrase.
func (f Form) String() string {
	return strings.NewReplacer(sepWord, " ", sepFlag, "+", sepPhrase, " / ").Replace(f.text)
}

// Separators, which no word holds.
const (
	sepFlag   = "\x1c"
	sepPhrase = "\x1e"
	sepWord   = "\x1f"
)

// Of returns the form of a text. A text that is too long or says nothing has none.
func Of(text string) Form {
	if len(text) > MaxText {
		return Form{}
	}
	words := tokens(text)
	if foreign(words) {
		return verbatim(words)
	}
	about := slices.ContainsFunc(words, func(w word) bool { return wordy[w.text] })
	kind, words := frame(particles(rephrase(words)))
	c := clauses{kind: kind, open: -1, literal: about}
	for i := range words {
		c.add(words, i)
	}
	return c.form()
}

// foreign reports whether a text is in a language that the tables do not know.
func foreign(words []word) bool {
	ours, theirs := 0, 0
	for _, w := range words {
		switch {
		case w.exact:
		case english[w.text]:
			ours++
		case strange[w.text]:
			theirs++
		}
	}
	return theirs > ours
}

// verbatim is the form of a text of which nothing is known but politeness: all its words.
func verbatim(words []word) Form {
	var b strings.Builder
	for _, w := range polite(words) {
		if w.mark == none {
			b.WriteString(sepWord + w.text)
		}
	}
	return Form{b.String()}
}

// clauses sorts the words of a text: the matter itself in its order, and what is said with a preposition, whose order among one another
// does not matter ("from Rome to Paris", "to Paris from Rome").
type clauses struct {
	kind    string
	literal bool // it may be about the words themselves: none stands for another
	past    bool
	modals  []string
	head    []string
	phrases [][]string
	open    int      // the phrase that words belong to; -1 = the head
	owner   []string // whose the words that follow are: France's capital is the capital of France
	said    int      // words
	being   bool     // the last auxiliary was a form of "to be"
	the     bool     // an article said that there is one of it
}

func (c *clauses) add(words []word, i int) {
	w := &words[i]
	ends := i+1 == len(words) || words[i+1].mark == stop
	switch prep := prepositions[w.text]; {
	case w.mark == stop:
		c.close()
	case w.mark == genitive:
	case c.idle(words, i, ends):
		c.the = c.the || w.text == "the"
	case w.exact:
		c.say(w.text)
	case w.text == "was" || w.text == "were" || w.text == "did":
		c.past, c.being = true, w.text != "did"
		c.close()
	case modals[w.text] != "":
		c.modals = append(c.modals, modals[w.text])
		c.close()
	case auxiliaries[w.text] && !(ends && (w.text == "do" || w.text == "does")): // what does it do?
		c.being = w.text != "do" && w.text != "does"
		c.close()
	case prep != "" && !ends:
		c.close()
		c.open, c.phrases = len(c.phrases), append(c.phrases, []string{prep})
	case owns(words, i):
		c.owner = append(c.owner, w.root(c.literal))
	case w.text == "like" && ends && c.being: // what is it like, what does it like
		c.say("alike")
	default:
		c.say(w.root(c.literal))
	}
}

// owns reports whether the word is, or belongs to the capitalised name that is, whose something is.
func owns(words []word, i int) bool {
	for i++; i < len(words); i++ {
		if words[i].mark == genitive {
			return true
		}
		if !words[i].cap || !words[i-1].cap {
			return false
		}
	}
	return false
}

// idle reports whether the word says nothing where it stands. An article at a clause's end is a name (vitamin a), and so is a letter that tells one of several (hepatitis a symptoms); who asks may be left out, but not where it is
// asked who does something to whom.
func (c *clauses) idle(words []word, i int, ends bool) bool {
	w := &words[i]
	switch {
	case w.exact || w.cap:
		return false
	case articles[w.text]:
		return !ends && !(w.text == "a" && i > 0 && lettered[words[i-1].text])
	case w.text == "i" || w.text == "we":
		return !ends && c.kind != "who" && c.kind != "whom"
	case w.text == "me" || w.text == "us":
		return i > 0 && served[words[i-1].text] && c.kind != "who"
	}
	return fillers[w.text]
}

func (c *clauses) say(s string) {
	c.said++
	if c.open >= 0 {
		c.phrases[c.open] = append(c.phrases[c.open], s)
		return
	}
	c.head = append(c.head, s)
}

// close ends a phrase, and what belongs to somebody.
func (c *clauses) close() {
	if len(c.owner) > 0 {
		c.say("of")
		for _, s := range c.owner {
			c.say(s)
		}
		c.owner = nil
	}
	c.open = -1
}

func (c *clauses) form() Form {
	c.close()
	if len(c.head) == 0 && len(c.phrases) == 0 {
		return Form{}
	}
	var b strings.Builder
	b.WriteString(c.kind)
	if c.the && c.said == 1 { // what is the time, what is time
		b.WriteString(sepFlag + "the")
	}
	if c.past {
		b.WriteString(sepFlag + "past")
	}
	for _, m := range c.modals {
		b.WriteString(sepFlag + m)
	}
	for _, w := range c.head {
		b.WriteString(sepWord + w)
	}
	phrases := make([]string, len(c.phrases))
	for i, p := range c.phrases {
		phrases[i] = strings.Join(p, sepWord)
	}
	slices.Sort(phrases)
	for _, p := range phrases {
		b.WriteString(sepPhrase + p)
	}
	return Form{b.String()}
}
