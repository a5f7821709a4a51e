package jsonedit

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// The errors of Append, wrapped with the key.
var (
	// ErrNotObject: SetIn or DeleteIn names a member that is neither an object nor null.
	ErrNotObject = errors.New("value is not an object")
	// ErrConflict: two edits name the same place, so that their order would matter.
	ErrConflict = errors.New("two edits of one member")
	// ErrNotJSON: an edit's raw value is not JSON, or it or a key is not UTF-8.
	ErrNotJSON = errors.New("edit is not JSON")
)

// Edit is one change of a top-level member, or of a member of one, made by Set, SetString, Delete, SetIn and DeleteIn.
type Edit struct {
	op       op
	key, sub string
	raw      []byte
	text     string
}

type op uint8

const (
	opSet op = iota
	opSetString
	opDelete
	opSetIn
	opDeleteIn
)

// Set gives the member a value, written as raw; an absent one is added at the end. Raw's grammar and UTF-8 are checked; duplicate keys
// and lone surrogates within it are the caller's concern.
func Set(key string, raw []byte) Edit { return Edit{op: opSet, key: key, raw: raw} }

// SetString is Set with a string, which it quotes.
func SetString(key, s string) Edit { return Edit{op: opSetString, key: key, text: s} }

// Delete takes the member away with one of the commas around it. An absent one is no error.
func Delete(key string) Edit { return Edit{op: opDelete, key: key} }

// SetIn is Set within the object that the member holds. If the member is absent or null it becomes an object with the one member sub.
func SetIn(key, sub string, raw []byte) Edit { return Edit{op: opSetIn, key: key, sub: sub, raw: raw} }

// DeleteIn is Delete within the object that the member holds. It leaves an object that becomes empty in place.
func DeleteIn(key, sub string) Edit { return Edit{op: opDeleteIn, key: key, sub: sub} }

// nested says that the edit is of a member's member.
func (e Edit) nested() bool { return e.op >= opSetIn }

// list is the caller's edits, either as they are or as seen from within the member that they are nested in. It is a view and not a
// second slice, so that the edits can stay on the caller's stack.
type list struct {
	edits []Edit
	inner bool
}

func (l list) at(i int) Edit {
	e := l.edits[i]
	if !l.inner {
		return e
	}
	if e.op == opDeleteIn {
		return Edit{op: opDelete, key: e.sub}
	}
	return Edit{op: opSet, key: e.sub, raw: e.raw}
}

// Append appends the body with the edits made. All bytes that no edit names stay as they are: order, spacing and escapes. The edits are of different
// members, in any order, but that several SetIn and DeleteIn may share a key if their subs differ; new members follow in
// the edits' order. On an error (ErrNotObject, ErrConflict, ErrNotJSON) dst comes back as it was.
func (d *Doc) Append(dst []byte, edits ...Edit) ([]byte, error) {
	if d.body == nil {
		return dst, fmt.Errorf("empty document: %w", ErrNotObject)
	}
	if err := check(edits); err != nil {
		return dst, err
	}
	size := len(d.body)
	for _, e := range edits {
		size += len(e.key) + len(e.sub) + len(e.raw) + len(e.text) + punctuation
	}
	var room [16]change
	changes := room[:0]
	for i, e := range edits {
		at := find(view(d.body), d.members, e.key)
		changes = insert(changes, change{at, i})
	}
	out, err := splice(slices.Grow(dst, size), object{view(d.body), 0, len(d.body), d.open, d.members}, list{edits, false}, changes)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// punctuation is the most bytes that an edit adds beside its own: of {"sub":raw} as a new member.
const punctuation = len(`,"":{"":}`)

// check refuses edits that contradict each other or are not JSON.
func check(edits []Edit) error {
	for i, e := range edits {
		value := e.op == opSet || e.op == opSetIn
		if value && !(Valid(e.raw, DepthCap) && utf8.Valid(e.raw)) || !utf8.ValidString(e.key) || !utf8.ValidString(e.sub) {
			return refuse(e, ErrNotJSON)
		}
		for _, other := range edits[:i] {
			if other.key == e.key && (!e.nested() || !other.nested() || e.sub == other.sub) {
				return refuse(e, ErrConflict)
			}
		}
	}
	return nil
}

// refuse names the edit in its error, by a copy of the key: were the edit itself kept, every caller's edits would move to the heap.
func refuse(e Edit, err error) error {
	return fmt.Errorf("%q: %w", strings.Clone(clip(e.key)), err)
}

// change is an edit, by index, of a member, by index or -1 for an absent one.
type change struct{ member, edit int }

// insert keeps changes in the order of the members, and of the edits within one.
func insert(changes []change, c change) []change {
	changes = append(changes, c)
	for i := len(changes) - 1; i > 0 && changes[i-1].member > c.member; i-- {
		changes[i-1], changes[i] = changes[i], changes[i-1]
	}
	return changes
}

// object is the text src[from:to] that holds an object whose '{' is at open.
type object struct {
	src      string
	from, to int
	open     int
	members  []member
}

// splice appends the object's text with the changes made.
func splice(dst []byte, o object, l list, changes []change) ([]byte, error) {
	absent := changes
	for i, c := range changes {
		if c.member >= 0 {
			absent, changes = changes[:i], changes[i:]
			break
		}
		if i == len(changes)-1 {
			changes = nil
		}
	}
	// last is the last member that stays, since the comma to drop is the one before a deleted tail and else the one after.
	last := len(o.members) - 1
	for i := len(changes) - 1; i >= 0 && changes[i].member == last && l.at(changes[i].edit).op == opDelete; i-- {
		last--
	}
	pos := o.from
	for len(changes) > 0 {
		at := changes[0].member
		n := 1
		for n < len(changes) && changes[n].member == at {
			n++
		}
		m, group := o.members[at], changes[:n]
		changes = changes[n:]
		switch {
		case at > last && last >= 0:
			dst = append(dst, o.src[pos:o.members[last].valEnd]...)
			pos, changes = o.members[len(o.members)-1].valEnd, nil
		case at > last:
			dst = append(dst, o.src[pos:m.key]...)
			pos, changes = o.members[len(o.members)-1].valEnd, nil
		case l.at(group[0].edit).op == opDelete:
			dst = append(dst, o.src[pos:m.key]...)
			pos = o.members[at+1].key
		default:
			dst = append(dst, o.src[pos:m.val]...)
			pos = m.valEnd
			var err error
			if dst, err = appendValue(dst, Value{o.src, m.val, m.valEnd}, l, group); err != nil {
				return dst, err
			}
		}
	}
	end := o.open + 1
	if n := len(o.members); n > 0 {
		end = o.members[n-1].valEnd
	}
	dst = append(dst, o.src[pos:end]...)
	dst, err := appendNew(dst, last >= 0, l, absent)
	return append(dst, o.src[end:o.to]...), err
}

// appendNew appends the members that the edits add, with a comma before the first one if there are others.
func appendNew(dst []byte, comma bool, l list, absent []change) ([]byte, error) {
	for i, c := range absent {
		e := l.at(c.edit)
		if e.op == opDelete || e.op == opDeleteIn || earlier(l, absent[:i], e.key) {
			continue
		}
		if comma {
			dst = append(dst, ',')
		}
		comma = true
		dst = append(AppendString(dst, e.key), ':')
		var room [16]change
		group := room[:0]
		for _, other := range absent[i:] {
			if l.at(other.edit).key == e.key {
				group = append(group, other)
			}
		}
		var err error
		if dst, err = appendValue(dst, Value{}, l, group); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// earlier says that a SetIn of the key has gone before, and has taken the later ones with it.
func earlier(l list, before []change, key string) bool {
	for _, c := range before {
		if e := l.at(c.edit); e.key == key && e.op == opSetIn {
			return true
		}
	}
	return false
}

// appendValue appends what the changes of one member, none of which deletes it, make of its value v.
func appendValue(dst []byte, v Value, l list, group []change) ([]byte, error) {
	switch e := l.at(group[0].edit); e.op {
	case opSet:
		return append(dst, e.raw...), nil
	case opSetString:
		return AppendString(dst, e.text), nil
	}
	o := object{src: v.src, from: v.at, to: v.end, open: v.at}
	var room [16]member
	o.members = room[:0]
	switch v.Kind() {
	case Object:
		v.walk(Object, func(m member) bool { o.members = append(o.members, m); return true })
	case Null, Absent:
		if v.Exists() && !adds(l, group) {
			return append(dst, v.Raw()...), nil
		}
		o = object{src: "{}", to: 2}
	default:
		return dst, refuse(l.at(group[0].edit), ErrNotObject)
	}
	var changeRoom [16]change
	changes := changeRoom[:0]
	l.inner = true
	for _, c := range group {
		changes = insert(changes, change{find(o.src, o.members, l.at(c.edit).key), c.edit})
	}
	return splice(dst, o, l, changes)
}

// adds says that one of the changes sets something.
func adds(l list, group []change) bool {
	for _, c := range group {
		if l.at(c.edit).op == opSetIn {
			return true
		}
	}
	return false
}

// AppendString appends s as a JSON string. Invalid UTF-8 becomes U+FFFD, so that the result is always admissible.
func AppendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // the error only says that there was invalid UTF-8
	return dst
}
