package llm

import (
	"bytes"
	_ "embed"
	"strings"
	"sync"
	"unicode/utf8"
)

// Bound is what a prompt comes to at most, whatever vocabulary its model has. What a provider adds of its own (what a search finds, an earlier conversation that is named by its
// id) is not in it.
type Bound struct {
	Text   int // tokens of all that is no medium
	Images int // images: what one comes to is the model's
	Media  int // tokens of audio, files and video
}

// Medium is a part of a prompt that is no text: what stands in the body between two places, or is named there.
type Medium struct {
	Kind     MediumKind
	From, To int
}

// MediumKind says what a medium is billed by.
type MediumKind uint8

// The kinds. An image is billed by what its model makes of it, audio by its length, a file (or a video) by its pages.
const (
	MediumImage MediumKind = iota
	MediumAudio
	MediumFile
)

const (
	// templateTokens is what chat templates and providers put around a conversation: their own system prompt, the date, what starts the answer. Without tools the longest that
	// is known is gpt-oss's, of about 70 tokens; with tools Anthropic's, of up to 530.
	templateTokens = 128
	toolsTokens    = 512
	// audioBytes is how many bytes of base64 are a token of audio at most: 32 tokens a second of the lowest rate of MP3, 8 kbit/s.
	audioBytes = 32
	// namedTokens is what a file or a sound comes to that is only named, by an address or an id of less than namedBytes.
	namedTokens = 128_000
	namedBytes  = 4096
)

// Bound reads the body once more, a few microseconds for each KB: for those who need to know it only.
func (e *Envelope) Bound() (b Bound) {
	body, eighths, at := e.Body, 0, 0
	for _, m := range e.Media {
		eighths += weigh(body[at:m.From])
		at = m.To
		switch size := m.To - m.From; {
		case m.Kind == MediumImage:
			b.Images++
		case size < namedBytes:
			b.Media += namedTokens
		case m.Kind == MediumAudio:
			b.Media += size/audioBytes + 1
		default:
			b.Media += size
		}
	}
	b.Text = (eighths+weigh(body[at:])+7)/8 + len(e.Media) + e.template()
	return b
}

// RoughBound is a bound that costs nothing, a token for each byte. It is none of a prompt with media.
func (e *Envelope) RoughBound() Bound { return Bound{Text: len(e.Body) + e.template()} }

// template is what is put around the prompt, in tokens at most.
func (e *Envelope) template() (tokens int) {
	if e.Op == OpChat {
		tokens = templateTokens
	}
	if e.Tools > 0 {
		tokens += toolsTokens
	}
	return tokens
}

// TextBound is what a text, as it is and not as JSON has it, comes to at most.
func TextBound(text []byte) int {
	return (weigh(bytes.ReplaceAll(text, []byte{'\\'}, []byte(`\\`))) + 7) / 8
}

// The weights are in eighths of a token. They are such that no text of the test came to more in any of the vocabularies that were measured; docs/costs.md names those.
const (
	whole  = 8
	usual  = 6 // a letter that the one before it is often followed by
	blank  = 4 // one before a word that not all have whole
	indent = 1 // a blank between two others
)

// weigh is what a piece of JSON comes to at most, in eighths of a token. A byte is a token at most, as vocabularies end in bytes. Less are: words that all vocabularies have whole;
// letters that follow each other in many words; a blank before a word, which is a part of it; blanks in a row; and the characters beyond ASCII that all vocabularies have.
//
// Two letters of a usual pair, and a blank and a letter, are never two tokens side by side, as they would have been merged. So behind a letter by itself comes an unusual one, which costs whole, or a
// token of more letters, which cost half of whole too much and the letter behind them a quarter too little; a blank by itself lacks a half.
func weigh(s []byte) (eighths int) {
	dictionary := words()
	before := byte('"')
	for i := 0; i < len(s); {
		c := s[i]
		if c-'a' < 26 {
			first, letters, cost := i, uint64(0), 0 // five bits a letter
			for ; i < len(s) && s[i]-'a' < 26; i++ {
				letters = letters<<5 | uint64(s[i]&31)
				cost += int(pairs[letters%1024])
			}
			if !joins(before) && (i == len(s) || !joins(s[i])) && i-first <= longestWord && dictionary.has(letters) {
				if cost = whole; before == ' ' {
					cost -= blank
				}
			}
			eighths += cost
			before = 'a'
			continue
		}
		if c == ' ' {
			if i++; i < len(s) && isLetter(s[i]) {
				before = ' '
				eighths += blank // it is a part of the word, or of none
				continue
			}
			if before == ' ' && i < len(s) && s[i] == ' ' {
				eighths += indent
			} else {
				eighths += whole
			}
			before = ' '
			continue
		}
		n, cost := other(s[i:])
		eighths += cost
		i, before = i+n, c
	}
	return eighths
}

// other weighs what s begins with, which is neither a blank nor a lower-case letter.
func other(s []byte) (n, eighths int) {
	switch c := s[0]; {
	case c == '\\' && len(s) > 1:
		return escape(s)
	case c >= utf8.RuneSelf:
		r, n := utf8.DecodeRune(s)
		return n, char(r)
	}
	return 1, whole
}

// joins reports whether a byte beside a word makes it another one.
func joins(c byte) bool { return isLetter(c) || c >= '0' && c <= '9' || c >= utf8.RuneSelf }

func isLetter(c byte) bool { return c|0x20-'a' < 26 }

// escape weighs the escape that s begins with.
func escape(s []byte) (n, eighths int) {
	if s[1] != 'u' || len(s) < 6 {
		return 2, whole
	}
	r := rune(0)
	for _, c := range s[2:6] {
		switch {
		case c <= '9':
			r = r<<4 | rune(c-'0')
		default:
			r = r<<4 | rune(c|0x20-'a'+10)
		}
	}
	if r >= 0xD800 && r < 0xE000 { // half of a character of four bytes
		return 6, 2 * whole
	}
	return 6, char(r)
}

// char weighs a character.
func char(r rune) int {
	if r < utf8.RuneSelf || int(r/64) < len(single) && single[r/64]>>(r%64)&1 != 0 {
		return whole
	}
	return whole * utf8.RuneLen(r)
}

// pairs weighs a letter behind another one, or behind none: both of five bits. Each usual pair is more than a thousandth of all pairs in English texts and program sources, and a token.
var pairs = weighPairs("bcdfgilmnprstuy aceluy aehiklortu adeiorsu acdefglmnpqrstvwx adefiloru eiosu aeiot abcdefglmnoprstvz s aes adefilostuy aeimop acdefgiopstu " +
	"bcdfiklmnoprstuvw aeilmoprstu u acegilmnorstuy acehiopstuy acehioprstuy bceilmnprst aei aehio t opst e")

// weighPairs makes the table of a list: which letters usually follow a, which b, and so on.
func weighPairs(list string) (t [1024]uint8) {
	for i := range t {
		t[i] = whole
	}
	for i, letters := range strings.Fields(list) {
		for _, c := range letters {
			t[(i+1)<<5|int(c&31)] = usual
		}
	}
	return t
}

// single are the characters beyond ASCII that are one token in all vocabularies that were measured.
var single = charSet("абвгдежзийклмнопрстуфхцчшщыьюяВіαβγεθικλμνοπρστφωאבדהוילמנרשתابتحدرسعفقكلمنهويةäöüßéèêëàâçîïôûùñáíóúãõåæøœÉ–—’“”…•°£€§«»")

func charSet(list string) (set [0x2100 / 64]uint64) {
	for _, r := range list {
		set[r/64] |= 1 << (r % 64)
	}
	return set
}

// wordList are words that are one token in all vocabularies that were measured, after a blank and at the beginning of a line.
//
//go:embed words.txt
var wordList string

// longestWord is how many letters of a word a wordTable can tell apart.
const longestWord = 12

// wordTable is a set of words, as the numbers that their letters make: a hash table with open addresses, a quarter full.
type wordTable [wordSlots]uint64

const wordSlots = 1 << wordBits

const wordBits = 12

var words = sync.OnceValue(func() *wordTable {
	t := new(wordTable)
	for _, w := range strings.Fields(wordList) {
		name := uint64(0)
		for _, c := range []byte(w) {
			name = name<<5 | uint64(c&31)
		}
		t[t.slot(name)] = name
	}
	return t
})

func (t *wordTable) has(name uint64) bool { return t[t.slot(name)] == name }

// slot is where the word is, or would be.
func (t *wordTable) slot(name uint64) int {
	i := int(name * 0x9E3779B97F4A7C15 >> (64 - wordBits))
	for t[i] != 0 && t[i] != name {
		i = (i + 1) % wordSlots
	}
	return i
}
