//go:build !race

package jsonedit

import (
	"strings"
	"testing"
)

// The race detector makes sync.Pool drop items at random, so allocations are counted without it.
func TestAllocations(t *testing.T) {
	body := chat(32 << 10)
	out := make([]byte, 0, 2*len(body))
	escaped := Parse([]byte(`"` + strings.Repeat(`a line of text\n\u00e9`, 500) + `"`))
	var d Doc
	for name, tc := range map[string]struct {
		most float64
		do   func()
	}{
		"Admit":  {3, func() { _, _ = Admit(body, 64) }},
		"Reset":  {0, func() { _ = d.Reset(body, 64) }},
		"Valid":  {0, func() { Valid(body, 64) }},
		"Value":  {0, func() { _ = d.Value("stream_options").Field("include_usage").Bool() }},
		"String": {0, func() { _ = d.Value("model").String() }},
		"Int":    {0, func() { _ = d.Value("max_tokens").Int() }},
		"Escape": {1, func() { _ = escaped.String() }},
		"Cursor": {0, func() {
			c := Over(body, 64)
			c.Enter('{')
			for _, ok := c.Member(); ok; _, ok = c.Member() {
				c.Value()
			}
		}},
		"Append to nil": {1, func() {
			_, _ = d.Append(nil, SetString("model", "another model, of a longer name"), SetIn("stream_options", "more", []byte("true")), Set("n", []byte("1")), SetIn("new", "sub", []byte("[1]")))
		}},
		"Append": {0, func() {
			out, _ = d.Append(out[:0], SetString("model", "other"), SetIn("stream_options", "include_usage", []byte("true")), Set("n", []byte("1")), Delete("user"))
		}},
	} {
		if err := d.Reset(body, 64); err != nil {
			t.Fatal(err)
		}
		// The pool may be emptied by a collection between two runs, so a share of one allocation is let through.
		if n := testing.AllocsPerRun(200, tc.do); n > tc.most+0.5 {
			t.Errorf("%s: %v allocations, at most %v wanted", name, n, tc.most)
		}
	}
}
