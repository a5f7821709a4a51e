package train

import (
	"math"
	"strings"
	"testing"
	"unicode"
)

const material = "== material\nsome text\n\n== quote\n\"a word\"\n\n"

func TestTypedPrompts(t *testing.T) {
	rows, err := typedPrompts([]byte("# a remark\n"+material+"== code hard\nplain {}\nsum up {m}\n{fix|mend} {it|the|them} {q}\\nnow\n"), 1)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	var weight float64
	for _, r := range rows {
		if r.Class != "code" || r.Band != "hard" || r.Split != "train" || r.Source != Typed {
			t.Errorf("%+v", r)
		}
		count[r.Prompt]++
		weight += r.share
	}
	if count["plain {}"] != 1 || count["sum up some text"] != readings || len(rows) != 1+readings+wordings || math.Abs(weight-2-worded) > 1e-9 {
		t.Errorf("%d rows of weight %.3f: %v", len(rows), weight, count)
	}
	ways := 0
	for text := range count {
		if strings.HasSuffix(text, " \"a word\"\nnow") {
			ways++
			verb, what, _ := strings.Cut(strings.TrimSuffix(text, " \"a word\"\nnow"), " ")
			if verb != "fix" && verb != "mend" || what != "it" && what != "the" && what != "them" {
				t.Errorf("%q is not one of the wordings", text)
			}
		}
	}
	if ways < 2 {
		t.Errorf("%d wordings in %v", ways, count)
	}
}

func TestTypedPromptsRefuses(t *testing.T) {
	for name, list := range map[string]string{
		"no heading": "hello\n" + material, "no such class": material + "== poetry easy\nhi\n", "no such band": material + "== code odd\nhi\n",
		"no material": "== quote\n\"a\"\n== code easy\nhi\n", "no quote": "== material\na\n== code easy\nhi\n",
	} {
		if rows, err := typedPrompts([]byte(list), 1); err == nil {
			t.Errorf("%s: %d rows", name, len(rows))
		}
	}
}

// What a reader would call the same prompt is not both trained on and measured.
func TestNothingTrainedOnIsMeasured(t *testing.T) {
	d := load(t)
	said := func(text string) string {
		return strings.Join(strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }), " ")
	}
	measured := map[string]string{}
	for _, r := range d.ForMeasuring() {
		measured[said(r.own())] = r.ID
	}
	for _, rows := range [][]Row{d.Cues, d.Typed} {
		for i := range rows {
			if id, found := measured[said(rows[i].Prompt)]; found {
				t.Errorf("%s %q is %s of the dev split", rows[i].Source, rows[i].Prompt, id)
			}
		}
	}
	for i := range d.Natural {
		r := &d.Natural[i]
		if id, found := measured[said(r.own())]; found && !r.Dev() && len(r.Messages) == 0 {
			t.Errorf("natural %s is %s of the dev split", r.ID, id)
		}
	}
}
