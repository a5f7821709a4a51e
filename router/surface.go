package router

import (
	"math"
	"unicode/utf8"
)

// tally counts bytes by kind. There is room for more kinds than there are: a power of two, so that a mask tells the compiler that a kind is one.
type tally [32]int

// Kinds of bytes that a tally counts.
const (
	tallyDigit = iota
	tallyUpper
	tallyLower
	tallyBlank
	tallyLine
	tallyWide
	tallyComma
	tallyStop
	tallyAsk
	tallyBang
	tallyQuote
	tallyParen
	tallyBrace
	tallyMath
	tallyDollar
	tallyBackslash
	tallyRest
)

// tallyKinds tells the kind that a tally counts a byte as.
var tallyKinds = func() (t [256]uint8) {
	for c := range t {
		t[c] = tallyRest
		switch {
		case c >= utf8.RuneSelf:
			t[c] = tallyWide
		case c >= '0' && c <= '9':
			t[c] = tallyDigit
		case c >= 'a' && c <= 'z':
			t[c] = tallyLower
		case c >= 'A' && c <= 'Z':
			t[c] = tallyUpper
		}
	}
	for kind, set := range map[uint8]string{
		tallyBlank: " \t", tallyLine: "\n", tallyComma: ",", tallyStop: ".", tallyAsk: "?", tallyBang: "!", tallyQuote: `"'`, tallyParen: "()",
		tallyBrace: "{}[];", tallyMath: "+=*^<>|/%", tallyDollar: "$", tallyBackslash: `\`,
	} {
		for _, c := range []byte(set) {
			t[c] = kind
		}
	}
	return t
}()

func (t *tally) count(c byte) { t[tallyKinds[c]&31]++ }

// letters counts n letters, some of them upper case.
func (t *tally) letters(n, upper int) {
	t[tallyUpper] += upper
	t[tallyLower] += n - upper
}

// add counts a text's bytes.
func (t *tally) add(s string) {
	for i := range len(s) {
		t.count(s[i])
	}
}

// numbers are what is known of a text's numbers.
type numbers struct {
	n, long, decimals int
	largest           float64 // of their logarithms
}

// add counts a number of as many digits that begins a word; mid says that it stands behind a decimal point.
func (n *numbers) add(first byte, digits int, mid bool) {
	if mid {
		n.decimals++
		return
	}
	n.n++
	if digits >= 3 {
		n.long++
	}
	if size := float64(digits) - 1 + float64(first-'0')/10; size > n.largest {
		n.largest = size
	}
}

// The surface features: what a text looks like, whatever its words.
const (
	surfBytes = iota
	surfBytesOver60
	surfBytesOver150
	surfBytesOver400
	surfBytesOver1000
	surfBytesOver3000
	surfWords
	surfFewWords
	surfSentences
	surfSentenceLength
	surfLines
	surfLineLength
	surfWordLength
	surfDigits
	surfDigitShare
	surfNumbers
	surfNumbersOver2
	surfNumbersOver5
	surfNumberShare
	surfLongNumbers
	surfDecimals
	surfLargest
	surfUpperShare
	surfWideShare
	surfCommas
	surfCommaShare
	surfAsks
	surfAsked
	surfBangs
	surfQuotes
	surfParens
	surfBraces
	surfMaths
	surfMathShare
	surfDollars
	surfBackslashes
	surfMarks
	surfOptions
	surfChoice
	surfStem
	surfOptionLength
	surfCode
	surfLatex
	surfFormula
	surfLog
	surfIndent
	surfVariety
	surfTurns
	surfTools
	surfImages
	surfJSON
	surfExact // numbers in an option list
	numSurface
)

// The dense features: the surface, what the lexicon found, and what the heuristic makes of it.
const (
	denseLexicon = numSurface
	denseProb    = denseLexicon + numGroups
	denseGain    = denseProb + NumClasses
	numDense     = denseGain + 1
)

// surface fills in the surface features.
func (r *reading) surface(p *Prompt, d *[numDense]float32) {
	t, s, g := &r.scan.tally, &r.scan, &r.grams
	bytes := r.size - t[tallyLine]
	size := float64(bytes)
	words := float64(s.words)
	perWord := 1 / (words + 1)
	perByte := 1 / (size + 1)
	set := func(i int, v float64) { d[i] = float32(v) }
	count := func(i, n int) { d[i] = float32(log1p(n)) }
	logSize := math.Log1p(size)
	set(surfBytes, logSize)
	for i, knot := range [...]float64{4.1, 5, 6, 6.9, 8} {
		set(surfBytesOver60+i, max(0, logSize-knot))
	}
	count(surfWords, s.words)
	set(surfFewWords, max(0, 8-words)/8)
	count(surfSentences, s.sentences)
	set(surfSentenceLength, words/float64(1+s.sentences))
	count(surfLines, s.lines)
	set(surfLineLength, math.Log1p(size/float64(1+s.lines)))
	set(surfWordLength, float64(t[tallyLower]+t[tallyUpper]+t[tallyWide])*perWord)
	count(surfDigits, t[tallyDigit])
	set(surfDigitShare, float64(t[tallyDigit])*perByte)
	n := &g.numbers
	count(surfNumbers, n.n)
	set(surfNumbersOver2, max(0, log1p(n.n)-log1p(2)))
	set(surfNumbersOver5, max(0, log1p(n.n)-log1p(5)))
	set(surfNumberShare, float64(n.n)*perWord)
	count(surfLongNumbers, n.long)
	count(surfDecimals, n.decimals)
	set(surfLargest, n.largest)
	set(surfUpperShare, float64(t[tallyUpper])*perByte)
	set(surfWideShare, float64(t[tallyWide])*perByte)
	count(surfCommas, t[tallyComma])
	set(surfCommaShare, float64(t[tallyComma])*perWord)
	count(surfAsks, t[tallyAsk])
	set(surfAsked, min(1, float64(t[tallyAsk])))
	for i, kind := range [...]int{tallyBang, tallyQuote, tallyParen, tallyBrace, tallyMath} {
		count(surfBangs+i, t[kind])
	}
	set(surfMathShare, float64(t[tallyMath]+t[tallyBackslash])*perByte)
	count(surfDollars, t[tallyDollar])
	count(surfBackslashes, t[tallyBackslash])
	other := bytes - t[tallyDigit] - t[tallyUpper] - t[tallyLower] - t[tallyBlank] - t[tallyWide]
	set(surfMarks, float64(other)*perByte)
	count(surfOptions, s.options)
	if s.options >= 3 {
		set(surfChoice, 1)
		set(surfStem, math.Log1p(float64(s.firstOption)))
		set(surfOptionLength, math.Log1p(float64(max(0, r.size-s.firstOption))/float64(s.options)))
		set(surfExact, float64(n.n)*perWord)
	}
	count(surfCode, s.code)
	count(surfLatex, s.latex)
	count(surfFormula, s.formula)
	count(surfLog, s.log)
	count(surfIndent, s.indent)
	set(surfVariety, float64(g.fresh)*perWord)
	count(surfTurns, p.Turns)
	count(surfTools, p.Tools)
	count(surfImages, p.Images)
	if p.JSON {
		set(surfJSON, 1)
	}
}

// logs are the logarithms of small counts.
var logs = func() (t [256]float64) {
	for n := range t {
		t[n] = math.Log1p(float64(n))
	}
	return t
}()

func log1p(n int) float64 {
	if n < len(logs) {
		return logs[n]
	}
	return math.Log1p(float64(n))
}
