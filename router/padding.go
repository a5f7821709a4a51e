package router

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Padding stands before or behind a text and says nothing: a word, or two in turn, said over and over, a string of signs, a mark behind empty
// lines. It is taken off before anything is read, so that nobody moves a decision with it.

const (
	paddedTimes = 4   // a word, or two in turn, that come so often in a row are padding
	paddedSigns = 6   // so many signs in a row, blanks not counted, are
	paddedWord  = 256 // bytes: no padding is made of longer words
)

// unpadded returns a text without the padding at its ends. A text that is all padding stays as it is.
func unpadded(text string) string {
	s := strings.TrimSpace(text)
	for n := 0; n != len(s); {
		n = len(s)
		s = strings.TrimSpace(withoutSigns(s))
		s = strings.TrimSpace(withoutRefrain(s, lastWord))
		s = strings.TrimSpace(withoutRefrain(s, firstWord))
	}
	if mute(s) {
		return text
	}
	return s
}

// withoutSigns takes a string of signs from the end.
func withoutSigns(s string) string {
	rest, signs := s, 0
	for {
		w, before := lastWord(rest)
		if w == "" || !isSigns(w) {
			break
		}
		signs += utf8.RuneCountInString(w)
		rest = before
	}
	if signs >= paddedSigns || signs > 0 && strings.HasSuffix(rest, "\n\n\n") {
		return rest
	}
	return s
}

// isSigns reports a word that is none: marks alone, or signs beyond ASCII with whatever stands between them.
func isSigns(w string) bool {
	marks := !strings.Contains(w, "`") // the end of a fence is the end of something
	for _, r := range w {
		if r >= utf8.RuneSelf && (unicode.Is(unicode.Sm, r) || unicode.Is(unicode.So, r)) {
			return true
		}
		marks = marks && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}
	return marks
}

// withoutRefrain takes a word, or two in turn, that are said over and over from an end of a text.
func withoutRefrain(s string, next func(string) (word, rest string)) string {
	for period := 1; period <= 2; period++ {
		var said [2]string
		n, rest := 0, s
		for {
			w, r := next(rest)
			w = bare(w)
			if w == "" || n >= period && !strings.EqualFold(w, said[n%period]) {
				break
			}
			said[n%period] = w
			rest = r
			n++
		}
		if n >= paddedTimes*period {
			return rest
		}
	}
	return s
}

// bare takes the marks off a word's ends.
func bare(w string) string {
	for w != "" && isStop(w[0]) {
		w = w[1:]
	}
	for w != "" && isStop(w[len(w)-1]) {
		w = w[:len(w)-1]
	}
	return w
}

func isStop(c byte) bool {
	switch c {
	case '.', ',', ';', ':', '!', '?':
		return true
	}
	return false
}

// lastWord splits the last word, set off by blanks, from a text; "" when there is none or it is too long to be padding.
func lastWord(s string) (word, rest string) {
	for s != "" && isBlank(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	from := len(s)
	for from > 0 && !isBlank(s[from-1]) {
		if from--; len(s)-from > paddedWord {
			return "", s
		}
	}
	return s[from:], s[:from]
}

func firstWord(s string) (word, rest string) {
	for s != "" && isBlank(s[0]) {
		s = s[1:]
	}
	to := 0
	for to < len(s) && !isBlank(s[to]) {
		if to++; to > paddedWord {
			return "", s
		}
	}
	return s[:to], s[to:]
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' }
