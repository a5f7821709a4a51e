package jsonedit

import (
	"strings"
	"testing"
)

// tree reads a text with a cursor, entering everything down to the level, and writes it without white space. What stands deeper is taken whole.
func tree(c *Cursor, b *strings.Builder, level int) {
	comma := ""
	switch {
	case level > 0 && c.Enter('{'):
		b.WriteByte('{')
		for key, ok := c.Member(); ok; key, ok = c.Member() {
			b.WriteString(comma)
			b.Write(AppendString(nil, key))
			b.WriteByte(':')
			tree(c, b, level-1)
			comma = ","
		}
		b.WriteByte('}')
	case level > 0 && c.Enter('['):
		b.WriteByte('[')
		for c.Element() {
			b.WriteString(comma)
			tree(c, b, level-1)
			comma = ","
		}
		b.WriteByte(']')
	default:
		b.WriteString(c.Value().Raw())
	}
}

func TestCursor(t *testing.T) {
	for in, want := range map[string]string{
		` {"a" : [ 1 , {"b":null} ,[ ] ] , "\u0063":"x\"}" } `: `{"a":[1,{"b":null},[]],"c":"x\"}"}`,
		`[]`: `[]`, `{}`: `{}`, `7`: `7`, ` "s"`: `"s"`,
		``: ``, `{`: ``, `{"a"}`: ``, `{"a":}`: ``, `{"a":1,}`: ``, `{,"a":1}`: ``, `{"a":1 "b":2}`: ``, `[1,]`: ``, `[,1]`: ``, `[1 2]`: ``, `[1}`: ``, `{"a":1]`: ``,
		`{}{}`: ``, `{"a":1}x`: ``, `nul`: ``, `{a:1}`: ``, `{"a":01}`: ``, "{\"a\":\"\n\"}": ``, `[[[[[]]]]]`: ``, `[[[{"a":[]}]]]`: ``, `[[[[]]]]`: `[[[[]]]]`,
	} {
		for level := range 6 {
			c := Over([]byte(in), 4)
			var b strings.Builder
			tree(&c, &b, level)
			switch {
			case c.Done() != (want != ""):
				t.Errorf("%s to level %d: done is %v", in, level, c.Done())
			case level == 5 && c.Done() && b.String() != want:
				t.Errorf("%s is %s, want %s", in, b.String(), want)
			}
		}
	}
}

// A cursor that is not at its end is not done, though all before was well.
func TestCursorNotAtItsEnd(t *testing.T) {
	c := Over([]byte(`{"a":1}`), 4)
	if c.Done() {
		t.Error("done before it began")
	}
	c.Enter('{')
	if c.Done() {
		t.Error("done within")
	}
}

func FuzzCursor(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null},[]],"c":"x\"}"}`), 3)
	f.Add([]byte(`[[[[]]]] `), 9)
	f.Add([]byte(`{"a":1,}`), 1)
	f.Fuzz(func(t *testing.T, body []byte, level int) {
		c := Over(body, 8)
		var b strings.Builder
		tree(&c, &b, level%12)
		if c.Done() != Valid(body, 8) {
			t.Fatalf("%q to level %d: done is %v", body, level, c.Done())
		}
		if c.Done() && !Valid([]byte(b.String()), 8) {
			t.Fatalf("%q read as %q", body, b.String())
		}
	})
}

// special must find the first of what it looks for, at every place and beside every neighbour that a borrow could come from.
func TestSpecial(t *testing.T) {
	for _, fill := range []byte{'a', ' ', '!', '#', ']', '[', 0x7f, 0x80, 0xa2, 0xdc, 0xff} {
		for n := range 140 {
			b := make([]byte, n)
			for i := range b {
				b[i] = fill
			}
			if got := special(b, 0); got != n {
				t.Fatalf("%d bytes of %q: %d", n, fill, got)
			}
			for _, c := range []byte{'"', '\\', 0, 1, 2, 0x1f, '\n'} {
				for i := range b {
					b[i] = c
					if got := special(b, 0); got != i {
						t.Fatalf("%q at %d of %d bytes of %q: %d", c, i, n, fill, got)
					}
					if i > 0 {
						b[i-1] = '\\' // the next round has a neighbour below
						if got := special(b, i); got != i {
							t.Fatalf("%q at %d after a backslash: %d", c, i, got)
						}
						b[i-1] = fill
					}
					b[i] = fill
				}
			}
		}
	}
}
