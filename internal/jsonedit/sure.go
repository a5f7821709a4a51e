package jsonedit

import (
	"strings"
	"unicode/utf8"
)

// manyKeys is how many keys the objects that are open may have together.
const manyKeys = 64

// sure reads a body that is admissible beyond doubt, as nearly every one is, several times as fast as a decoder. It has no word for what is wrong, or
// may be: the decoder is asked then.
type sure struct {
	body []byte
	keys [manyKeys]string // of the objects that are open, as they are written
	n    int
}

// surely appends the places of the top-level members of a body that is admissible beyond doubt. open is where its object begins.
func surely(members []member, body []byte, maxDepth int) (_ []member, open int, ok bool) {
	s := sure{body: body}
	if open = blank(body, 0); open >= len(body) || body[open] != '{' {
		return members, 0, false
	}
	end := s.object(open, maxDepth, &members)
	return members, open, end >= 0 && blank(body, end) == len(body) && utf8.Valid(body) && paired(view(body))
}

// value is the position after the value at i, in which so many levels may be nested; negative for a doubt.
func (s *sure) value(i, levels int) int {
	if i >= len(s.body) {
		return -1
	}
	switch s.body[i] {
	case '{':
		return s.object(i, levels, nil)
	case '[':
		return s.array(i, levels)
	}
	return scalar(s.body, i)
}

// object is value for an object, whose members it appends to book unless that is nil.
func (s *sure) object(i, levels int, book *[]member) int {
	first := s.n
	i, more := s.enter(i, '}', levels)
	for more {
		m := member{key: i}
		if m.val = key(s.body, i); m.val < 0 || !s.fresh(first, i) {
			return -1
		}
		m.keyEnd = i + len(s.keys[s.n-1])
		if m.valEnd = s.value(m.val, levels-1); m.valEnd < 0 {
			return -1
		}
		if book != nil {
			*book = append(*book, m)
		}
		i, more = s.next(m.valEnd, '}')
	}
	s.n = first
	return i
}

// array is value for an array.
func (s *sure) array(i, levels int) int {
	i, more := s.enter(i, ']', levels)
	for more {
		if i = s.value(i, levels-1); i < 0 {
			return -1
		}
		i, more = s.next(i, ']')
	}
	return i
}

// enter steps over an opening bracket to the first child, or over the closing one: then there are no more. The position is negative for a doubt.
func (s *sure) enter(i int, closing byte, levels int) (at int, more bool) {
	if levels < 1 {
		return -1, false
	}
	if i = blank(s.body, i+1); i < len(s.body) && s.body[i] == closing {
		return i + 1, false
	}
	return i, true
}

// next steps from the end of a child to the next one, or over the closing bracket.
func (s *sure) next(i int, closing byte) (at int, more bool) {
	if i = blank(s.body, i); i >= len(s.body) {
		return -1, false
	}
	switch s.body[i] {
	case closing:
		return i + 1, false
	case ',':
		return blank(s.body, i+1), true
	}
	return -1, false
}

// fresh books the quoted key at i, and reports whether it is another one than those of its object, which begin at first. Keys with escapes could be the
// same though they differ, and many of them take long to compare.
func (s *sure) fresh(first, i int) bool {
	k := view(s.body[i : special(s.body, i+1)+1])
	if k[len(k)-1] != '"' || s.n == manyKeys {
		return false
	}
	for _, other := range s.keys[first:s.n] {
		if k == other {
			return false
		}
	}
	s.keys[s.n] = k
	s.n++
	return true
}

// paired reports whether each surrogate that is spelled out in a body stands with its other half.
func paired(s string) bool {
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 || i+1 == len(s) {
			return true
		}
		if s = s[i+1:]; s[0] != 'u' {
			s = s[1:]
			continue
		}
		var r rune
		switch r, s = hex4(s[1:]); {
		case r >= 0xdc00 && r < 0xe000:
			return false
		case r >= 0xd800 && r < 0xdc00:
			if !strings.HasPrefix(s, `\u`) {
				return false
			}
			if r, s = hex4(s[2:]); r < 0xdc00 || r >= 0xe000 {
				return false
			}
		}
	}
}
