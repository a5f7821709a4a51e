package jsonedit

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// checkSure holds what is admitted without a decoder to what one says.
func checkSure(t *testing.T, body []byte, depth int) (ok bool) {
	t.Helper()
	members, open, ok := surely(nil, body, depth)
	if !ok {
		return false
	}
	var want Doc
	if err := want.decode(nil, body, depth); err != nil || open != want.open || !slices.Equal(members, want.members) {
		t.Fatalf("%q: %v from %d, want %v from %d, %v", body, members, open, want.members, want.open, err)
	}
	return true
}

func TestSurely(t *testing.T) {
	var many strings.Builder
	for i := range manyKeys {
		fmt.Fprintf(&many, `"%d":{},`, i)
	}
	for body, want := range map[string]bool{
		`{}`: true, " { } \n": true, `{"a":[{"a":1,"b":[[],{}]},{"a":"\u00e9\ud83d\ude00\\u"}],"b":-0.5e+3,"c":null}`: true,
		nest(8): true, nest(9): false,
		`{` + strings.TrimSuffix(many.String(), ",") + `}`: true, `{` + many.String() + `"x":1}`: false, // there may be too many
		`{"a":1,"a":2}`: false, `{"x":{"a":1,"b":{},"a":2}}`: false, `{"\u0061":1}`: false,
		"{\"a\":\"\xff\"}": false, `{"a":"\ud83d"}`: false, `{"a":"\ude00"}`: false, `{"a":"\ud83d\u0061"}`: false, `{"a":"\ud83d \ude00"}`: false, `{"a":"\ud8`: false,
		``: false, `[]`: false, `{`: false, `{"a"`: false, `{"a":`: false, `{"a":1`: false, `{"a":1,`: false, `{"a":1,}`: false, `{"a":[1,]}`: false, `{"a":[1 2]}`: false, `{"a" 1}`: false, `{a:1}`: false,
		`{"a":truex}`: false, `{"a":01}`: false, `{"a":1}}`: false, `{"a":1}{}`: false, `{"a":[1}`: false, `{"a":{"b":1]}`: false, "{\"a\":\"\n\"}": false, "\xef\xbb\xbf{}": false,
	} {
		if got := checkSure(t, []byte(body), 8); got != want {
			t.Errorf("%q: %t", body, got)
		}
	}
}
