// Package natural is data only: prompts as people type them, labelled by hand (GUIDE.md). Its tests hold the files to the guide's form.
package natural

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var classes = []string{
	"code", "math", "reasoning", "knowledge_qa", "extraction", "classification", "summarization",
	"translation", "rewriting", "creative", "functional_writing", "roleplay", "chat_advice", "plan_brainstorm",
}

// row is one labelled prompt; a second reading has id, class and band only.
type row struct {
	ID       string            `json:"id"`
	Class    string            `json:"class"`
	Band     string            `json:"band"`
	Lang     string            `json:"lang"`
	By       string            `json:"by"`
	Prompt   string            `json:"prompt"`
	Messages []json.RawMessage `json:"messages"`
}

func read(t *testing.T, file string) []row {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var rows []row
	for {
		var r row
		if err := d.Decode(&r); errors.Is(err, io.EOF) {
			return rows
		} else if err != nil {
			t.Fatalf("%s, after row %d: %v", file, len(rows), err)
		}
		if !slices.Contains(classes, r.Class) || r.Band != "easy" && r.Band != "hard" {
			t.Errorf("%s: %s has class %q and band %q", file, r.ID, r.Class, r.Band)
		}
		rows = append(rows, r)
	}
}

// TestPrompts also sees to it that no class teaches a band by being all of it.
func TestPrompts(t *testing.T) {
	ids, texts := map[string]bool{}, map[string]string{}
	for _, class := range classes {
		bands := map[string]int{}
		for _, r := range read(t, class+".jsonl") {
			bands[r.Band]++
			if ids[r.ID] || r.Class != class { // a row that moved keeps its first id: the second readings name it so
				t.Errorf("%s in %s.jsonl: id taken twice, or class %s", r.ID, class, r.Class)
			}
			if len(r.Lang) != 2 || r.By != "a" && r.By != "b" {
				t.Errorf("%s: language %q, writer %q", r.ID, r.Lang, r.By)
			}
			if (strings.TrimSpace(r.Prompt) == "") == (len(r.Messages) == 0) {
				t.Errorf("%s: a prompt or messages, one of the two", r.ID)
			}
			text := strings.ToLower(strings.Join(strings.Fields(r.Prompt), " "))
			if other := texts[text]; text != "" && other != "" {
				t.Errorf("%s has the text of %s", r.ID, other)
			}
			ids[r.ID], texts[text] = true, r.ID
		}
		if bands["easy"] < 50 || bands["hard"] < 50 {
			t.Errorf("%s: %d easy and %d hard prompts, want 50 of each", class, bands["easy"], bands["hard"])
		}
	}
}

// TestReaders holds the second readings to the labels, and prints how well the two agree and how much of the band length alone tells.
func TestReaders(t *testing.T) {
	first := map[string]row{}
	lengths := map[string][]int{}
	for _, class := range classes {
		for _, r := range read(t, class+".jsonl") {
			first[r.ID] = r
			if r.Prompt != "" {
				lengths[r.Band+class] = append(lengths[r.Band+class], len(r.Prompt))
			}
		}
	}
	for _, class := range classes {
		t.Logf("%s: a hard prompt is longer than an easy one in %.2f of the pairs", class, above(lengths["hard"+class], lengths["easy"+class]))
	}
	seconds, err := filepath.Glob("second_*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range seconds {
		var class, band [][2]string
		for _, r := range read(t, file) {
			f, ok := first[r.ID]
			if !ok {
				t.Errorf("%s reads %s, which no file holds", file, r.ID)
			}
			class, band = append(class, [2]string{f.Class, r.Class}), append(band, [2]string{f.Band, r.Band})
		}
		for name, pairs := range map[string][][2]string{"class": class, "band": band} {
			raw, kappa := agreement(pairs)
			t.Logf("%s, %s of %d prompts: raw agreement %.3f, kappa %.3f", file, name, len(pairs), raw, kappa)
			if kappa < 0.8 {
				t.Errorf("%s: kappa of the %s is %.3f: the labels or the guide are not clear enough", file, name, kappa)
			}
		}
	}
}

// agreement is the share of equal pairs, and Cohen's kappa: the same beyond what two readers with these habits would share by chance.
func agreement(pairs [][2]string) (raw, kappa float64) {
	n := float64(len(pairs))
	a, b := map[string]float64{}, map[string]float64{}
	for _, p := range pairs {
		a[p[0]]++
		b[p[1]]++
		if p[0] == p[1] {
			raw += 1 / n
		}
	}
	chance := 0.0
	for label := range a {
		chance += a[label] / n * b[label] / n
	}
	return raw, (raw - chance) / (1 - chance)
}

// above is the share of pairs in which the first is the larger; equal ones count half.
func above(xs, ys []int) float64 {
	sum := 0.0
	for _, x := range xs {
		for _, y := range ys {
			switch {
			case x > y:
				sum++
			case x == y:
				sum += 0.5
			}
		}
	}
	return sum / float64(len(xs)*len(ys))
}
