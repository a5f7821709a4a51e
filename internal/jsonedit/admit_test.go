package jsonedit

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// nest is an object nested that deep: alternately objects and arrays.
func nest(depth int) string {
	open, shut := `{"a":`, "}"
	for d := 2; d <= depth; d++ {
		if d%2 == 0 {
			open, shut = open+"[", "]"+shut
		} else {
			open, shut = open+`{"a":`, "}"+shut
		}
	}
	return open + "1" + shut
}

func TestAdmit(t *testing.T) {
	long := strings.Repeat("k", 1000)
	for _, tc := range []struct{ name, body, err string }{
		{"plain", `{"model":"a","stream":true}`, ""},
		{"empty object", `{}`, ""},
		{"odd spacing", " \t\r\n{ \"model\"\n:\t\"a\" , \"x\" :[ 1 ,2 ] } \n", ""},
		{"unknown fields", `{"modell":1,"":2,"a.b":{"*":[null,true,false,-0.5E+7]}}`, ""},
		{"case differs", `{"model":"a","Model":"b","MODEL":"c"}`, ""},
		{"big number", `{"n":1e400,"m":123456789012345678901234567890}`, ""},
		{"same key at two levels", `{"a":{"a":{"a":1}},"b":{"a":1}}`, ""},
		{"surrogate pair", `{"a":"\ud83d\ude00"}`, ""},
		{"depth 64", nest(64), ""},
		{"depth 65", nest(65), `nesting deeper than 64 levels at byte 192`},
		{"depth by arrays", `{"a":` + strings.Repeat("[", 1<<20), `nesting deeper than 64 levels at byte 68`},
		{"duplicate", `{"model":"a","model":"b"}`, `duplicate key "model" at byte 13`},
		{"duplicate by escape", `{"model":"a","m\u006fdel":"b"}`, `duplicate key "model" at byte 13`},
		{"duplicate nested", `{"a":[{"b":1,"c":2,"b":3}]}`, `duplicate key "b" at byte 19`},
		{"duplicate nested by escape", `{"a":{"\/":1,"/":2}}`, `duplicate key "/" at byte 13`},
		{"long duplicate", `{"` + long + `":1,"` + long + `":2}`, `duplicate key "` + long[:120] + `…" at byte 1006`},
		{"lone surrogate", `{"a":"\ud800"}`, "invalid surrogate pair `\\ud800\"}` in string at byte 6"},
		{"lone low surrogate", `{"a":"x\udc00y"}`, "invalid surrogate pair `\\udc00y\"}` in string at byte 7"},
		{"lone surrogate in a key", `{"\ud800":1}`, "invalid surrogate pair `\\ud800\":1}` in string at byte 2"},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", "invalid UTF-8 at byte 6"},
		{"invalid UTF-8 in a key", "{\"\xc0\xaf\":1}", "invalid UTF-8 at byte 2"},
		{"surrogate in UTF-8", "{\"a\":\"\xed\xa0\x80\"}", "invalid UTF-8 at byte 6"},
		{"two objects", `{}{}`, "unexpected bytes after the JSON object at byte 2"},
		{"rubbish behind", "{\"a\":1} \n x", "unexpected bytes after the JSON object at byte 10"},
		{"NUL behind", "{}\x00", "unexpected bytes after the JSON object at byte 2"},
		{"trailing comma", `{"a":1,}`, "invalid character ',' at start of value at byte 6"},
		{"trailing comma in array", `{"a":[1,]}`, "*"},
		{"leading comma", `{,"a":1}`, "*"},
		{"missing comma", `{"a":1 "b":2}`, "*"},
		{"missing colon", `{"a" 1}`, "*"},
		{"missing value", `{"a":}`, "*"},
		{"key not a string", `{1:2}`, "*"},
		{"mismatch", `{"a":[1}`, "*"},
		{"NaN", `{"a":NaN}`, "invalid character 'N' at start of value at byte 5"},
		{"Infinity", `{"a":-Infinity}`, "*"},
		{"leading zero", `{"a":01}`, "*"},
		{"bare fraction", `{"a":.5}`, "*"},
		{"plus", `{"a":+1}`, "*"},
		{"hex", `{"a":0x1}`, "*"},
		{"single quotes", `{'a':1}`, "*"},
		{"comment", `{"a":1/**/}`, "*"},
		{"control character", "{\"a\":\"\n\"}", "*"},
		{"bad escape", `{"a":"\x"}`, "*"},
		{"bad literal", `{"a":trux}`, "*"},
		{"byte order mark", "\xef\xbb\xbf{}", "byte order mark at byte 0"},
		{"UTF-16", "\xff\xfe{\x00}\x00", "*"},
		{"nothing", "", "unexpected end of JSON at byte 0"},
		{"space only", " \n", "unexpected end of JSON at byte 2"},
		{"cut", `{"a":{"b":"c`, "unexpected end of JSON at byte 12"},
		{"cut after a key", `{"a"`, "unexpected end of JSON at byte 4"},
		{"cut after a value", `{"a":1`, "unexpected end of JSON at byte 6"},
		{"null", `null`, "body must be a JSON object at byte 0"},
		{"array", ` [{"model":"a"}]`, "body must be a JSON object at byte 1"},
		{"string", `"model"`, "body must be a JSON object at byte 0"},
		{"number", `1`, "body must be a JSON object at byte 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := strings.Clone(tc.body)
			d, err := Admit([]byte(tc.body), 64)
			var syn *SyntaxError
			switch {
			case tc.err == "" && err != nil:
				t.Fatalf("refused: %v", err)
			case tc.err == "" && string(d.Raw()) != before:
				t.Fatalf("body became %q", d.Raw())
			case tc.err != "" && !errors.As(err, &syn):
				t.Fatalf("admitted, want %q", tc.err)
			case tc.err != "" && tc.err != "*" && err.Error() != tc.err:
				t.Fatalf("got  %s\nwant %s", err, tc.err)
			case tc.err != "" && (syn.Offset < 0 || syn.Offset > int64(len(tc.body)) || len(err.Error()) > 200):
				t.Fatalf("position or length: %v", err)
			}
		})
	}
}

func TestDepthOfTheRoot(t *testing.T) {
	for _, tc := range []struct {
		body string
		max  int
		ok   bool
	}{{`{}`, 0, false}, {`{}`, 1, true}, {`{"a":1}`, 1, true}, {`{"a":[]}`, 1, false}, {`{"a":[]}`, 2, true}, {`{"a":[{}],"b":[]}`, 2, false}} {
		if _, err := Admit([]byte(tc.body), tc.max); (err == nil) != tc.ok {
			t.Errorf("%s with depth %d: %v", tc.body, tc.max, err)
		}
	}
}

func TestResetForgetsTheLastBody(t *testing.T) {
	var d Doc
	if err := d.Reset([]byte(`{"model":"a","stream":true}`), 64); err != nil {
		t.Fatal(err)
	}
	if err := d.Reset([]byte(`{"other":1}`), 64); err != nil || d.Value("model").Exists() || d.Value("other").Int() != 1 {
		t.Errorf("after a second body: %v, model %q", err, d.Value("model").Raw())
	}
	if err := d.Reset([]byte(`{"model":"a",`), 64); err == nil || d.Value("model").Exists() || d.Raw() != nil || d.Root().Exists() {
		t.Errorf("after an error: %v, model %q", err, d.Value("model").Raw())
	}
	if _, err := d.Append(nil, Set("a", []byte("1"))); !errors.Is(err, ErrNotObject) {
		t.Errorf("edit of an empty Doc: %v", err)
	}
	if err := d.Reset([]byte(`{"model":"b"}`), 64); err != nil || d.Value("model").String() != "b" {
		t.Errorf("after the error: %v", err)
	}
}

func TestManyMembers(t *testing.T) {
	var b strings.Builder
	b.WriteString("{")
	for i := range 100_000 {
		fmt.Fprintf(&b, `"k%d":%d,`, i, i)
	}
	body := b.String() + `"end":1}`
	d, err := Admit([]byte(body), 64)
	if err != nil || d.Value("k99999").Int() != 99999 || d.Root().Len() != 100_001 {
		t.Fatalf("%v, %d members", err, d.Root().Len())
	}
	if err := d.Reset([]byte(`{}`), 64); err != nil || cap(d.members) > keepMembers {
		t.Errorf("a Doc keeps room for %d members", cap(d.members))
	}
	if _, err := Admit([]byte(body[:len(body)-1]+`,"k7":1}`), 64); err == nil || !strings.HasPrefix(err.Error(), `duplicate key "k7"`) {
		t.Errorf("duplicate among many: %v", err)
	}
}

func FuzzAdmit(f *testing.F) {
	for _, s := range []string{`{"model":"a","m\u006fdel":"b"}`, `{"a":[{"b":1}],"c":null}`, ` { "x" : 1e400 } `, "{}{}", "[1]", "\xef\xbb\xbf{}", `{"a":"\ud800"}`, nest(9), `{"a":01}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		const depth = 8
		before := string(body)
		d, err := Admit(body, depth)
		if string(body) != before {
			t.Fatalf("body changed to %q", body)
		}
		checkSure(t, body, depth)
		if ok := json.Valid(body); Valid(body, depth) != (ok && measure(body) <= depth) {
			t.Fatalf("Valid %v, encoding/json %v, depth %d", !ok, ok, measure(body))
		}
		if err != nil {
			var syn *SyntaxError
			if !errors.As(err, &syn) || syn.Offset < 0 || syn.Offset > int64(len(body)) {
				t.Fatalf("error %#v", err)
			}
			if plain(body, depth) {
				t.Fatalf("refused: %v", err)
			}
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatalf("admitted what encoding/json refuses: %v", err)
		}
		if len(want) != len(d.members) || d.Root().Len() != len(want) {
			t.Fatalf("%d members, want %d", len(d.members), len(want))
		}
		d.Root().EachMember(func(key string, v Value) bool {
			from, to := v.Offset()
			if v != d.Value(key) || v != d.Root().Field(key) || v.Raw() != string(want[key]) || string(body[from:to]) != v.Raw() {
				t.Fatalf("%q is %q, %q, want %q", key, v.Raw(), d.Value(key).Raw(), want[key])
			}
			compare(t, v, want[key])
			return true
		})
		var walked, booked []string
		d.Root().EachMember(func(key string, v Value) bool { walked = append(walked, key, v.Raw()); return true })
		d.EachMember(func(key string, v Value) bool { booked = append(booked, key, v.Raw()); return true })
		if !slices.Equal(walked, booked) {
			t.Fatalf("booked %q, walked %q", booked, walked)
		}
	})
}

// plain says that encoding/json reads the body as an object, and that writing it back shows nothing that Admit refuses.
func plain(body []byte, depth int) bool {
	var v map[string]any
	if json.Unmarshal(body, &v) != nil || v == nil || measure(body) > depth || strings.Contains(string(body), `\`) {
		return false
	}
	again, err := json.Marshal(v)
	return err == nil && strings.Count(string(again), `":`) == strings.Count(string(body), `":`) && !strings.ContainsRune(string(again), '\ufffd') &&
		!strings.ContainsAny(string(again), `\`) && len(again) == len(body)
}

// measure is the depth of valid JSON, in the plainest way.
func measure(body []byte) (deepest int) {
	depth, in := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case in && c == '\\':
			i++
		case c == '"':
			in = !in
		case in:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

// compare checks a value and all below it against encoding/json.
func compare(t *testing.T, v Value, raw json.RawMessage) {
	t.Helper()
	var want any
	if err := json.Unmarshal(raw, &want); err != nil {
		return // a number out of range
	}
	switch w := want.(type) {
	case string:
		if v.Kind() != String || v.String() != w {
			t.Fatalf("string %q, want %q", v.String(), w)
		}
	case float64:
		if v.Kind() != Number || v.Float() != w {
			t.Fatalf("number %v, want %v", v.Float(), w)
		}
	case bool:
		if (v.Kind() != True && v.Kind() != False) || v.Bool() != w {
			t.Fatalf("bool %v, want %v", v.Bool(), w)
		}
	case nil:
		if v.Kind() != Null || v.String() != "" {
			t.Fatalf("null is %v", v.Kind())
		}
	case []any:
		var elements []json.RawMessage
		_ = json.Unmarshal(raw, &elements)
		n := 0
		v.Each(func(e Value) bool {
			if n >= len(elements) || e.Raw() != string(elements[n]) {
				t.Fatalf("element %d is %q of %q", n, e.Raw(), raw)
			}
			compare(t, e, elements[n])
			n++
			return true
		})
		if n != len(elements) || v.Kind() != Array {
			t.Fatalf("%d elements, want %d", n, len(elements))
		}
	case map[string]any:
		var members map[string]json.RawMessage
		_ = json.Unmarshal(raw, &members)
		v.EachMember(func(key string, m Value) bool {
			if m.Raw() != string(members[key]) {
				t.Fatalf("member %q is %q of %q", key, m.Raw(), raw)
			}
			compare(t, m, members[key])
			return true
		})
		if v.Len() != len(members) || v.Kind() != Object {
			t.Fatalf("%d members, want %d", v.Len(), len(members))
		}
	}
}

// chat is a request body of about n bytes: a conversation with the usual settings behind it.
func chat(n int) []byte {
	turn := `{"role":"user","content":"Explain, please, how the \"borrow checker\" works.\nShort sentences; one example in code. ` + strings.Repeat("Some further text of the turn. ", 20) + `"},`
	body := `{"model":"auto","messages":[` + turn
	for len(body) < n-200 {
		body += turn
	}
	return []byte(strings.TrimSuffix(body, ",") + `],"temperature":0.7,"max_tokens":512,"stream":true,"stream_options":{"include_usage":true},"user":"u-1"}`)
}

func BenchmarkAdmit(b *testing.B) {
	for _, n := range []int{1 << 10, 32 << 10, 400 << 10} {
		body := chat(n)
		b.Run(fmt.Sprintf("%d KiB", n>>10), func(b *testing.B) {
			var d Doc
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Reset(body, 64); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkValid(b *testing.B) {
	for _, n := range []int{1 << 10, 32 << 10} {
		body := chat(n)
		b.Run(fmt.Sprintf("%d KiB", n>>10), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if !Valid(body, 64) {
					b.Fatal("not valid")
				}
			}
		})
	}
}
