package jsonedit

import (
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func TestAppendCanonical(t *testing.T) {
	for _, tc := range []struct{ body, want string }{
		{`{}`, `{}`},
		{` { "b" : [ 1.0 , 1e2 , 9007199254740993 ] , "a" : { "y" : null , "x" : "\u00e9\n\/" } } `, "{\"a\":{\"x\":\"é\\n/\",\"y\":null},\"b\":[1.0,1e2,9007199254740993]}"},
		{`{"model":"m","\u0073tream":true,"temperature":0}`, `{"temperature":0}`},
		{`{"messages":[{"model":"stays"}]}`, `{"messages":[{"model":"stays"}]}`},
		{`{"é":1,"e":"<&>"}`, `{"e":"<&>","é":1}`},
		{`{"a":"\\u0041\\/\u001F\u000a\ud83d\ude00\"\\"}`, `{"a":"\\u0041\\/\u001f\n😀\"\\"}`},
		{`{"a":{"\u0062":{},"\/":[[],[ ]]}}`, `{"a":{"/":[[],[]],"b":{}}}`},
	} {
		got, err := AppendCanonical(nil, []byte(tc.body), "model", "stream")
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: %s, %v; want %s", tc.body, got, err, tc.want)
		}
	}
	for _, body := range []string{`{"a":1,"\u0061":2}`, `{"b":[{"a":1,"c":{},"a":1}]}`} {
		if got, err := AppendCanonical(nil, []byte(body)); err == nil {
			t.Errorf("%s: %s", body, got)
		}
	}
}

// Whatever is admitted has a canonical form, which is its own, and the one that jsontext gives it.
func FuzzAppendCanonical(f *testing.F) {
	for _, s := range []string{`{"b":1,"a":{"d":[],"c":"\ud83d\ude00"}}`, `{"a":-0.0}`, `{"\"":"\\"}`, `{"a":"\/\u007f\u2028"," ":[{"\u0000":1E2},null]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := Admit(body, 64); err != nil {
			return
		}
		one, err := AppendCanonical(nil, body)
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if two, err := AppendCanonical(nil, one); err != nil || string(one) != string(two) {
			t.Errorf("%s, then %s, %v", one, two, err)
		}
		if slices.ContainsFunc([]rune(string(one)), func(r rune) bool { return r > 0xD7FF }) {
			return // jsontext orders names as UTF-16
		}
		want := jsontext.Value(strings.Clone(string(body)))
		if err := want.Format(jsontext.ReorderRawObjects(true), jsontext.PreserveRawStrings(false)); err != nil || string(one) != string(want) {
			t.Errorf("%s, want %s, %v", one, want, err)
		}
	})
}

func BenchmarkAppendCanonical(b *testing.B) {
	body := []byte(`{"model":"m","temperature":0.2,"messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"` +
		strings.Repeat(`summarise the notes\n`, 40) + `"}]}`)
	dst := make([]byte, 0, 2*len(body))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := AppendCanonical(dst, body, "model", "stream"); err != nil {
			b.Fatal(err)
		}
	}
}
