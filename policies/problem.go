package policies

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Position is a place in the policy file. Lines and columns count from 1; a column is a character, not a byte.
type Position struct{ Line, Column int }

// Problem is one thing that is wrong with a policy, and where.
type Problem struct {
	File         string
	Line, Column int
	Path         string // routes.auto.rules[2].when; "" = the file as a whole
	Message      string
	Source       string // the source line; literal secrets in it are masked
}

// Error returns the problem as one line: policy.yaml:14:7: path: message.
func (p Problem) Error() string {
	s := fmt.Sprintf("%s:%d:%d: ", p.File, p.Line, p.Column)
	if p.Path != "" {
		s += p.Path + ": "
	}
	return s + p.Message
}

// Problems are all that is wrong with a policy, in the order of the file.
type Problems []Problem

// Error returns the first problem and how many more there are.
func (ps Problems) Error() string {
	switch len(ps) {
	case 0:
		return "no problems"
	case 1:
		return ps[0].Error()
	}
	return fmt.Sprintf("%s (and %d more)", ps[0].Error(), len(ps)-1)
}

// Format writes every problem with its source line and a caret under the column.
func (ps Problems) Format(w io.Writer) error {
	var b strings.Builder
	for _, p := range ps {
		b.WriteString(p.Error())
		b.WriteByte('\n')
		if strings.TrimSpace(p.Source) == "" {
			continue
		}
		p.excerpt(&b)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write problems: %w", err)
	}
	return nil
}

// maxExcerpt keeps a minified file from flooding a terminal, in characters.
const maxExcerpt = 160

func (p Problem) excerpt(b *strings.Builder) {
	line, column := []rune(p.Source), max(p.Column, 1)-1
	if len(line) > maxExcerpt {
		from := min(max(0, column-maxExcerpt/2), max(0, len(line)-maxExcerpt))
		line, column = line[from:min(len(line), from+maxExcerpt)], column-from
	}
	b.WriteString("    ")
	for _, r := range line {
		if r != '\t' && (r < ' ' || r == utf8.RuneError) {
			r = '?'
		}
		b.WriteRune(r)
	}
	b.WriteString("\n    ")
	for i := range column {
		if i < len(line) && line[i] == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteByte(' ')
		}
	}
	b.WriteString("^\n")
}

// sorted returns the problems in the file's order, each place and message once.
func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		if a.Column != b.Column {
			return a.Column - b.Column
		}
		return strings.Compare(a.Message, b.Message)
	})
	return slices.Compact(ps)
}

// meant returns ` (did you mean "x"?)` for the known name nearest to what was written, or "".
func meant(written string, known []string) string {
	if best := nearest(written, known); best != "" {
		return fmt.Sprintf(" (did you mean %q?)", best)
	}
	return ""
}

// nearest returns the known name that what was written may be a misspelling of, or "".
func nearest(written string, known []string) string {
	if utf8.RuneCountInString(written) < 2 {
		return ""
	}
	best, at := "", 1+max(1, utf8.RuneCountInString(written)/3)
	sorted := slices.Clone(known)
	slices.Sort(sorted)
	for _, k := range sorted {
		if d := distance(strings.ToLower(written), strings.ToLower(k)); d < at {
			best, at = k, d
		}
	}
	return best
}

// distance is the number of insertions, deletions, replacements and swaps of neighbours between a and b.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	s, t := []rune(a), []rune(b)
	rows := make([][]int, len(s)+1)
	for i := range rows {
		rows[i] = make([]int, len(t)+1)
		rows[i][0] = i
	}
	for j := range t {
		rows[0][j+1] = j + 1
	}
	for i := 1; i <= len(s); i++ {
		for j := 1; j <= len(t); j++ {
			cost := 1
			if s[i-1] == t[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(s)][len(t)]
}
