package router

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// What is read eight bytes at a time, in lanes or without branches is held here to the plain way of doing it.

// plainHash hashes a folded word.
func plainHash(folded []byte) uint64 {
	h := uint64(fnvOffset)
	for len(folded) > 0 {
		var b [8]byte
		n := copy(b[:], folded)
		folded = folded[n:]
		h = mix(h ^ binary.LittleEndian.Uint64(b[:]))
	}
	return h
}

func TestTokensAreHashedByTheirLetters(t *testing.T) {
	for _, tt := range []struct{ text, folded string }{
		{"a", "a"}, {"Seventy7 x", "seventy7"}, {"eighteen", "eighteen"}, {"Eighteenth.", "eighteenth"}, {"sixteenletterssX", "sixteenletterssx"},
		{"seventeenlettersX", "seventeenlettersx"}, {"it's so", "its"}, {"it’s", "its"}, {"naïveté!", "naivete"}, {"ｆｕｌｌ－", "full"}, {"abc日", "abc"},
		{"日本", "\xe5\x65\x00"}, {"Жук", "\x36\x04\x00\x43\x04\x00\x3a\x04\x00"}, {"a\x10b", "a"}, {"a\x80", "a"},
	} {
		if h, _ := tokenAt(tt.text, 0); h != plainHash([]byte(tt.folded)) {
			t.Errorf("%q is not hashed as %q", tt.text, tt.folded)
		}
	}
}

func FuzzFast(f *testing.F) {
	for _, s := range goldenTexts(f) {
		f.Add(s)
	}
	h, c := NewHeuristic(), NewTrained()
	f.Fuzz(func(t *testing.T, s string) {
		checkWords(t, s)
		if s = s[:min(len(s), MaxScan)]; len(s) > 0 {
			checkScan(t, h, c.model.table, s)
			checkSums(t, h, c.model.table, s)
		}
	})
}

func TestFast(t *testing.T) {
	h, c := NewHeuristic(), NewTrained()
	r := rand.New(rand.NewPCG(1, 2))
	texts := goldenTexts(t)
	bits := strings.Split("  ,a,Be,é,É,',’,_,1,23,.,日,ж,\n,abcdefg,abcdefgh,camelCase,\xff,\x10,\x80,０,\x00", ",")
	for range 300 {
		var s strings.Builder
		for range r.IntN(99) {
			s.WriteString(bits[r.IntN(len(bits))])
		}
		texts = append(texts, s.String())
	}
	for _, s := range texts {
		checkWords(t, s)
		checkScan(t, h, c.model.table, s)
		checkSums(t, h, c.model.table, s)
	}
}

// checkWords compares wordAt and longAt with tokenAt wherever a word may begin, and wideAt with utf8's decoder.
func checkWords(t *testing.T, s string) {
	t.Helper()
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			checkWide(t, s[i:])
		}
		if asciiFold[s[i]] == 0 {
			continue
		}
		want, stop := tokenAt(s, i)
		var bytes, plain tally
		h, end, name := wordAt(s, i, &bytes)
		if h != want || end != stop {
			t.Fatalf("%q at %d: ends at %d, want %d; the same hash: %t", s, i, end, stop, h == want)
		}
		if plain.add(s[i:end]); bytes != plain {
			t.Fatalf("%q at %d: counted %v, want %v", s, i, bytes, plain)
		}
		if camel(s[i:end]) && !name || end < len(s) && s[end] == '_' && !name {
			t.Fatalf("%q at %d looks like a name", s, i)
		}
		if h, end := longAt(s, i); end > i && (h != want || end != stop || name) {
			t.Fatalf("%q at %d: a long word ends at %d, want %d; the same hash: %t; name: %t", s, i, end, stop, h == want, name)
		}
	}
}

func checkWide(t *testing.T, s string) {
	r, n := wideAt(s, 0)
	if want, size := utf8.DecodeRuneInString(s); r != want || n != size {
		t.Fatalf("%.4q: %q of %d bytes, want %q of %d", s, r, n, want, size)
	}
}

func TestCharactersBeyondASCII(t *testing.T) {
	for a := 0x80; a <= 0xFF; a++ {
		for b := 0; b <= 0xFF; b++ {
			for _, c := range []byte{0x00, 0x7F, 0x80, 0xA5, 0xBF, 0xC0, 0xFF} {
				s := string([]byte{byte(a), byte(b), c, 0xBF})
				for n := range s {
					checkWide(t, s[:n+1])
				}
			}
		}
	}
}

// checkScan compares a scan, which reads most words by letters, with one that reads everything the plain way.
func checkScan(t *testing.T, h *Heuristic, rows *table, s string) {
	t.Helper()
	got, want := readings.Get().(*reading), readings.Get().(*reading)
	defer readings.Put(got)
	defer readings.Put(want)
	for _, r := range []*reading{got, want} {
		r.reset(rows)
		r.scan = scan{table: h, grams: &r.grams, total: len(s)}
		r.grams.lastFrom = len(s) - lastBytes
	}
	got.scan.text(s, 0)
	want.scan.plainly(s)
	var bytes tally
	bytes.add(s)
	if got.scan.tally != bytes {
		t.Fatalf("%.200q: counted %v, want %v", s, got.scan.tally, bytes)
	}
	if got.grams.gramState != want.grams.gramState {
		t.Fatalf("%.200q: features are %+v, want %+v", s, got.grams.gramState, want.grams.gramState)
	}
	for kind, n := range got.grams.n {
		if !slices.Equal(got.grams.batch[kind][:n], want.grams.batch[kind][:n]) {
			t.Fatalf("%.200q: features of kind %d are %v, want %v", s, kind, got.grams.batch[kind][:n], want.grams.batch[kind][:n])
		}
	}
	want.scan.grams, want.scan.middle, want.scan.middleEnd = got.scan.grams, got.scan.middle, got.scan.middleEnd
	if got.scan != want.scan {
		t.Fatalf("%.200q: %+v, want %+v", s, got.scan, want.scan)
	}
}

// plainly is text, but it reads every word by tokenAt.
func (s *scan) plainly(t string) {
	for i := 0; i < len(t); {
		end := i + 1
		switch byteKinds[t[i]] {
		case kindLetter, kindDigit:
			var k uint64
			k, end = tokenAt(t, i)
			s.token(t, k, i, end)
			s.name(t, i, end)
		case kindWide:
			i = s.wide(t, i)
			continue
		case kindMark:
			end = s.surface(t, i)
		}
		s.tally.add(t[i:end])
		i = end
	}
	s.endSentence()
}

// checkSums compares the sums of a reading with those of a plain loop over the features that a trainer sees.
func checkSums(t *testing.T, h *Heuristic, rows *table, s string) {
	t.Helper()
	p := Prompt{Text: s}
	r := readings.Get().(*reading)
	defer readings.Put(r)
	r.reset(rows)
	r.read(h, &p)
	sketch := h.Sketch(p)
	for _, part := range sketch.Parts {
		if w := gram(part.Word); !rows.own(w) || !rows.row(w.row()).common() {
			sketch.Grams[gramPart] = append(sketch.Grams[gramPart], part.Feature)
		}
	}
	// Some numbers hash alike in two kinds, and count for the one that is summed up first: what they all say together is the same.
	var got, want rowSum
	seen := map[uint32]bool{}
	for kind, features := range sketch.Grams {
		got.join(&r.grams.sums[kind])
		for _, f := range features {
			if at := gram(f).row(); rows.own(gram(f)) && !seen[at] {
				seen[at] = true
				want.plainly(rows.row(at))
			}
		}
	}
	if got != want {
		t.Fatalf("%.200q: %+v, want %+v", s, got, want)
	}
}

func (s *rowSum) join(t *rowSum) {
	s.n += t.n
	for k, v := range t.heads {
		s.heads[k] += v
	}
	for k, v := range t.class {
		s.class[k] += v
	}
}

// plainly adds one row, weight by weight.
func (s *rowSum) plainly(r *row) {
	s.n++
	for k := range s.heads {
		s.heads[k] += int32(r[k]) - weightZero
	}
	for k := range s.class {
		s.class[k] += int32(r[rowClasses+k]) - weightZero
	}
}

// A batch of the largest weights stays within its lanes.
func TestRowSumHoldsABatch(t *testing.T) {
	rows := tableOf(bytes.Repeat([]byte{0xFF}, tableSize))
	picked := make([]uint32, batchSize)
	for i := range picked {
		picked[i] = uint32(i)
	}
	var got, want rowSum
	got.add(rows, picked)
	for range picked {
		want.plainly(rows.row(0))
	}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestScriptsOfOneCase(t *testing.T) {
	for r := rune(0x590); r < 0x10A0; r++ {
		if f, ok := foldRune(r); ok && strings.ToLower(string(r)) != string(f) {
			t.Errorf("%c is folded to %c", r, f)
		}
	}
}
