package policies

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzParse holds that no text makes the parser or the compiler panic, that every problem stands inside of the file, and that a policy
// comes out only without problems.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	bad, _ := filepath.Glob("testdata/bad/*.yaml")
	for _, name := range append(files, bad...) {
		src, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Add([]byte("version: 1\r\nproviders: {a: &x b, c: *x}\r\n"))
	f.Add([]byte("? a\n: b\n"))
	f.Add([]byte("- - - - - a"))
	f.Add([]byte("a: [http://h:1, {b: [c:d]}]"))
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 1<<14 {
			return
		}
		p, ps := LoadBytes("p.yaml", src, testOptions())
		if (p == nil) != (len(ps) > 0) {
			t.Fatalf("policy %v with problems %v", p, ps)
		}
		lines := strings.Split(strings.ReplaceAll(strings.ReplaceAll(strings.TrimPrefix(string(src), "\ufeff"), "\r\n", "\n"), "\r", "\n"), "\n")
		for _, x := range ps {
			if x.Line < 1 || x.Line > len(lines) || x.Column < 1 || x.Column > utf8.RuneCountInString(lines[x.Line-1])+1 {
				t.Fatalf("problem outside of the file: %v", x)
			}
			if x.Message == "" {
				t.Fatalf("problem without words: %v", x)
			}
		}
		if err := ps.Format(io.Discard); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzExpression holds that no expression makes the compiler or an evaluation panic.
func FuzzExpression(f *testing.F) {
	for _, src := range []string{`req.headers["a"] == "b"`, `task.class in ["math"] && task.gain > 0.1`, `pool("pool").healthy > 0`, `[1].exists(x, x > req.n)`, `has(req.headers.a)`} {
		f.Add(src)
	}
	x := testExprs(f)
	f.Fuzz(func(t *testing.T, src string) {
		e, ps := x.compile(src)
		if (e == nil) != (len(ps) > 0) {
			t.Fatalf("expression %v with problems %v", e, ps)
		}
		if e != nil {
			_, _ = e.Eval(testFacts())
			_ = e.Values(testFacts())
		}
	})
}
