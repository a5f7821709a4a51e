package testkit

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

// Transcript is one story of a client, a gateway and its upstreams, as a txtar file: what everybody says, and what is expected to be
// seen. The comment on top says what it shows.
//
//	policy.yaml          the whole policy; upstreams are names
//	request, request-2 … what the client says, one after the other
//	upstream-HOST-1 …    what the upstream of that name and port answers, in order (pool.test:8000)
//	want-…               what was seen: written by -update
type Transcript struct {
	Name     string
	Policy   []byte
	Requests []*Request
	archive  *txtar.Archive
}

// ReadTranscript reads a file.
func ReadTranscript(path string) (*Transcript, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	a := txtar.Parse(src)
	name := path[strings.LastIndexByte(path, '/')+1:]
	tr := &Transcript{Name: strings.TrimSuffix(name, ".txtar"), archive: a}
	if len(bytes.TrimSpace(a.Comment)) == 0 {
		return nil, fmt.Errorf("%s: the comment on top does not say what it shows", name)
	}
	for _, f := range a.Files {
		switch {
		case f.Name == "policy.yaml":
			tr.Policy = f.Data
		case f.Name == section("request", len(tr.Requests)):
			r, err := ParseRequest(f.Data)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", name, f.Name, err)
			}
			tr.Requests = append(tr.Requests, r)
		case strings.HasPrefix(f.Name, "upstream-"), strings.HasPrefix(f.Name, "want-"):
		default:
			return nil, fmt.Errorf("%s: nobody reads the section %q", name, f.Name)
		}
	}
	if tr.Policy == nil || len(tr.Requests) == 0 {
		return nil, fmt.Errorf("%s: it has no policy or no request", name)
	}
	return tr, nil
}

// section names the i-th section of a kind: the first one has no number.
func section(kind string, i int) string {
	if i == 0 {
		return kind
	}
	return fmt.Sprintf("%s-%d", kind, i+1)
}

// Prepare gives the upstreams their answers.
func (tr *Transcript) Prepare(u *Upstreams) error {
	next := map[string]int{}
	for _, f := range tr.archive.Files {
		rest, ok := strings.CutPrefix(f.Name, "upstream-")
		if !ok {
			continue
		}
		at := strings.LastIndexByte(rest, '-')
		if at < 0 || rest[at+1:] != fmt.Sprint(next[rest[:at]]+1) {
			return fmt.Errorf("%s: %s: answers are numbered from 1, in order", tr.Name, f.Name)
		}
		next[rest[:at]]++
		if err := u.Script(rest[:at], f.Data); err != nil {
			return fmt.Errorf("%s: %w", tr.Name, err)
		}
	}
	return nil
}

// mentions reports whether a request of the transcript holds a text.
func (tr *Transcript) mentions(text string) bool {
	for _, r := range tr.Requests {
		if bytes.Contains(r.Head, []byte(text)) {
			return true
		}
	}
	return false
}

// Sections is everything that a run of a transcript showed, or should.
type Sections []txtar.File

// Add appends a section.
func (s *Sections) Add(name, text string) {
	*s = append(*s, txtar.File{Name: name, Data: []byte(text)})
}

// Wants returns the expected sections.
func (tr *Transcript) Wants() Sections {
	var w Sections
	for _, f := range tr.archive.Files {
		if strings.HasPrefix(f.Name, "want-") {
			w = append(w, f)
		}
	}
	return w
}

// Diff returns the first difference between what is expected and what was seen, or "".
func (s Sections) Diff(got Sections) string {
	for i, want := range s {
		if i >= len(got) {
			return "missing: " + want.Name + "\n" + string(want.Data)
		}
		if want.Name != got[i].Name {
			return fmt.Sprintf("section %s, want %s; it holds\n%s", got[i].Name, want.Name, got[i].Data)
		}
		if !bytes.Equal(want.Data, got[i].Data) {
			return want.Name + ":\n" + lineDiff(string(want.Data), string(got[i].Data))
		}
	}
	if len(got) > len(s) {
		return "unexpected: " + got[len(s)].Name + "\n" + string(got[len(s)].Data)
	}
	return ""
}

// lineDiff shows the lines that differ.
func lineDiff(want, got string) string {
	w, g := strings.SplitAfter(want, "\n"), strings.SplitAfter(got, "\n")
	var b strings.Builder
	for i := range max(len(w), len(g)) {
		var a, c string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			c = g[i]
		}
		if a != c {
			fmt.Fprintf(&b, "line %d\n  want %q\n  got  %q\n", i+1, a, c)
		}
	}
	return b.String()
}

// Update writes the sections into the file as what is expected.
func (tr *Transcript) Update(path string, got Sections) error {
	a := &txtar.Archive{Comment: tr.archive.Comment}
	a.Files = slices.DeleteFunc(slices.Clone(tr.archive.Files), func(f txtar.File) bool { return strings.HasPrefix(f.Name, "want-") })
	a.Files = append(a.Files, got...)
	return os.WriteFile(path, txtar.Format(a), 0o644)
}
