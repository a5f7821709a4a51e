package router

import (
	"math/bits"
	"slices"
	"unicode/utf8"
)

// scan collects evidence from a text in one pass.
type scan struct {
	table             *Heuristic
	grams             *grams // nil: words and marks are read, hashed features are not collected
	total             int    // length of the whole text, for what counts as its ends
	base              int    // where the stretch begins that is being read
	middle, middleEnd int    // where the stretch is not near the ends of the whole, so that grams reads single words of it
	talk              asides // where phrases to the router end
	tally             tally

	said, meta [numGroups]float64 // evidence of sentences about the task, and of those about the router
	sentence   [numGroups]float64
	touched    uint64 // the groups of the sentence that are not zero, as bits
	isMeta     bool
	any        bool                  // the sentence has a token
	open       uint8                 // which entries of tail count, as bits
	tail       [maxPhrase - 1]uint64 // the last one, two, … tokens of the sentence, where a phrase of the lexicon begins so

	words, known, numbers, sentences, lines int
	code, braces, formula, latex, log       int
	options, questions, lineStart, indent   int
	firstOption                             int // where the first of the options stands
	fence                                   bool
}

// maxPhrase is how many tokens a phrase of the lexicon may have.
const maxPhrase = 5

// Weights of a word by where it stands.
const (
	inMiddle  = .35 // of a long text: a task word there is rather material
	inFence   = .3
	endsAfter = 600 // bytes: a text has ends and a middle
	headBytes = 250
	tailBytes = 220
)

// Kinds of bytes, as the scan meets them between tokens.
const (
	kindBlank  = iota // says nothing
	kindLetter        // of ASCII, as the digits are
	kindDigit
	kindMark
	kindWide // a character beyond ASCII
)

// byteKinds tells the kind of every byte.
var byteKinds = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c >= utf8.RuneSelf:
			t[c] = kindWide
		case asciiFold[c] >= 'a':
			t[c] = kindLetter
		case asciiFold[c] != 0:
			t[c] = kindDigit
		}
	}
	for _, c := range []byte("\n.!?)`=-:&|/{};(\\^%+*$") {
		t[c] = kindMark
	}
	return t
}()

// text reads one stretch that starts at offset base of the whole.
func (s *scan) text(t string, base int) {
	s.lineStart, s.base = 0, base
	s.middle, s.middleEnd = 0, 0
	if g := s.grams; g != nil {
		s.middle, s.middleEnd = endBytes-base, g.lastFrom-base
	}
	for i := 0; i < len(t); {
		switch c := t[i]; byteKinds[c] {
		case kindBlank:
			s.tally.count(c)
			i++
		case kindMark:
			for end := s.surface(t, i); i < end; i++ {
				s.tally.count(t[i])
			}
		case kindWide:
			i = s.wide(t, i)
		case kindLetter:
			var other bool
			if i, other = s.letters(t, i); !other {
				break
			}
			fallthrough
		case kindDigit:
			k, end, name := wordAt(t, i, &s.tally)
			s.token(t, k, i, end)
			if name {
				s.name(t, i, end)
			}
			i = end
		}
	}
	s.endSentence()
}

// wide reads what begins at i with a character beyond ASCII.
func (s *scan) wide(t string, i int) (end int) {
	if r, n := wideAt(t, i); alone(r) {
		end = i + n
		s.token(t, mix(fnvOffset^uint64(r)), i, end)
		if end < len(t) && t[end] == '_' {
			s.code++
		}
		s.tally[tallyWide] += n
		return end
	}
	k, end := tokenAt(t, i)
	if k == 0 {
		s.wideMark(t, i)
	} else {
		s.token(t, k, i, end)
		s.name(t, i, end)
	}
	s.tally.add(t[i:end])
	return end
}

// token books the token t[start:end] and the phrases that end with it.
func (s *scan) token(t string, k uint64, start, end int) {
	e := s.table.find(k)
	open := s.step(e)
	if open != 0 || e&slotGroups != 0 {
		e |= s.says(e, open, k, s.base+start)
	}
	s.count(k, e)
	if c := t[start]; c >= '0' && c <= '9' {
		k = s.number(t, k, start, end)
	}
	if s.grams != nil {
		s.grams.word(k, t, start, end, s.base+start)
	}
}

// step goes on to a token of which the lexicon says e, and returns which of the phrases that are open may go on with it. Few tokens go on with one:
// only those are looked up behind another. Whether one is open cannot be foreseen; whether it goes on, mostly.
func (s *scan) step(e slot) (open uint8) {
	open = s.open & uint8(e>>slotGoesOnFrom)
	s.open = uint8(e >> slotBeginsFrom)
	return open
}

// says books what the lexicon says of a token, and the phrases that end with it. It returns slotKnown if the lexicon has one of these.
func (s *scan) says(e slot, open uint8, k uint64, pos int) slot {
	if e&slotGroups != 0 {
		s.book(e, pos)
	}
	return s.phrases(open, k, pos)
}

// count counts a token; known says whether the lexicon knows it or a phrase that ends with it.
func (s *scan) count(k uint64, known slot) {
	s.tail[0] = k
	s.known += int(uint32(known) >> slotKnownFrom)
	s.words++
	s.any = true
}

// number books a token that begins with a digit, and returns the hash by which it counts.
func (s *scan) number(t string, k uint64, start, end int) uint64 {
	point := start > 0 && t[start-1] == '.'
	s.known++
	if !s.fence && !point {
		s.numbers++
	}
	if s.grams == nil {
		return k
	}
	return s.grams.number(t[start:end], point)
}

// phrases books those of the open phrases that end with a token, and keeps those that may go on. It returns slotKnown if the lexicon has one of them.
func (s *scan) phrases(open uint8, k uint64, pos int) (known slot) {
	for open != 0 { // the longest first
		n := bits.Len8(open) - 1
		open &^= 1 << n
		phrase := join(s.tail[n], k)
		e := s.table.find(phrase)
		known |= e & slotKnown
		if e&slotGroups != 0 {
			s.book(e, pos)
		}
		if e&slotBegins != 0 && n+1 < len(s.tail) {
			s.tail[n+1] = phrase
			s.open |= 1 << (n + 1)
		}
	}
	return known
}

// name counts a token that looks like one of a program's names: with an underscore behind it or a capital within it.
func (s *scan) name(t string, start, end int) {
	if end < len(t) && t[end] == '_' || camel(t[start:end]) {
		s.code++
	}
}

// camel reports a lower-case letter followed by an upper-case one.
func camel(w string) bool {
	for i := 1; i < len(w); i++ {
		if w[i] >= 'A' && w[i] <= 'Z' && w[i-1] >= 'a' && w[i-1] <= 'z' {
			return true
		}
	}
	return false
}

// book counts what the lexicon says of a token or phrase at a place of the whole.
func (s *scan) book(e slot, pos int) {
	place := 1.0
	if s.total > endsAfter && pos > headBytes && pos < s.total-tailBytes {
		place = inMiddle
	}
	for groups := e & slotGroups; groups != 0; groups >>= 8 {
		g := uint8(groups) - 1
		w := 1.0
		if s.table.tasks&(1<<g) != 0 {
			w = place
		}
		if s.fence && g != gDebug {
			w *= inFence
		}
		if g == gMeta || g == gTalk {
			s.isMeta = true
			s.talk.add(pos, g == gTalk)
		}
		s.hit(int(g), w)
	}
}

// hit adds evidence to the sentence.
func (s *scan) hit(g int, w float64) {
	s.sentence[g] += w
	s.touched |= 1 << g
}

// surface reads a mark between tokens: of code, formulas, logs, options and the ends of sentences. It returns where to read on.
func (s *scan) surface(t string, i int) int {
	c := t[i]
	var next byte
	if i+1 < len(t) {
		next = t[i+1]
	}
	switch c {
	case '\n', '.', '!', '?':
		s.stop(t, i, c, next)
	case ')':
		s.option(t, i)
	case '`':
		if next == '`' && i+2 < len(t) && t[i+2] == '`' {
			s.fence = !s.fence
			s.code += 3
			return i + 3
		}
		s.code++
	case '=':
		if next == '=' || next == '>' {
			s.code++
			return i + 2
		}
		s.formula++
	case '-', ':', '&', '|', '/':
		s.pairMark(t, i, c, next)
	default:
		s.mark(t, i, c, next)
	}
	return i + 1
}

// stop reads what may end a sentence.
func (s *scan) stop(t string, i int, c, next byte) {
	if c == '\n' {
		s.lineStart = i + 1
		if next > ' ' {
			s.lines++
		}
		if next == '\t' || next == ' ' && i+2 < len(t) && t[i+2] == ' ' {
			s.indent++
		}
		if !s.fence {
			s.endSentence()
		}
		return
	}
	if c == '?' {
		s.questions++
	}
	s.option(t, i)
	if !s.fence && (next == ' ' || next == '\n' || next == 0) {
		s.endSentence()
	}
}

// mark reads single marks of code and formulas.
func (s *scan) mark(t string, i int, c, next byte) {
	switch c {
	case '{', '}':
		s.braces++
	case ';':
		if next == '\n' || next == 0 {
			s.code += 2
		}
	case '(':
		if next == ')' || i > 0 && t[i-1] < utf8.RuneSelf && asciiFold[t[i-1]] >= 'a' { // a call: prose has a blank there
			s.code++
		}
	case '\\':
		if next >= 'a' && next <= 'z' && next != 'n' && next != 't' {
			s.latex++
		}
	case '^':
		s.formula += 2
	case '%':
		if i > 0 && t[i-1] >= '0' && t[i-1] <= '9' {
			s.hit(gMathWord, 1)
		}
	case '+', '*':
		s.formula++
	case '$':
		if next == '\\' || next >= 'a' && next <= 'z' {
			s.formula++
		}
	}
}

// pairMark reads marks that mean something as a pair: -> :: && || // and the colons of clocks and of file:line.
func (s *scan) pairMark(t string, i int, c, next byte) {
	digitNext := next >= '0' && next <= '9'
	switch {
	case next == c || c == '-' && next == '>':
		if i == 0 || t[i-1] != c && t[i-1] != ':' { // not a rule of dashes and not the slashes of a URL
			s.code++
		}
		if next == '>' {
			if k, start, _ := nextToken(t, i+2); start <= i+3 && slices.Contains(tiers[:], k) {
				s.talk.add(s.base+start, false)
			}
		}
	case c == ':' && digitNext && i > 0 && t[i-1] != ' ':
		s.log++
	}
}

// wideMark reads the ends of sentences in Chinese and Japanese, and mathematical signs.
func (s *scan) wideMark(t string, i int) {
	switch r, _ := utf8.DecodeRuneInString(t[i:]); {
	case r == backwards:
		s.talk.add(s.base+i, false)
	case r == '。' || r == '！':
		s.endSentence()
	case r == '？':
		s.questions++
		s.endSentence()
	case r >= 0x2200 && r <= 0x22FF:
		s.formula += 2
	}
}

// option counts a letter A … E that opens a line or stands in parentheses, as choice questions have them.
func (s *scan) option(t string, i int) {
	if i == 0 || t[i-1] < 'A' || t[i-1] > 'E' {
		return
	}
	if i-1 == s.lineStart || i >= 2 && (t[i-2] == '(' && t[i] == ')' || t[i-2] == ' ' && t[i] == ')') {
		if s.options == 0 {
			s.firstOption = s.base + i - 1
		}
		s.options++
	}
}

// endSentence books the sentence: a sentence about the router counts apart.
func (s *scan) endSentence() {
	if !s.any {
		return
	}
	s.sentences++
	into := &s.said
	if s.isMeta {
		into = &s.meta
	}
	for left := s.touched; left != 0; left &= left - 1 {
		g := bits.TrailingZeros64(left)
		into[g] += s.sentence[g]
		s.sentence[g] = 0
	}
	s.touched, s.isMeta, s.any, s.open = 0, false, false, 0
}

// evidence closes the scan: the hits of every group, words and surface together.
func (s *scan) evidence() [numGroups]float64 {
	h := s.said
	var any float64
	for g := range gCommon {
		any += h[g]
	}
	if any == 0 { // nothing but talk to the router: it is the task then
		h = s.meta
	}
	h[gMeta], h[gTalk], h[gCommon] = 0, 0, 0
	words := float64(s.words)
	if s.latex > 0 {
		s.braces = 0
	}
	if marks := float64(s.code+s.braces) + .5*float64(s.indent); marks >= 2 {
		h[gCodeSurface] = min(3, marks/5)
	}
	if marks := float64(2*s.latex + s.formula); marks >= 2 {
		h[gMathSurface] = min(3, marks/(4+float64(s.code+s.braces)+words/100))
	}
	if s.numbers > 0 {
		h[gNumbers] = min(3, float64(s.numbers)/2/(1+words/100))
	}
	if s.log >= 2 {
		h[gLog] = min(3, float64(s.log)/3)
	}
	if s.options >= 3 {
		h[gOptions] = 1
	}
	if s.questions > 0 {
		h[gQuestion] = 1
	}
	if s.total > 400 {
		h[gLong] = min(3, float64(s.total)/1600)
	}
	switch {
	case s.words <= 3:
		h[gShort] = 1
	case s.words <= 6:
		h[gShort] = .4
	}
	return h
}
