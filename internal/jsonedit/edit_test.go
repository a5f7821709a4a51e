package jsonedit

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func raw(s string) []byte { return []byte(s) }

func TestAppendEdits(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		edits    []Edit
		want     string
		err      error
	}{
		{"none", ` { "a" : 1 } `, nil, ` { "a" : 1 } `, nil},
		{"set", ` { "a" : 1 , "b":[ 2 ] } `, []Edit{Set("a", raw(`"x"`))}, ` { "a" : "x" , "b":[ 2 ] } `, nil},
		{"set the last", `{"a":1,"b":2 }`, []Edit{Set("b", raw(`null`))}, `{"a":1,"b":null }`, nil},
		{"set by an escaped key", `{"m\u006fdel":"a"}`, []Edit{SetString("model", "b")}, `{"m\u006fdel":"b"}`, nil},
		{"set string", `{"model":"a"}`, []Edit{SetString("model", "a\"\n\xff é")}, `{"model":"a\"\n` + "\ufffd é\"}", nil},
		{"several", `{"a":1,"b":2,"c":3}`, []Edit{Set("c", raw(`30`)), Set("a", raw(`10`))}, `{"a":10,"b":2,"c":30}`, nil},
		{"add", "{\"a\":1\n}\n", []Edit{Set("b", raw(`2`))}, "{\"a\":1,\"b\":2\n}\n", nil},
		{"add two", `{"a":1}`, []Edit{Set("b", raw(`2`)), SetString("c", "3")}, `{"a":1,"b":2,"c":"3"}`, nil},
		{"add to nothing", " {\n} ", []Edit{Set("b", raw(`2`)), Set("c", raw(`3`))}, " {\"b\":2,\"c\":3\n} ", nil},
		{"add an odd key", `{}`, []Edit{Set("a\"\\b", raw(`1`))}, `{"a\"\\b":1}`, nil},
		{"keys are literal", `{"a":{"b":1},"a.b":2,"*":3,"#":4,"a|b":5}`, []Edit{Set("a.b", raw(`0`)), Set("*", raw(`0`)), Set("a|b", raw(`0`))}, `{"a":{"b":1},"a.b":0,"*":0,"#":4,"a|b":0}`, nil},
		{"delete the first", `{ "a":1 , "b":2 , "c":3 }`, []Edit{Delete("a")}, `{ "b":2 , "c":3 }`, nil},
		{"delete in the middle", `{ "a":1 , "b":2 , "c":3 }`, []Edit{Delete("b")}, `{ "a":1 , "c":3 }`, nil},
		{"delete the last", `{ "a":1 , "b":2 , "c":3 }`, []Edit{Delete("c")}, `{ "a":1 , "b":2 }`, nil},
		{"delete a tail", `{ "a":1 , "b":2 , "c":3 }`, []Edit{Delete("c"), Delete("b")}, `{ "a":1 }`, nil},
		{"delete a head", `{ "a":1 , "b":2 , "c":3 }`, []Edit{Delete("a"), Delete("b")}, `{ "c":3 }`, nil},
		{"delete both ends", `{ "a":1 , "b":2 , "c":3 }`, []Edit{Delete("a"), Delete("c")}, `{ "b":2 }`, nil},
		{"delete all", `{ "a":1 , "b":2 }`, []Edit{Delete("a"), Delete("b")}, `{  }`, nil},
		{"delete all and add", `{ "a":1 , "b":2 }`, []Edit{Delete("a"), Set("c", raw(`3`)), Delete("b")}, `{ "c":3 }`, nil},
		{"delete a tail and add", `{"a":1,"b":2}`, []Edit{Set("c", raw(`3`)), Delete("b"), Set("a", raw(`0`))}, `{"a":0,"c":3}`, nil},
		{"delete what is not there", `{"a":1}`, []Edit{Delete("b"), DeleteIn("c", "d")}, `{"a":1}`, nil},
		{"set in", `{"o":{ "x":1 , "y":2 },"z":3}`, []Edit{SetIn("o", "y", raw(`true`))}, `{"o":{ "x":1 , "y":true },"z":3}`, nil},
		{"add in", `{"o":{ "x":1 },"z":3}`, []Edit{SetIn("o", "y", raw(`true`))}, `{"o":{ "x":1,"y":true },"z":3}`, nil},
		{"add in nothing", `{"o":{ },"z":3}`, []Edit{SetIn("o", "y", raw(`true`))}, `{"o":{"y":true },"z":3}`, nil},
		{"set in absent", `{"z":3}`, []Edit{SetIn("o", "y", raw(`true`))}, `{"z":3,"o":{"y":true}}`, nil},
		{"set two in absent", `{}`, []Edit{SetIn("o", "y", raw(`1`)), Set("p", raw(`2`)), SetIn("o", "z", raw(`3`))}, `{"o":{"y":1,"z":3},"p":2}`, nil},
		{"set in null", `{"o": null ,"z":3}`, []Edit{SetIn("o", "y", raw(`true`))}, `{"o": {"y":true} ,"z":3}`, nil},
		{"set and delete in", `{"o":{"x":1,"y":2}}`, []Edit{SetIn("o", "z", raw(`3`)), DeleteIn("o", "x"), SetIn("o", "y", raw(`0`))}, `{"o":{"y":0,"z":3}}`, nil},
		{"delete in", `{"o":{"x":1}}`, []Edit{DeleteIn("o", "x")}, `{"o":{}}`, nil},
		{"delete in null", `{"o": null}`, []Edit{DeleteIn("o", "x")}, `{"o": null}`, nil},
		{"delete in absent with set", `{}`, []Edit{DeleteIn("o", "x"), SetIn("o", "y", raw(`1`))}, `{"o":{"y":1}}`, nil},
		{"set in a string", `{"a":1,"o":"s"}`, []Edit{Set("a", raw(`2`)), SetIn("o", "x", raw(`1`))}, "", ErrNotObject},
		{"set in an array", `{"o":[]}`, []Edit{SetIn("o", "x", raw(`1`))}, "", ErrNotObject},
		{"twice", `{"a":1}`, []Edit{Set("a", raw(`2`)), Delete("a")}, "", ErrConflict},
		{"twice in", `{}`, []Edit{SetIn("a", "b", raw(`2`)), DeleteIn("a", "b")}, "", ErrConflict},
		{"over and in", `{}`, []Edit{SetIn("a", "b", raw(`2`)), Set("a", raw(`1`))}, "", ErrConflict},
		{"not JSON", `{}`, []Edit{Set("a", raw(`1,"b":2`))}, "", ErrNotJSON},
		{"key not UTF-8", "{\"\ufffd\":1}", []Edit{Set("\xff", raw(`1`))}, "", ErrNotJSON},
		{"value not UTF-8", `{}`, []Edit{SetIn("a", "b", raw("\"\xff\""))}, "", ErrNotJSON},
		{"empty", `{}`, []Edit{SetIn("a", "b", nil)}, "", ErrNotJSON},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, err := Admit([]byte(tc.in), 64)
			if err != nil {
				t.Fatal(err)
			}
			out, err := d.Append([]byte("before"), tc.edits...)
			if string(out) != "before"+tc.want || !errors.Is(err, tc.err) {
				t.Fatalf("got  %s, %v\nwant before%s, %v", out, err, tc.want, tc.err)
			}
			if err != nil {
				return
			}
			if string(d.Raw()) != tc.in {
				t.Errorf("the body became %s", d.Raw())
			}
			if _, err := Admit(out[len("before"):], 64); err != nil {
				t.Errorf("the result is refused: %v", err)
			}
		})
	}
}

func TestAppendMoreEditsThanTheStackHolds(t *testing.T) {
	body, want := "{", "{"
	var edits []Edit
	for i := range 40 {
		k := string(rune('A' + i))
		q := string(AppendString(nil, k))
		body += q + ":0,"
		want += q + ":1,"
		edits = append([]Edit{Set(k, raw("1"))}, edits...)
	}
	d, err := Admit([]byte(body+`"end":0}`), 64)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := d.Append(nil, edits...); err != nil || string(out) != want+`"end":0}` {
		t.Errorf("got %s, %v", out, err)
	}
}

func TestValue(t *testing.T) {
	d, err := Admit([]byte(` {"s":"a\u0041\n\ud83d\ude00","e":"","n":-1.5e1,"big":1e400,"long":123456789012345678901234567890,"f":1.9,"i":9223372036854775807,
		"t":true,"no":false,"nil":null,"q":"5","a.b":{"*":1,"x":{"y":[10,"b]",{"z":"\\"},[]]}},"a":{"b":2},"l":[ 1 ,2, 3 ],"em":[ ],"eo":{ },"k\u0065y":7} `), 64)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Value("s").String(); got != "aA\n😀" {
		t.Errorf("s is %q", got)
	}
	for key, want := range map[string]int64{"n": -15, "big": 1<<63 - 1, "long": 1<<63 - 1, "f": 1, "i": 1<<63 - 1, "t": 0, "q": 0, "absent": 0, "key": 7} {
		if got := d.Value(key).Int(); got != want {
			t.Errorf("Int of %s is %d, want %d", key, got, want)
		}
	}
	for key, want := range map[string]bool{"n": true, "big": false, "long": false, "f": false, "i": true, "t": false, "q": false, "absent": false} {
		if _, ok := d.Value(key).Integer(); ok != want {
			t.Errorf("Integer of %s: %v", key, ok)
		}
	}
	for key, want := range map[string]Kind{"s": String, "n": Number, "t": True, "no": False, "nil": Null, "l": Array, "a": Object, "absent": Absent, "": Absent, "#": Absent, "k\\u0065y": Absent, "a|b": Absent, "*": Absent} {
		if v := d.Value(key); v.Kind() != want || v.Exists() != (want != Absent) || v != d.Root().Field(key) {
			t.Errorf("Kind of %q is %v, want %v", key, v.Kind(), want)
		}
	}
	for key, want := range map[string]int{"l": 3, "em": 0, "eo": 0, "a.b": 2, "s": 0, "absent": 0} {
		if got := d.Value(key).Len(); got != want {
			t.Errorf("Len of %q is %d, want %d", key, got, want)
		}
	}
	y := d.Value("a.b").Field("x").Field("y")
	var got []string
	y.Each(func(v Value) bool {
		from, to := v.Offset()
		got = append(got, string(d.Raw()[from:to]))
		return len(got) < 3
	})
	if s := strings.Join(got, " "); s != `10 "b]" {"z":"\\"}` {
		t.Errorf("elements %s", s)
	}
	if !d.Value("t").Bool() || d.Value("no").Bool() || d.Value("q").Bool() || d.Value("nil").String() != "" || d.Value("em").String() != "[ ]" {
		t.Error("bool or string of another kind")
	}
	var zero Value
	zero.Each(func(Value) bool { t.Error("an element of nothing"); return true })
	if zero.Raw() != "" || zero.String() != "" || zero.Field("a").Exists() || Parse(nil).Exists() || Parse([]byte(" ")).Exists() {
		t.Error("the zero Value is not empty")
	}
}

func TestValid(t *testing.T) {
	for body, want := range map[string]bool{
		`{}`: true, `[]`: true, ` 1 `: true, `"a"`: true, `null`: true, `{"a":[1,{"b":[]}]}`: true, "\"\xff\"": true, `{"a":1,"a":2}`: true,
		``: false, ` `: false, `{`: false, `[`: false, `}`: false, `[}`: false, `{]`: false, `[1}`: false, `{"a":1]`: false, `[1,]`: false, `{"a":1,}`: false,
		`{} {}`: false, `01`: false, `-`: false, `1.`: false, `.1`: false, `1e`: false, `1e+`: false, `tru`: false, `"\u00g0"`: false, `"\x"`: false, `"a`: false,
		"\"\n\"": false, `"\`: false, `"\u12`: false, `{"a"}`: false, `{"a":}`: false, `{a:1}`: false, `[1 2]`: false, `,`: false, "\xef\xbb\xbf{}": false,
	} {
		if got := Valid([]byte(body), 64); got != want || got != json.Valid([]byte(body)) {
			t.Errorf("Valid(%q) = %v", body, got)
		}
	}
	for _, tc := range []struct {
		depth, max int
		want       bool
	}{{64, 64, true}, {65, 64, false}, {DepthCap, DepthCap, true}, {DepthCap + 1, DepthCap + 1, false}, {1, 0, false}, {1, -1, false}, {16 << 20, 1 << 30, false}} {
		body := []byte(strings.Repeat("[", tc.depth) + strings.Repeat("]", tc.depth))
		if got := Valid(body, tc.max); got != tc.want {
			t.Errorf("Valid of depth %d with limit %d = %v", tc.depth, tc.max, got)
		}
	}
}

func FuzzEdits(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":{"c":2},"d":null}`), "a", "b", "c", "text", uint8(3))
	f.Add([]byte(` { "m\u006fdel" : "x" , "o":{ } } `), "model", "o", "a.b", "\xff\"", uint8(9))
	f.Add([]byte(`{"0":0}`), "1", "0", "0", "0", uint8(10)) // refused: dst comes back as it was
	f.Fuzz(func(t *testing.T, body []byte, one, two, sub, text string, del uint8) {
		d, err := Admit(body, 16)
		if err != nil || one == two || !utf8.ValidString(one) || !utf8.ValidString(two) || !utf8.ValidString(sub) {
			return
		}
		value := AppendString(nil, text)
		edits := []Edit{SetString(one, text), SetIn(two, sub, value)}
		gone := ""
		if n := len(d.members); n > 0 {
			gone = unquote(view(body)[d.members[int(del)%n].key:d.members[int(del)%n].keyEnd])
			if gone != one && gone != two {
				edits = append(edits, Delete(gone))
			}
		}
		deleted := len(edits) == 3
		out, err := d.Append(nil, edits...)
		if err != nil {
			if k := d.Value(two).Kind(); !errors.Is(err, ErrNotObject) || k == Object || k == Null || k == Absent || out != nil {
				t.Fatalf("%v for kind %v", err, k)
			}
			return
		}
		e, err := Admit(out, 18)
		if err != nil {
			t.Fatalf("result %q is refused: %v", out, err)
		}
		want := Parse(value).String()
		if got := e.Value(one).String(); got != want {
			t.Fatalf("%q is %q, want %q", one, got, want)
		}
		if got := e.Value(two).Field(sub).String(); got != want {
			t.Fatalf("%q in %q is %q, want %q", sub, two, got, want)
		}
		if deleted && e.Value(gone).Exists() {
			t.Fatalf("%q is still there in %q", gone, out)
		}
		d.Root().EachMember(func(key string, v Value) bool {
			if key != one && key != two && !(deleted && key == gone) && e.Value(key).Raw() != v.Raw() {
				t.Fatalf("%q became %q", key, e.Value(key).Raw())
			}
			return true
		})
	})
}

func FuzzParseOfAnything(f *testing.F) {
	for _, s := range []string{`{"a":[1,"\`, `[[[[`, `{"a"`, `{]`, `[}1,:`, `"\"`, `{"a":}`, `{1:2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		var visit func(Value)
		visit = func(v Value) {
			if n++; n > 10_000 {
				return
			}
			_, _, _, _ = v.String(), v.Int(), v.Len(), v.Field("a")
			v.Each(func(e Value) bool { visit(e); return true })
			v.EachMember(func(_ string, m Value) bool { visit(m); return true })
		}
		visit(Parse(b))
	})
}

func BenchmarkAppend(b *testing.B) {
	d, err := Admit(chat(32<<10), 64)
	if err != nil {
		b.Fatal(err)
	}
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		if out, err = d.Append(out[:0], SetString("model", "other-model"), SetIn("stream_options", "include_usage", raw("true"))); err != nil {
			b.Fatal(err)
		}
	}
}
