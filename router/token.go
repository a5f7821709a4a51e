package router

import (
	"math/bits"
	"unicode"
	"unicode/utf8"
)

// Tokens are runs of letters and digits, folded (case, Latin accents, full-width forms), without apostrophes. A character of a script that
// is written without spaces is a token by itself. A token is only ever its hash: no text is copied.

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
	glue      = 0x9E3779B97F4A7C15
)

// latinFold maps U+00C0 … U+00FF to their bare letters; 0 = not a letter.
const latinFold = "aaaaaaaceeeeiiiidnooooo\x00ouuuuytsaaaaaaaceeeeiiiidnooooo\x00ouuuuyty"

// asciiFold maps ASCII letters to lower case and digits to themselves; 0 = not part of a token, or not ASCII.
var asciiFold = func() (t [256]byte) {
	for c := byte('0'); c <= '9'; c++ {
		t[c] = c
	}
	for c := byte('a'); c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = c, c
	}
	return t
}()

func hashByte(h uint64, c byte) uint64 { return (h ^ uint64(c)) * fnvPrime }

// mix spreads every bit over the whole word.
func mix(x uint64) uint64 {
	hi, lo := bits.Mul64(x, glue)
	return hi ^ lo
}

// join makes the hash of a phrase from those of its parts.
func join(a, b uint64) uint64 { return (a*glue ^ b) * fnvPrime }

// alone reports whether the character is a token by itself.
func alone(r rune) bool {
	return r >= 0x3040 && (r <= 0x30FF && r != 0x30FB || r >= 0x3400 && r <= 0x9FFF || r >= 0xAC00 && r <= 0xD7A3 || r >= 0xF900 && r <= 0xFAFF)
}

// foldRune folds a character beyond ASCII; ok is false for what is not part of a token.
func foldRune(r rune) (f rune, ok bool) {
	switch {
	case r >= 0xC0 && r <= 0xFF:
		c := latinFold[r-0xC0]
		return rune(c), c != 0
	case r >= 0xFF01 && r <= 0xFF5E: // full-width ASCII
		c := asciiFold[r-0xFEE0]
		return rune(c), c != 0
	case r >= 0x410 && r <= 0x42F:
		return r + 0x20, true
	case r >= 0x430 && r <= 0x44F:
		return r, true
	case r == 0x401 || r == 0x451:
		return 0x435, true
	case r >= 0x400 && r <= 0x4FF:
		return unicode.ToLower(r), true
	case r >= 0x590 && r < 0x10A0: // scripts of one case
		return r, unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r)
	case r < 0xC0, r >= 0x2000 && r < 0x2C00, r >= 0x3000 && r < 0x3040, r >= 0xFE30 && r < 0xFE70:
		return 0, false
	}
	return unicode.ToLower(r), unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r)
}

// nextToken finds the token at or after i. end is where it stops; end == len(s) with h == 0 means that there is none.
func nextToken(s string, i int) (h uint64, start, end int) {
	for i < len(s) {
		if h, end = tokenAt(s, i); h != 0 {
			return h, i, end
		}
		i = end
	}
	return 0, len(s), len(s)
}

// tokenAt reads the token that begins at i. h == 0 says that none does: end is then behind the character that is there. What it says of words of
// ASCII letters and digits scan.word says too, eight bytes at a time.
func tokenAt(s string, i int) (h uint64, end int) {
	start := i
	w := speller{hash: fnvOffset}
	for i < len(s) {
		c := s[i]
		if c < utf8.RuneSelf {
			switch f := asciiFold[c]; {
			case f != 0:
				w.byte(f)
			case i == start:
				return 0, i + 1
			case c != '\'':
				return w.end(), i
			}
			i++
			continue
		}
		r, n := wideAt(s, i)
		if alone(r) {
			if i > start {
				return w.end(), i
			}
			return mix(fnvOffset ^ uint64(r)), i + n // as w says it
		}
		switch f, ok := foldRune(r); {
		case ok && f < utf8.RuneSelf:
			w.byte(byte(f))
		case ok:
			w.rune(f)
		case i == start:
			return 0, i + n
		case r != '’':
			return w.end(), i
		}
		i += n
	}
	return w.end(), i
}

// wideAt reads the character beyond ASCII at i as utf8.DecodeRuneInString does, most of those of two and three bytes without its tables.
func wideAt(s string, i int) (r rune, size int) {
	if len(s)-i >= 3 {
		w := s[i : i+3]
		a, b, c := w[0], w[1], w[2]
		switch {
		case b&0xC0 != 0x80:
		case a >= 0xC2 && a < 0xE0:
			return rune(a&0x1F)<<6 | rune(b&0x3F), 2
		case a > 0xE0 && a < 0xF0 && a != 0xED && c&0xC0 == 0x80:
			return rune(a&0x0F)<<12 | rune(b&0x3F)<<6 | rune(c&0x3F), 3
		}
	}
	return utf8.DecodeRuneInString(s[i:])
}

// speller hashes a word letter by letter: eight bytes are mixed in at once, the first of them lowest, and what is left at the end.
type speller struct {
	hash, word uint64
	n          int // bytes in word
}

func (w *speller) byte(c byte) {
	if w.n == 8 {
		w.hash, w.word, w.n = mix(w.hash^w.word), 0, 0
	}
	w.word |= uint64(c) << (8 * w.n)
	w.n++
}

func (w *speller) rune(r rune) {
	w.byte(byte(r))
	w.byte(byte(r >> 8))
	w.byte(byte(r >> 16))
}

func (w *speller) end() uint64 { return mix(w.hash ^ w.word) }

// Eight bytes of a text are read at once as a word, the first of them lowest.
const (
	each      = 0x0101010101010101 // a one in every byte
	highBit   = 0x80 * each
	lowerCase = 0x20 * each // what a capital lacks
)

// eight reads the first eight bytes of a text, which has as many.
func eight(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// beyond marks, by its highest bit, the first of eight bytes that is no ASCII letter or digit; what it says of those behind it is not to be relied on,
// for sums of bytes are carried into them. Zero: all are.
func beyond(x uint64) uint64 {
	y := x | lowerCase
	letters := (y + (0x80-'a')*each) &^ (y + (0x7F-'z')*each) // the highest bit of what is no less than a and not more than z
	digits := (x + (0x80-'0')*each) &^ (x + (0x7F-'9')*each)
	return (x | ^(letters | digits)) & highBit
}

// ones adds up eight bytes that are 0 or 1.
func ones(x uint64) int { return int(x * each >> 56) }

// wordAt reads the token that begins with the ASCII letter or digit at i, as tokenAt does, eight bytes at a time, and counts its bytes. name says that it
// may look like one of a program's names: it has a capital behind its first letter, or an underscore behind it.
func wordAt(s string, i int, t *tally) (h uint64, end int, name bool) {
	h, end = fnvOffset, i
	capitals, digits := 0, 0
	for len(s)-end >= 8 {
		x := eight(s[end:])
		folded := x | lowerCase
		rest := beyond(x)
		if rest == 0 {
			h = mix(h ^ folded)
			capitals += ones((folded ^ x) >> 5)
			digits += ones(^x >> 6 & each) // letters have this bit
			end += 8
			continue
		}
		word := (rest ^ (rest - 1)) >> 8
		if word != 0 {
			h = mix(h ^ folded&word)
			capitals += ones((folded ^ x) & word >> 5)
			digits += ones(^x & word >> 6 & each)
			end += bits.TrailingZeros64(rest) / 8
		}
		next := s[end]
		if next >= utf8.RuneSelf || next == '\'' {
			break
		}
		t[tallyDigit] += digits
		t.letters(end-i-digits, capitals)
		if s[i] >= 'A' && s[i] <= 'Z' {
			capitals--
		}
		return h, end, capitals > 0 || next == '_'
	}
	h, end = tokenAt(s, i) // at the very end of a text, or more than ASCII
	t.add(s[i:end])
	return h, end, true
}
