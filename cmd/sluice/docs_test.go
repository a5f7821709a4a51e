package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// documented finds command lines in code spans, and in the lines of code blocks after a prompt, a pipe or blanks.
var documented = regexp.MustCompile("(?m)(?:`|^\\$ |^ *|\\| *)(?:bin/)?sluice ([a-z][^`|\n]*)")

// flagSpan is a flag in a code span; in a table it belongs to the command in the row's first cell.
var flagSpan = regexp.MustCompile("`(--[a-z-]+)")

// Every command and flag that the documentation shows exists.
func TestDocumentedCommands(t *testing.T) {
	parser, err := kong.New(&cli{})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, pattern := range []string{"../../README.md", "../../docs/*.md", "../../examples/*/README.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				for i, m := range documented.FindAllStringSubmatch(line, -1) {
					words := strings.Fields(m[1])
					if i == 0 && strings.HasPrefix(line, "| `sluice ") {
						for _, f := range flagSpan.FindAllStringSubmatch(line, -1) {
							words = append(words, f[1])
						}
					}
					name := checkCommand(t, file, parser.Model.Node, words)
					seen[name] = true
				}
			}
		}
	}
	for _, c := range parser.Model.Leaves(true) {
		if !seen[c.Path()] {
			t.Errorf("no page shows %q", c.Path())
		}
	}
}

// checkCommand reports words that are no command or flag, and returns the command's path.
func checkCommand(t *testing.T, file string, node *kong.Node, words []string) string {
	t.Helper()
	for len(words) > 0 && len(node.Children) > 0 {
		i := slices.IndexFunc(node.Children, func(c *kong.Node) bool { return c.Name == words[0] })
		if i < 0 {
			t.Errorf("%s: sluice has no command %q", file, strings.Join(words, " "))
			return ""
		}
		node, words = node.Children[i], words[1:]
	}
	for _, w := range words {
		name, ok := strings.CutPrefix(w, "--")
		if !ok {
			continue
		}
		name, _, _ = strings.Cut(name, "=")
		known := false
		for _, flags := range node.AllFlags(false) {
			known = known || slices.ContainsFunc(flags, func(f *kong.Flag) bool { return f.Name == name })
		}
		if !known && name != "" {
			t.Errorf("%s: %s has no flag --%s", file, node.Path(), name)
		}
	}
	return node.Path()
}
