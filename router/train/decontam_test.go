package train

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// What was written for this repository shares nothing with the tests that routers are compared by.
func TestNothingWrittenIsProtected(t *testing.T) {
	p, err := LoadProtected(dataDir)
	if err != nil || len(p) < 700_000 || !slices.IsSorted(p) {
		t.Fatalf("%d hashes: %v", len(p), err)
	}
	d := load(t)
	n := 0
	for _, rows := range [][]Row{d.Natural, d.Cues, d.Typed} {
		for i := range rows {
			r := &rows[i]
			n++
			text := r.Prompt
			for _, m := range r.Messages {
				if s, ok := m.Content.(string); ok {
					text += "\n" + s
				}
			}
			if gram, found := p.Holds(text); found {
				t.Errorf("%s %s %.80q: protected: %s", r.Source, r.ID, r.Prompt, gram)
			}
		}
	}
	t.Logf("%d rows", n)
}

func TestProtectedHolds(t *testing.T) {
	hash := func(s string) uint64 {
		sum := sha256.Sum256([]byte(s))
		return binary.BigEndian.Uint64(sum[:8])
	}
	long := "a b c d e f g h i j k l m"
	p := Protected{hash(long), hash("how many legs has it")}
	slices.Sort(p)
	for text, want := range map[string]bool{
		"zero, " + long + " n o": true, strings.ToUpper(long): true, "a b c d e f g h i j k l n": false,
		"How many legs has it?": true, "how many legs has it then": false, "how many": false, "": false,
	} {
		if _, got := p.Holds(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
