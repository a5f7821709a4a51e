// Package jsonedit admits a JSON body strictly, reads it without copying, and edits it by splices.
//
// Invariant: every reader of an admitted body, whatever its habits with duplicate keys, bad UTF-8 or trailing bytes, reads the same
// thing in it; and an edited body is the admitted one, byte for byte, outside of what the edits name.
package jsonedit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// SyntaxError says why a body was not admitted.
type SyntaxError struct {
	Offset int64  // in bytes from the start of the body, of the first byte that is wrong, or of the key, value or string that it is in
	Msg    string // for the client; quotes at most a short piece of the body
}

// Error is the message and the position, as in: duplicate key "model" at byte 17.
func (e *SyntaxError) Error() string {
	return e.Msg + " at byte " + strconv.FormatInt(e.Offset, 10)
}

// Doc is an admitted body with the places of its top-level members. It views the body, which must not change while the Doc, its
// Values and their strings are in use. A Doc is read-only after Reset and then safe for concurrent use.
type Doc struct {
	body    []byte
	open    int // offset of the '{'
	members []member
}

// member is one member of an object: the half-open byte ranges of its quoted key and of its value.
type member struct{ key, keyEnd, val, valEnd int }

// A Doc begins with a table of usualMembers entries, and holds on to one of at most keepMembers.
const (
	usualMembers = 16
	keepMembers  = 1024
)

// Admit makes a Doc of a body that is one JSON object (RFC 8259) in valid UTF-8, without duplicate keys in any object, without lone
// surrogates and nested at most maxDepth deep; the root is depth 1. Else the error is a *SyntaxError. A number's size is not judged.
func Admit(body []byte, maxDepth int) (*Doc, error) {
	d := new(Doc)
	if err := d.Reset(body, maxDepth); err != nil {
		return nil, err
	}
	return d, nil
}

// Reset is Admit into a Doc that is used again. After an error the Doc is empty.
func (d *Doc) Reset(body []byte, maxDepth int) error {
	members := d.members[:0]
	if cap(members) == 0 || cap(members) > keepMembers {
		members = make([]member, 0, usualMembers)
	}
	if found, open, ok := surely(members, body, maxDepth); ok {
		*d = Doc{body: body, open: open, members: found}
		return nil
	}
	return d.decode(members, body, maxDepth)
}

// decode is Reset for any body. What is wrong with one is found out here.
func (d *Doc) decode(members []member, body []byte, maxDepth int) error {
	*d = Doc{members: members}
	r := pool.Get().(*reader)
	defer r.release()
	r.src = *bytes.NewBuffer(body)
	if err := d.admit(r, body, maxDepth); err != nil {
		*d = Doc{members: members}
		return explain(err, body)
	}
	d.body = body
	return nil
}

// Raw is the admitted body, unchanged; nil for an empty Doc.
func (d *Doc) Raw() []byte { return d.body }

// reader is a pooled decoder. Between uses the decoder is reset and holds no body: jsontext parses in place from a bytes.Buffer, so
// one that was not reset would pin the last body.
type reader struct {
	src bytes.Buffer
	dec jsontext.Decoder
}

var pool = sync.Pool{New: func() any {
	r := new(reader)
	r.dec.Reset(&r.src)
	return r
}}

func (r *reader) release() {
	r.src = bytes.Buffer{}
	r.dec.Reset(&r.src)
	pool.Put(r)
}

// admit reads the body once and books the top-level members.
func (d *Doc) admit(r *reader, body []byte, maxDepth int) error {
	dec := &r.dec
	tok, err := dec.ReadToken()
	if err != nil {
		return err
	}
	d.open = int(dec.InputOffset()) - 1
	if tok.Kind() != jsontext.KindBeginObject {
		return &SyntaxError{Offset: int64(start(body)), Msg: "body must be a JSON object"}
	}
	if maxDepth < 1 {
		return tooDeep(dec, maxDepth)
	}
	for dec.PeekKind() != jsontext.KindEndObject {
		key, err := dec.ReadValue()
		if err != nil {
			return err
		}
		m := member{keyEnd: int(dec.InputOffset())}
		m.key = m.keyEnd - len(key)
		if m.val, err = skip(dec, maxDepth); err != nil {
			return err
		}
		m.valEnd = int(dec.InputOffset())
		d.members = append(d.members, m)
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	end := int(dec.InputOffset())
	if n := start(body[end:]); end+n < len(body) {
		return &SyntaxError{Offset: int64(end + n), Msg: "unexpected bytes after the JSON object"}
	}
	return nil
}

// skip reads one value and returns where it starts. It reads token by token, since only so the depth is known in the same pass.
func skip(dec *jsontext.Decoder, maxDepth int) (int, error) {
	switch dec.PeekKind() {
	case jsontext.KindBeginObject, jsontext.KindBeginArray:
	default:
		value, err := dec.ReadValue()
		return int(dec.InputOffset()) - len(value), err
	}
	at := -1
	for depth := 1; ; {
		tok, err := dec.ReadToken()
		if err != nil {
			return 0, err
		}
		switch tok.Kind() {
		case jsontext.KindBeginObject, jsontext.KindBeginArray:
			if at < 0 {
				at = int(dec.InputOffset()) - 1
			}
			if depth++; depth > maxDepth {
				return 0, tooDeep(dec, maxDepth)
			}
		case jsontext.KindEndObject, jsontext.KindEndArray:
			if depth--; depth == 1 {
				return at, nil
			}
		}
	}
}

func tooDeep(dec *jsontext.Decoder, maxDepth int) error {
	return &SyntaxError{Offset: dec.InputOffset() - 1, Msg: fmt.Sprintf("nesting deeper than %d levels", maxDepth)}
}

// start counts the white space that b begins with.
func start(b []byte) int { return len(b) - len(bytes.TrimLeft(b, " \t\r\n")) }

// explain turns what the decoder reports into a SyntaxError.
func explain(err error, body []byte) error {
	var own *SyntaxError
	if errors.As(err, &own) {
		return own
	}
	var syn *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), err == io.EOF:
		return &SyntaxError{Offset: int64(len(body)), Msg: "unexpected end of JSON"}
	case !errors.As(err, &syn):
		return &SyntaxError{Msg: err.Error()}
	case errors.Is(syn.Err, jsontext.ErrDuplicateName):
		return &SyntaxError{Offset: syn.ByteOffset, Msg: "duplicate key " + strconv.Quote(clip(syn.JSONPointer.LastToken()))}
	case bytes.HasPrefix(body, []byte("\xef\xbb\xbf")):
		return &SyntaxError{Msg: "byte order mark"}
	case syn.Err == nil:
		return &SyntaxError{Offset: syn.ByteOffset, Msg: "syntax error"}
	}
	return &SyntaxError{Offset: syn.ByteOffset, Msg: clip(strings.TrimPrefix(syn.Err.Error(), "jsontext: "))}
}

// clip shortens what goes into a message: the body is the client's, and may be megabytes or worse.
func clip(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
