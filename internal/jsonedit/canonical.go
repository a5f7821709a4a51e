package jsonedit

import (
	"fmt"
	"slices"
	"strings"
)

// AppendCanonical appends an admitted object in the one form that it shares with every object of the same meaning: members in order of their
// names, no blanks, strings in their shortest form. Numbers stay as they are written, since some cannot be told apart as floats. The top-level
// members that drop names are left out. An object that was not admitted has no such form: it is an error that a name comes twice.
func AppendCanonical(dst, body []byte, drop ...string) ([]byte, error) {
	return appendMembers(slices.Grow(dst, len(body)), Parse(body), drop)
}

func appendCanonical(dst []byte, v Value) ([]byte, error) {
	switch v.Kind() {
	case Object:
		return appendMembers(dst, v, nil)
	case Array:
		return appendElements(dst, v)
	case String:
		return appendShortest(dst, v.Raw()), nil
	}
	return append(dst, v.Raw()...), nil
}

func appendElements(dst []byte, v Value) (_ []byte, err error) {
	dst = append(dst, '[')
	before := len(dst)
	for e := range v.Each {
		if len(dst) > before {
			dst = append(dst, ',')
		}
		if dst, err = appendCanonical(dst, e); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func appendMembers(dst []byte, v Value, drop []string) (_ []byte, err error) {
	type pair struct {
		key string
		raw string // with its quotes and escapes
		val Value
	}
	pairs := make([]pair, 0, usualMembers)
	v.walk(Object, func(m member) bool {
		p := pair{raw: v.src[m.key:m.keyEnd], val: Value{v.src, m.val, m.valEnd}}
		if p.key = unquote(p.raw); !slices.Contains(drop, p.key) {
			pairs = append(pairs, p)
		}
		return true
	})
	slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	dst = append(dst, '{')
	for i, p := range pairs {
		if i > 0 {
			if dst = append(dst, ','); p.key == pairs[i-1].key {
				return nil, fmt.Errorf("duplicate key %q", clip(p.key))
			}
		}
		dst = append(appendShortest(dst, p.raw), ':')
		if dst, err = appendCanonical(dst, p.val); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// appendShortest appends a quoted string in its shortest form. Most have it already: only slashes and what is spelled in digits may be shorter.
func appendShortest(dst []byte, raw string) []byte {
	for rest := raw; ; {
		i := strings.IndexByte(rest, '\\')
		if i < 0 || i+1 == len(rest) {
			return append(dst, raw...)
		}
		if c := rest[i+1]; c == '/' || c == 'u' {
			return AppendString(dst, unquote(raw))
		}
		rest = rest[i+2:]
	}
}
