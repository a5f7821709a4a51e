package jsonedit

import (
	"strings"
	"unicode/utf8"
	"unsafe"
)

// text is the text of a quoted string with escapes, in one allocation: no escape is shorter than what it stands for.
func text(raw string) string {
	b := AppendUnescaped(make([]byte, 0, len(raw)), raw[1:len(raw)-1])
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// AppendUnescaped appends the text of a JSON string without its quotes. A lone surrogate becomes U+FFFD.
func AppendUnescaped(dst []byte, s string) []byte {
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 || i+1 >= len(s) {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		c := s[i+1]
		s = s[i+2:]
		switch c {
		case 'n':
			dst = append(dst, '\n')
		case 't':
			dst = append(dst, '\t')
		case 'r':
			dst = append(dst, '\r')
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'u':
			var r rune
			r, s = hex4(s)
			if r >= 0xd800 && r < 0xdc00 && strings.HasPrefix(s, `\u`) {
				low, rest := hex4(s[2:])
				if low >= 0xdc00 && low < 0xe000 {
					r, s = (r-0xd800)<<10|(low-0xdc00)+0x10000, rest
				}
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
	}
}

// hex4 reads four hexadecimal digits and returns the rest.
func hex4(s string) (r rune, rest string) {
	if len(s) < 4 {
		return utf8.RuneError, ""
	}
	for i := range 4 {
		c := s[i]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		}
		r = r<<4 | rune(c)
	}
	return r, s[4:]
}
