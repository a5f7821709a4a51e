package router

import "unicode/utf8"

// scan collects evidence from a text in one pass.
type scan struct {
	table *Heuristic
	total int // length of the whole text, for what counts as its ends

	said, meta [numGroups]float64 // evidence of sentences about the task, and of those about the router
	sentence   [numGroups]float64
	isMeta     bool
	tail       [maxPhrase - 1]uint64 // the last one, two, … tokens of the sentence, where a phrase of the lexicon begins so; else 0
	any        bool                  // the sentence has a token

	words, known, numbers                 int
	code, braces, formula, latex, log     int
	options, questions, lineStart, indent int
	fence                                 bool
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

// text reads one stretch that starts at offset base of the whole.
func (s *scan) text(t string, base int) {
	s.lineStart = 0
	for i := 0; i < len(t); {
		k, start, end := nextToken(t, i)
		s.surface(t, i, start)
		if k == 0 {
			break
		}
		s.token(t, k, start, end, base+start)
		i = end
	}
	s.endSentence()
}

// token books one token and the phrases that end with it.
func (s *scan) token(t string, k uint64, start, end, pos int) {
	s.words++
	if c := t[start]; c >= '0' && c <= '9' {
		s.known++
		if !s.fence && !(start > 0 && t[start-1] == '.') {
			s.numbers++
		}
	}
	place := 1.0
	if s.total > endsAfter && pos > headBytes && pos < s.total-tailBytes {
		place = inMiddle
	}
	known, more := s.book(k, place)
	for n := maxPhrase - 2; n >= 0; n-- {
		if s.tail[n] == 0 {
			continue
		}
		phrase := join(s.tail[n], k)
		hit, begins := s.book(phrase, place)
		known = known || hit
		if n+1 < len(s.tail) {
			s.tail[n+1] = 0
			if begins {
				s.tail[n+1] = phrase
			}
		}
		s.tail[n] = 0
	}
	s.tail[0], s.any = 0, true
	if more {
		s.tail[0] = k
	}
	if known {
		s.known++
	}
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

// book counts what the lexicon says of a token or phrase. begins says that a longer phrase begins with it.
func (s *scan) book(k uint64, place float64) (known, begins bool) {
	e := s.table.find(k)
	if e == nil {
		return false, false
	}
	for _, g := range e.groups {
		if g == noGroup {
			break
		}
		known = true
		w := 1.0
		if lexicon[g].task {
			w = place
		}
		if s.fence && g != gDebug {
			w *= inFence
		}
		if g == gMeta {
			s.isMeta = true
		}
		s.sentence[g] += w
	}
	return known, e.begins
}

// surface reads what stands between tokens, from i up to end: marks of code, formulas, logs, options and the ends of sentences.
func (s *scan) surface(t string, i, end int) {
	for ; i < end; i++ {
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
				i += 2
			} else {
				s.code++
			}
		case '=':
			if next == '=' || next == '>' {
				s.code++
				i++
			} else {
				s.formula++
			}
		case '-', ':', '&', '|', '/':
			s.pairMark(t, i, c, next)
		case 0xE2, 0xE3, 0xEF:
			s.wideMark(t[i:end])
		default:
			s.mark(t, i, c, next)
		}
	}
}

// stop reads what may end a sentence.
func (s *scan) stop(t string, i int, c, next byte) {
	if c == '\n' {
		s.lineStart = i + 1
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
			s.sentence[gMathWord]++
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
	case c == ':' && digitNext && i > 0 && t[i-1] != ' ':
		s.log++
	}
}

// wideMark reads the ends of sentences in Chinese and Japanese, and mathematical signs.
func (s *scan) wideMark(t string) {
	switch r, _ := utf8.DecodeRuneInString(t); {
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
		s.options++
	}
}

// endSentence books the sentence: a sentence about the router counts apart.
func (s *scan) endSentence() {
	if !s.any {
		return
	}
	into := &s.said
	if s.isMeta {
		into = &s.meta
	}
	for g, v := range s.sentence {
		if v != 0 {
			into[g] += v
		}
	}
	clear(s.sentence[:])
	s.isMeta, s.any, s.tail = false, false, [maxPhrase - 1]uint64{}
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
	h[gMeta], h[gCommon] = 0, 0
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
