package wording

import (
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// samples are the questions that the cache is measured with.
func samples(t *testing.T) (all []string) {
	for _, name := range []string{"near", "near-fresh", "like", "like-fresh"} {
		text, err := os.ReadFile("../../cache/testdata/" + name + ".tsv")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			all = append(all, strings.Split(line, "\t")[1:3]...)
		}
	}
	return all
}

// TestClosedWorld: a word that the tables do not know, put anywhere, taken away or replaced, makes another question of any.
func TestClosedWorld(t *testing.T) {
	all := samples(t)
	rapid.Check(t, func(t *rapid.T) {
		words := strings.Fields(rapid.SampledFrom(all).Draw(t, "question"))
		unknown := rapid.StringMatching(`[bcdfghjklmnpqrtvwxz]{4,9}[0-9]{0,2}`)
		at := rapid.IntRange(0, len(words)).Draw(t, "at")
		with := Of(strings.Join(slices.Insert(slices.Clone(words), at, unknown.Draw(t, "word")), " "))
		without := Of(strings.Join(words, " "))
		other := Of(strings.Join(slices.Insert(slices.Clone(words), at, unknown.Draw(t, "other")+"x"), " "))
		if with.Same(without) || with.Same(other) && with.Exists() {
			t.Fatalf("%q with a word more: %s, %s, %s", words, without, with, other)
		}
	})
}

// TestNegations: a negation makes another question of any, in the languages that are written with blanks.
func TestNegations(t *testing.T) {
	for n, q := range samples(t) {
		words := strings.Fields(q)
		for _, not := range []string{"not", "never", "without", "nicht", "kein", "pas", "nunca", "senza"} {
			if more := strings.Join(slices.Insert(slices.Clone(words), n%(len(words)+1), not), " "); Of(q).Same(Of(more)) {
				t.Errorf("%q and %q", q, more)
			}
		}
	}
}
