// Package train makes and measures the router's model from labelled prompts.
//
// Everything is deterministic by seed: the same data give the same bytes. Its invariant: what is measured was not trained on, and what a
// number means (which rows, which split, which labels) is said beside it. The router itself knows nothing of this package.
package train

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"crypto/sha256"
	"encoding/json"

	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/router"
)

// Row is one labelled prompt in the data's format. What a row has no label for is left out of it.
type Row struct {
	ID       string             `json:"id"`
	Source   string             `json:"source"`
	Task     string             `json:"task"`
	Class    string             `json:"class"`
	Band     string             `json:"band"` // easy or hard, of natural prompts
	Prompt   string             `json:"prompt"`
	Prompt4  string             `json:"prompt4"`
	Messages []Message          `json:"messages"`
	Weak     *float64           `json:"weak"`   // mean correctness of a weak group of models, 0 … 1
	Strong   *float64           `json:"strong"` // … of a strong one
	Scores   map[string]float64 `json:"scores"` // correctness by model
	Steps    int                `json:"steps"`  // of the worked solution
	Split    string             `json:"split"`

	worth float64 // of a typed prompt: how many it counts as …
	share float64 // … and what each of its readings has of that
}

// Message is one turn of a conversation, in OpenAI's form.
type Message struct {
	Role    string `json:"role"`
	Content any    `json:"content"`
}

// Natural is the source of the prompts that were written for this repository as people type them.
const Natural = "natural"

// Dev reports whether a row is for measuring, not for training.
func (r *Row) Dev() bool { return r.Split == "dev" }

// Read returns what the router would read of the row.
func (r *Row) Read() router.Prompt { return r.read(r.Prompt) }

func (r *Row) read(text string) router.Prompt {
	e := llm.Envelope{Op: llm.OpChat}
	for _, m := range r.Messages {
		t := llm.Turn{Role: m.Role}
		switch c := m.Content.(type) {
		case string:
			t.Text = []string{c}
		case []any:
			for _, part := range c {
				if o, ok := part.(map[string]any); ok {
					if s, ok := o["text"].(string); ok {
						t.Text = append(t.Text, s)
					}
				}
			}
		}
		e.Turns = append(e.Turns, t)
	}
	if len(r.Messages) == 0 {
		e.Turns = []llm.Turn{{Role: "user", Text: []string{text}}}
	}
	return router.Extract(&e).Prompt
}

// own returns the text that decides a row's split: the prompt, or the last user turn.
func (r *Row) own() string {
	if len(r.Messages) == 0 {
		return r.Prompt
	}
	for i := len(r.Messages) - 1; i >= 0; i-- {
		m := &r.Messages[i]
		if m.Role != "user" {
			continue
		}
		if s, ok := m.Content.(string); ok {
			return s
		}
		return r.read("").Text
	}
	return ""
}

// devBytes is how many of 256 natural prompts are for measuring: more than of the benchmarks' rows, for there are fewer.
const devBytes = 64

// naturalSplit is the split of natural prompts: by the first byte of the text's MD5, so that a prompt stays where it is as others come.
func naturalSplit(text string) string {
	if md5.Sum([]byte(text))[0] < devBytes {
		return "dev"
	}
	return "train"
}

// Data are all labelled prompts of a folder.
type Data struct {
	Gain    []Row // outcomes of models, or steps
	Class   []Row // template and benchmark prompts by class
	Natural []Row
	Cues    []Row    // the words by which people ask
	Typed   []Row    // prompts for training alone
	Sum     [32]byte // SHA-256 of what was read
}

// Load reads the folder of the repository's data.
func Load(dir string) (*Data, error) {
	d := new(Data)
	sum := sha256.New()
	read := func(path string) ([]Row, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(sum, "%s %d\n", filepath.Base(path), len(b))
		sum.Write(b)
		return Rows(path, bytes.NewReader(b))
	}
	var err error
	if d.Gain, err = read(filepath.Join(dir, "difficulty.jsonl.gz")); err != nil {
		return nil, err
	}
	if d.Class, err = read(filepath.Join(dir, "taskclass.jsonl.gz")); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "natural", "*.jsonl"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	for _, f := range files {
		if strings.HasPrefix(filepath.Base(f), "second") {
			continue // a second reader's labels, which measure the first's
		}
		rows, err := read(f)
		if err != nil {
			return nil, err
		}
		for i := range rows {
			r := &rows[i]
			r.Source, r.Task, r.Split = Natural, Natural+"/"+r.Class, naturalSplit(r.own())
		}
		d.Natural = append(d.Natural, rows...)
	}
	cues, err := os.ReadFile(filepath.Join(dir, "cues.txt"))
	if err != nil {
		return nil, err
	}
	sum.Write(cues)
	if d.Cues, err = Cues(cues, 1); err != nil {
		return nil, fmt.Errorf("cues.txt: %w", err)
	}
	typed, err := os.ReadFile(filepath.Join(dir, "typed.txt"))
	if err != nil {
		return nil, err
	}
	sum.Write(typed)
	if d.Typed, err = typedPrompts(typed, 1); err != nil {
		return nil, fmt.Errorf("typed.txt: %w", err)
	}
	copy(d.Sum[:], sum.Sum(nil))
	return d, nil
}

const maxLine = 16 << 20 // bytes of one row

// Rows reads JSON lines, packed with gzip when the name says so. Every row has a prompt or messages.
func Rows(name string, in io.Reader) ([]Row, error) {
	if strings.HasSuffix(name, ".gz") {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		in = z
	}
	var rows []Row
	s := bufio.NewScanner(in)
	s.Buffer(make([]byte, 1<<16), maxLine)
	for n := 1; s.Scan(); n++ {
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		var r Row
		if err := json.Unmarshal(s.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		if r.Prompt == "" && len(r.Messages) == 0 {
			return nil, fmt.Errorf("%s:%d: neither prompt nor messages", name, n)
		}
		if r.Class != "" && classIndex(r.Class) < 0 {
			return nil, fmt.Errorf("%s:%d: no class is called %q", name, n, r.Class)
		}
		rows = append(rows, r)
	}
	return rows, s.Err()
}

// classIndex returns the place of a class, -1 for none.
func classIndex(name string) int { return slices.Index(router.Classes[:], name) }
