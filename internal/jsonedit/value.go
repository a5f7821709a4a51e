package jsonedit

import (
	"math"
	"strconv"
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"
)

// Kind is the JSON type of a Value.
type Kind uint8

// The kinds. Absent is the kind of the zero Value, which stands for what is not there.
const (
	Absent Kind = iota
	Null
	False
	True
	Number
	String
	Object
	Array
)

// Value is one JSON value within a body. It is a view: it, and each string it returns, is good while the bytes it was read from stay
// unchanged; keep a strings.Clone of what must live longer.
type Value struct {
	src     string // the whole body, so that offsets need no arithmetic
	at, end int
}

// Parse views bytes as one JSON value, without a check and without copying. The bytes must have passed Valid or come from Admit: of other bytes
// the answers mean nothing, though no method panics on them. Of duplicate keys, which Valid lets through, the first one counts.
func Parse(trusted []byte) Value {
	at, end := blank(trusted, 0), len(trusted)
	for end > at && (trusted[end-1] == ' ' || trusted[end-1] == '\n' || trusted[end-1] == '\t' || trusted[end-1] == '\r') {
		end--
	}
	return Value{view(trusted), at, end}.sane()
}

func (v Value) sane() Value {
	if v.at >= v.end {
		return Value{}
	}
	return v
}

// view is b as a string without a copy.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Value is the top-level member of that key, the zero Value when there is none. The key is taken literally.
func (d *Doc) Value(key string) Value {
	if i := find(view(d.body), d.members, key); i >= 0 {
		return Value{view(d.body), d.members[i].val, d.members[i].valEnd}
	}
	return Value{}
}

// EachMember is Root's EachMember by the places that Admit booked, so that the body is not walked again.
func (d *Doc) EachMember(yield func(key string, v Value) bool) {
	src := view(d.body)
	for _, m := range d.members {
		if !yield(unquote(src[m.key:m.keyEnd]), Value{src, m.val, m.valEnd}) {
			return
		}
	}
}

// Root is the whole object; the zero Value for an empty Doc.
func (d *Doc) Root() Value { return Parse(d.body) }

// Exists says that there is a value, be it null.
func (v Value) Exists() bool { return v.end > v.at }

// Kind is the type of the value.
func (v Value) Kind() Kind {
	if !v.Exists() {
		return Absent
	}
	switch v.src[v.at] {
	case 'n':
		return Null
	case 'f':
		return False
	case 't':
		return True
	case '"':
		return String
	case '{':
		return Object
	case '[':
		return Array
	}
	return Number
}

// Raw is the value as it is written.
func (v Value) Raw() string { return v.src[v.at:v.end] }

// StringAt is the string whose opening quote is body[at], the zero Value where there is none.
func StringAt(body []byte, at int) Value {
	if at < 0 || at >= len(body) || body[at] != '"' {
		return Value{}
	}
	end := quoted(body, at)
	if end < 0 {
		return Value{}
	}
	return Value{view(body), at, end}
}

// Bytes is Raw as a slice of the body, nil for the zero Value. It must not be written to.
func (v Value) Bytes() []byte {
	if !v.Exists() {
		return nil
	}
	return unsafe.Slice(unsafe.StringData(v.src), len(v.src))[v.at:v.end:v.end]
}

// Offset is the half-open byte range of the value in the body that it was read from.
func (v Value) Offset() (start, end int) { return v.at, v.end }

// String is the text of a string without quotes and escapes, "" for null and absent, and what Raw is for any other kind. Only a string with
// escapes is copied.
func (v Value) String() string {
	switch v.Kind() {
	case String:
		return unquote(v.Raw())
	case Null, Absent:
		return ""
	}
	return v.Raw()
}

// unquote is the text of a quoted string.
func unquote(raw string) string {
	if len(raw) < 2 {
		return ""
	}
	if text := raw[1 : len(raw)-1]; strings.IndexByte(text, '\\') < 0 {
		return text
	}
	return text(raw)
}

// Bool is true for true, and false for every other value.
func (v Value) Bool() bool { return v.Kind() == True }

// Int is the number without its fraction, held within the range of int64, and 0 for other kinds.
func (v Value) Int() int64 {
	if n, ok := v.Integer(); ok {
		return n
	}
	switch f := v.Float(); {
	case f >= math.MaxInt64:
		return math.MaxInt64
	case f <= math.MinInt64:
		return math.MinInt64
	default:
		return int64(f)
	}
}

// Integer is the number and true if the value is a whole number that int64 holds (1e2 and 1.0 are, within 2^53), else false.
func (v Value) Integer() (int64, bool) {
	if v.Kind() != Number {
		return 0, false
	}
	if n, err := strconv.ParseInt(v.Raw(), 10, 64); err == nil {
		return n, true
	}
	if f := v.Float(); f == math.Trunc(f) && math.Abs(f) <= 1<<53 {
		return int64(f), true
	}
	return 0, false
}

// Float is the number, infinite when it is out of range (as 1e400 is), and 0 for other kinds.
func (v Value) Float() float64 {
	if v.Kind() != Number {
		return 0
	}
	return gjson.Parse(v.Raw()).Num
}

// Field is the member of that key of an object, the zero Value without one or for another kind. The key is taken literally.
func (v Value) Field(key string) (found Value) {
	v.walk(Object, func(m member) bool {
		if sameKey(v.src[m.key:m.keyEnd], key) {
			found = Value{v.src, m.val, m.valEnd}
		}
		return !found.Exists()
	})
	return found
}

// Each calls yield with the elements of an array in order until it returns false. Other kinds have none.
func (v Value) Each(yield func(Value) bool) {
	v.walk(Array, func(m member) bool { return yield(Value{v.src, m.val, m.valEnd}) })
}

// EachMember calls yield with the members of an object in order until it returns false. Other kinds have none.
func (v Value) EachMember(yield func(key string, v Value) bool) {
	v.walk(Object, func(m member) bool { return yield(unquote(v.src[m.key:m.keyEnd]), Value{v.src, m.val, m.valEnd}) })
}

// Len is the number of elements of an array or members of an object, and 0 for other kinds. It walks them.
func (v Value) Len() (n int) {
	v.walk(v.Kind(), func(member) bool { n++; return true })
	return n
}

// walk goes over the direct children of a value of the kind. It looks at no more than it must, and leaves what is nested unread.
func (v Value) walk(kind Kind, yield func(member) bool) {
	if v.Kind() != kind || kind < Object {
		return
	}
	s := v.src[:v.end]
	for i := gap(s, v.at+1); i < len(s) && s[i] != '}' && s[i] != ']'; i = gap(s, i) {
		var m member
		if kind == Object {
			m.key, m.keyEnd = i, skipValue(s, i)
			if i = gap(s, m.keyEnd); i >= len(s) {
				return
			}
		}
		m.val, m.valEnd = i, skipValue(s, i)
		if m.valEnd <= i || !yield(m) {
			return
		}
		i = m.valEnd
	}
}

// gap is the position of the first byte at or after i that is neither white space nor a comma or colon.
func gap(s string, i int) int {
	for i < len(s) && (s[i] <= ' ' || s[i] == ',' || s[i] == ':') {
		i++
	}
	return i
}

// skipValue is the position after the value that begins at i < len(s). It keeps a count, not a stack, and so survives any depth.
func skipValue(s string, i int) int {
	switch s[i] {
	case '"':
		return skipString(s, i)
	case '{', '[':
	default:
		for i < len(s) && s[i] > ' ' && s[i] != ',' && s[i] != '}' && s[i] != ']' && s[i] != ':' {
			i++
		}
		return i
	}
	for depth := 0; i < len(s); {
		switch s[i] {
		case '"':
			i = skipString(s, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return len(s)
}

// skipString is the position after the string whose opening quote is at i.
func skipString(s string, i int) int {
	for i++; ; {
		n := strings.IndexByte(s[i:], '"')
		if n < 0 {
			return len(s)
		}
		// A quote is escaped when an odd number of backslashes stands before it; the opening quote ends the count.
		end, back := i+n, 0
		for s[end-1-back] == '\\' {
			back++
		}
		i = end + 1
		if back%2 == 0 {
			return i
		}
	}
}

// find is the index of the member of that key, or -1.
func find(src string, members []member, key string) int {
	for i, m := range members {
		if sameKey(src[m.key:m.keyEnd], key) {
			return i
		}
	}
	return -1
}

// sameKey compares a quoted key with a plain one.
func sameKey(raw, key string) bool {
	const longest = len(`\u0000`) // that one byte of a key can be written in
	n := len(raw) - 2
	if n < len(key) || n > longest*len(key) {
		return false
	}
	if n == len(key) {
		// Of equal length, either nothing is escaped or it is another key.
		return raw[1:len(raw)-1] == key && strings.IndexByte(key, '\\') < 0
	}
	return strings.IndexByte(raw, '\\') >= 0 && unquote(raw) == key
}
