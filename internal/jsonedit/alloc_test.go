//go:build !race

package jsonedit

import "testing"

// The race detector makes sync.Pool drop items at random, so allocations are counted without it.
func TestAllocations(t *testing.T) {
	body := chat(32 << 10)
	out := make([]byte, 0, 2*len(body))
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
