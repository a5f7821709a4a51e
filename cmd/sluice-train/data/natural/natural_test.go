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
	seconds, err := filepath.Glob("second_*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range seconds {
		for _, r := range read(t, file) {
			if !ids[r.ID] {
				t.Errorf("%s reads %s, which no file holds", file, r.ID)
			}
		}
	}
}
