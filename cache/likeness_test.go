package cache

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-gateway/sluice/internal/wording"
)

func question(t testing.TB, text string, vector ...float32) *Question {
	t.Helper()
	q, err := NewQuestion(wording.Of(text), vector)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// Words that have one hash by chance, or by somebody's design, are not the same for that.
func TestLikeHashes(t *testing.T) {
	c, k := New(nil), KeyOf("a")
	q, other := question(t, "how do I sort a list", 1, 0), question(t, "how do I sort a map", 1, 0)
	c.Learn(k, q, entry("acme", "list"))
	other.hash = q.hash
	if e, _ := c.Like(k, other, 0.5, now); e != nil {
		t.Errorf("found %s", e.Body)
	}
}

func TestNewQuestion(t *testing.T) {
	q := question(t, "hi", 3, 4)
	if q.vector[0] != 0.6 || q.vector[1] != 0.8 {
		t.Errorf("%v", q.vector)
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, bad := range [][]float32{nil, {0, 0}, {nan, 1}, {inf, 1}, make([]float32, maxDimensions+1)} {
		if _, err := NewQuestion(wording.Of("hi"), bad); err == nil {
			t.Errorf("%d numbers can be compared", len(bad))
		}
	}
}

func TestLike(t *testing.T) {
	c, k := New(nil), KeyOf("a")
	learn := func(text, answer string, v ...float32) { c.Learn(k, question(t, text, v...), entry("acme", answer)) }
	learn("how do I sort a list", "list", 1, 0, 0)
	learn("how to sort lists", "lists", 0.99, 0.1, 0)
	learn("how do I sort a list downwards", "downwards", 0.995, 0.1, 0)
	learn("how do I sort a list", "list again", 1, 0, 0)
	for _, tc := range []struct {
		text      string
		vector    []float32
		threshold float64
		want      string
	}{
		{"how do I sort a list", []float32{1, 0, 0}, 0.9, "list again"}, // of equals the newest
		{"how can I sort lists", []float32{0.99, 0.1, 0}, 0.9, "lists"}, // the likeliest
		{"how do I sort a list", []float32{0.5, 0.5, 0.7}, 0.9, ""},     // not like enough
		{"how do I sort a list", []float32{0.5, 0.5, 0.7}, 0.4, "lists"},
		{"how do I sort a map", []float32{1, 0, 0}, 0.9, ""}, // as like as can be, but not the same words
		{"how do I sort a list", []float32{1, 0}, 0.9, ""},   // of another model
	} {
		e, likeness := c.Like(k, question(t, tc.text, tc.vector...), tc.threshold, now)
		if got := ""; e != nil {
			if got = string(e.Body); got != tc.want || likeness < tc.threshold {
				t.Errorf("%+v: %s at %f", tc, got, likeness)
			}
		} else if tc.want != "" {
			t.Errorf("%+v: nothing", tc)
		}
	}
	q := question(t, "how do I sort a list", 1, 0, 0)
	if e, _ := c.Like(KeyOf("b"), q, 0.9, now); e != nil {
		t.Error("found in another partition")
	}
	if e, _ := c.Like(k, q, 0.9, now.Add(time.Hour)); e != nil {
		t.Error("found what is too old")
	}
	if err := c.Purge(t.Context(), Filter{Tenant: "acme"}, now); err != nil {
		t.Fatal(err)
	}
	if e, _ := c.Like(k, q, 0.9, now); e != nil {
		t.Error("found what was purged")
	}
	if n := c.Counts(); n.Questions != 0 || n.QuestionBytes != 0 || n.Like != 3 {
		t.Errorf("%+v", n)
	}
}

// TestIndexIsExact: of all questions with the same words the likeliest is found.
func TestIndexIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.SampledFrom([]int{1, 3, 8, 9, 384}).Draw(t, "width")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		near := rapid.Float64Range(0, 2).Draw(t, "near") // how far the questions are from one another
		some := func() []float32 {
			v := make([]float32, width)
			for i := range v {
				v[i] = float32(1 + near*r.NormFloat64())
			}
			return v
		}
		x, k, all := newIndex(1000, 1<<30), KeyOf("a"), []*Question{}
		for i := range rapid.IntRange(1, 2*blockLen/5).Draw(t, "n") {
			q, err := NewQuestion(wording.Of("same"), some())
			if err != nil {
				continue
			}
			all = append(all, q)
			x.learn(k, q, entry("acme", fmt.Sprint(i)), now)
		}
		q, err := NewQuestion(wording.Of("same"), some())
		if err != nil {
			t.Skip(err)
		}
		best := float32(-1)
		for _, o := range all {
			best = max(best, dot(q.vector, o.vector))
		}
		threshold := float32(rapid.Float64Range(-1, 1).Draw(t, "threshold"))
		e, likeness := x.find(k, q, threshold, func(*Entry) bool { return true })
		switch {
		case e == nil && best >= threshold:
			t.Fatalf("nothing found above %f, though there is %f", threshold, best)
		case e != nil && likeness != best:
			t.Fatalf("found %f, though there is %f", likeness, best)
		}
	})
}

// TestIndexIsBounded: in questions of a partition, in bytes, and by time; the oldest go first.
func TestIndexIsBounded(t *testing.T) {
	count := func(x *index, k Key) int {
		if p := x.parts[k]; p != nil {
			return p.count
		}
		return 0
	}
	k := KeyOf("a")
	x := newIndex(blockLen+10, 1<<30)
	for i := range 3 * blockLen {
		x.learn(k, question(t, fmt.Sprint("number ", i), 1, float32(i)), entry("acme", "x"), now)
	}
	if n, _ := x.size(); n != blockLen+10 || count(x, k) != n || len(x.parts[k].blocks) > 3 {
		t.Errorf("%d questions in %d blocks", n, len(x.parts[k].blocks))
	}
	for i, want := range map[int]bool{0: false, 2*blockLen - 11: false, 2*blockLen - 10: true, 3*blockLen - 1: true} {
		if e, _ := x.find(k, question(t, fmt.Sprint("number ", i), 1, float32(i)), 0.99, func(*Entry) bool { return true }); (e != nil) != want {
			t.Errorf("question %d: found is %v", i, e != nil)
		}
	}

	x = newIndex(1000, 20_000)
	for i := range 100 {
		x.learn(KeyOf(fmt.Sprint(i%2)), question(t, "hi", 1), &Entry{Body: make([]byte, 1000), Expires: now.Add(time.Hour)}, now)
	}
	if n, bytes := x.size(); bytes > 20_000 || n < 10 || count(x, KeyOf("0"))+count(x, KeyOf("1")) != n {
		t.Errorf("%d questions, %d bytes", n, bytes)
	}
	x.learn(k, question(t, "hi", 1), &Entry{Body: make([]byte, 20_000), Expires: now.Add(time.Hour)}, now)
	if count(x, k) != 0 {
		t.Error("kept what is larger than all may be")
	}
	x.learn(k, question(t, "hi", 1), &Entry{Expires: now.Add(3 * time.Hour)}, now.Add(2*time.Hour))
	if n, _ := x.size(); n != 1 {
		t.Errorf("%d questions, of which one is not too old", n)
	}
	x.learn(k, question(t, "hi", 1, 2), &Entry{Expires: now.Add(3 * time.Hour)}, now)
	if n, _ := x.size(); n != 1 || x.parts[k].width != 2 {
		t.Errorf("%d questions, of which one is of the model that is there now", n)
	}
}

// BenchmarkLike looks up among as many questions as a partition may hold, with MiniLM's 384 numbers each: all in other words, as it should be, and all in the
// same words, as it never is.
func BenchmarkLike(b *testing.B) {
	for _, words := range []string{"other", "same"} {
		b.Run(words, func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			some := func() []float32 {
				v := make([]float32, 384)
				for i := range v {
					v[i] = float32(r.NormFloat64())
				}
				return v
			}
			x, k := newIndex(maxQuestions, 1<<30), KeyOf("a")
			for i := range maxQuestions {
				text := words
				if words == "other" {
					text = fmt.Sprint("question ", i)
				}
				x.learn(k, question(b, text, some()...), entry("acme", "x"), now)
			}
			q := question(b, "same", some()...)
			b.ReportAllocs()
			for b.Loop() {
				x.find(k, q, 0.9, func(*Entry) bool { return true })
			}
		})
	}
}
