package cache

import (
	"testing"
)

func TestTelling(t *testing.T) {
	for _, tc := range []struct {
		name, recorded, told string
		kept                 bool
	}{
		{"the same", "abcdef", "abcdef", true},
		{"nothing of nothing", "", "", true},
		{"cut at the end", "abcdef", "abc", true},
		{"cut at the beginning", "abcdef", "def", true},
		{"cut in the middle", "abcdef", "abef", true},
		{"cut between equals", "aaaa", "aa", true},
		{"nothing left", "abc", "", true},
		{"two cuts", "abcdef", "bde", false},
		{"added", "abc", "abcd", false},
		{"other", "abc", "xyz", false},
		{"one byte other", "abcdef", "abXdef", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := &Entry{Body: []byte(tc.recorded)}
			form := Form{Stream: true, Usage: true}
			e.Tell(form, []byte(tc.told), Telling{ResponseID: "id"})
			got, body, rest := e.Told(form)
			if (got != nil) != tc.kept || tc.kept && (string(body)+string(rest) != tc.told || got.ResponseID != "id") {
				t.Fatalf("%+v %q %q", got, body, rest)
			}
			for _, other := range []Form{{}, {Stream: true}, {Usage: true}} {
				if got, _, _ := e.Told(other); got != nil {
					t.Errorf("%+v is told as %+v was", other, form)
				}
			}
		})
	}
}
