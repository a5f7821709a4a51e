package router

import (
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
	case r == 0x401 || r == 0x451:
		return 0x435, true
	case r >= 0x400 && r <= 0x4FF:
		return unicode.ToLower(r), true
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

// tokenAt reads the token that begins at i. h == 0 says that none does: end is then behind the character that is there.
func tokenAt(s string, i int) (h uint64, end int) {
	start := i
	h = fnvOffset
	for i < len(s) {
		c := s[i]
		if c < utf8.RuneSelf {
			switch f := asciiFold[c]; {
			case f != 0:
				h = hashByte(h, f)
			case i == start:
				return 0, i + 1
			case c != '\'':
				return h, i
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if alone(r) {
			if i > start {
				return h, i
			}
			return hashRune(h, r), i + n
		}
		switch f, ok := foldRune(r); {
		case ok && f < utf8.RuneSelf:
			h = hashByte(h, byte(f))
		case ok:
			h = hashRune(h, f)
		case i == start:
			return 0, i + n
		case r != '’':
			return h, i
		}
		i += n
	}
	return h, i
}

func hashRune(h uint64, r rune) uint64 {
	return hashByte(hashByte(hashByte(h, byte(r)), byte(r>>8)), byte(r>>16))
}
