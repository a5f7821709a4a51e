package router

import (
	"bytes"
	"flag"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/golden.txt anew")

// goldenTexts are the prompts of all files, and long texts made of them.
func goldenTexts(t testing.TB) []string {
	var all []string
	for _, file := range []string{"prompts.txt", "prompts_fresh.txt"} {
		for _, s := range samples(t, file) {
			all = append(all, s.prompt)
		}
	}
	for _, in := range lines(t, "injections.txt") {
		all = append(all, strings.ReplaceAll(in, "{}", "my Go service has a deadlock"))
	}
	for i, n := 0, len(all); i < n; i += 16 {
		part := all[i:min(i+16, n)]
		all = append(all, strings.Join(part, "\n"), strings.Repeat(strings.Join(part, " "), 8), strings.Join(part, "\n```\n"))
	}
	return append(all, bench500, "", "\xe3\x80", "x\xe3\x80x\xffy", "it''s ’tis o’clock_ a’_b", "A) B) (C) D. ``` ```` $\\frac{1}{2}$ 50% x==y=>z a->b::c 12:30 。！？∑", "ｆｕｌｌ－ｗｉｄｔｈ ＡＢ", "́́ é", "camelCase 日本語abc漢 1.5 .5")
}

// TestGolden holds every bit of what the heuristic says: whoever makes it faster must not make it another one. Architectures round
// products differently, so it looks at one of them.
func TestGolden(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the golden file is of amd64")
	}
	h := NewHeuristic()
	var got bytes.Buffer
	for _, s := range goldenTexts(t) {
		c := h.Classify(Prompt{Text: s, Turns: 1})
		p := fnv.New32a()
		for _, v := range c.P {
			fmt.Fprintf(p, "%x ", math.Float64bits(v))
		}
		start := strings.ToValidUTF8(strings.ReplaceAll(s[:min(len(s), 24)], "\n", " "), "?")
		fmt.Fprintf(&got, "%x %x %08x %s %s|%s\n", math.Float64bits(c.Gain), math.Float64bits(c.Novelty), p.Sum32(), c.Name, Language(s), start)
	}
	const file = "testdata/golden.txt"
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
		t.Errorf("classes (-want +got):\n%s", diff)
	}
}
