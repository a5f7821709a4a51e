package jsonedit

import "testing"

func TestAppendCanonical(t *testing.T) {
	for _, tc := range []struct{ body, want string }{
		{`{}`, `{}`},
		{` { "b" : [ 1.0 , 1e2 , 9007199254740993 ] , "a" : { "y" : null , "x" : "\u00e9\n\/" } } `, "{\"a\":{\"x\":\"é\\n/\",\"y\":null},\"b\":[1.0,1e2,9007199254740993]}"},
		{`{"model":"m","\u0073tream":true,"temperature":0}`, `{"temperature":0}`},
		{`{"messages":[{"model":"stays"}]}`, `{"messages":[{"model":"stays"}]}`},
		{`{"é":1,"e":"<&>"}`, `{"e":"<&>","é":1}`},
	} {
		got, err := AppendCanonical(nil, []byte(tc.body), "model", "stream")
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: %s, %v; want %s", tc.body, got, err, tc.want)
		}
	}
}

// Whatever is admitted has a canonical form, and that is its own.
func FuzzAppendCanonical(f *testing.F) {
	for _, s := range []string{`{"b":1,"a":{"d":[],"c":"\ud83d\ude00"}}`, `{"a":-0.0}`, `{"\"":"\\"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !Valid(body, 64) || Parse(body).Kind() != Object {
			return
		}
		one, err := AppendCanonical(nil, body)
		if err != nil {
			return // not admitted: duplicate names, broken text
		}
		if two, err := AppendCanonical(nil, one); err != nil || string(one) != string(two) {
			t.Errorf("%s, then %s, %v", one, two, err)
		}
	})
}
