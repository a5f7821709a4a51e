package cache

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/wording"
	"github.com/sluice-gateway/sluice/policies"
)

// pair is two questions, and their cosine as MiniLM has it.
type pair struct {
	kind, a, b string
	cosine     float64
}

// pairs reads a file of testdata. TestLikenessMeasured of e2e, which needs the real model, writes the cosines.
func pairs(t *testing.T, name string) []pair {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var all []pair
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 4 {
			t.Fatalf("%s: %q", name, line)
		}
		cosine, err := strconv.ParseFloat(f[3], 64)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, pair{f[0], f[1], f[2], cosine})
	}
	return all
}

// hits counts the pairs of which one question would be given the other's answer: by the cosine alone, and by both checks.
func hits(pairs []pair, threshold float64) (alone, both int) {
	for _, p := range pairs {
		if p.cosine >= threshold {
			alone++
			if wording.Of(p.a).Same(wording.Of(p.b)) {
				both++
			}
		}
	}
	return alone, both
}

// TestRates holds the semantic cache to what docs/cache.md says of it.
func TestRates(t *testing.T) {
	near, like := pairs(t, "near.tsv"), pairs(t, "like.tsv")
	freshNear, freshLike := pairs(t, "near-fresh.tsv"), pairs(t, "like-fresh.tsv")
	if len(near) < 500 || len(like) < 200 {
		t.Errorf("%d near misses, %d paraphrases", len(near), len(like))
	}
	for name, pairs := range map[string][]pair{"near": near, "fresh": freshNear} {
		if _, wrong := hits(pairs, policies.DefaultThreshold); 100*wrong >= len(pairs) {
			for _, p := range pairs {
				if wording.Of(p.a).Same(wording.Of(p.b)) && p.cosine >= policies.DefaultThreshold {
					t.Logf("%s and %s: %s", p.a, p.b, wording.Of(p.a))
				}
			}
			t.Errorf("%s: %d of %d are hits at the default threshold", name, wrong, len(pairs))
		}
	}
	var table strings.Builder
	for _, threshold := range []float64{0, 0.8, 0.85, 0.9, 0.95} {
		name := strconv.FormatFloat(threshold, 'g', -1, 64)
		switch threshold {
		case 0:
			name = "none"
		case policies.DefaultThreshold:
			name += " (default)"
		}
		fmt.Fprintf(&table, "| %s ", name)
		for _, set := range [][]pair{near, freshNear, like, freshLike} {
			alone, both := hits(set, threshold)
			fmt.Fprintf(&table, "| %s | %s ", percent(alone, len(set)), percent(both, len(set)))
		}
		table.WriteString("|\n")
	}
	doc, err := os.ReadFile("../docs/cache.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), table.String()) {
		t.Errorf("docs/cache.md does not have the table of %d near misses and %d fresh ones, %d paraphrases and %d fresh ones:\n%s", len(near), len(freshNear), len(like), len(freshLike), table.String())
	}
}

func percent(n, of int) string { return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(of)) }

// TestKinds holds every kind of near miss apart by its words alone: no kind is left to the cosine.
func TestKinds(t *testing.T) {
	wrong, all := map[string]int{}, map[string]int{}
	for _, p := range append(pairs(t, "near.tsv"), pairs(t, "near-fresh.tsv")...) {
		all[p.kind]++
		if wording.Of(p.a).Same(wording.Of(p.b)) {
			wrong[p.kind]++
		}
		if wording.Of(p.a).Same(wording.Of(p.b)) != wording.Of(p.b).Same(wording.Of(p.a)) {
			t.Errorf("%s and %s: not the same both ways", p.a, p.b)
		}
	}
	for kind, n := range all {
		if n < 20 || 20*wrong[kind] > n {
			t.Errorf("%s: %d of %d have the same words", kind, wrong[kind], n)
		}
	}
}
