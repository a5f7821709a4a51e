package policies

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBadPolicies holds every broken policy of testdata to the text that it prints.
func TestBadPolicies(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 40 {
		t.Fatalf("only %d broken policies: %v", len(files), err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".yaml"), func(t *testing.T) {
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			// The folder stays out of the output, so that it reads as a user sees it.
			p, ps := LoadBytes("policy.yaml", src, testOptions())
			if len(ps) == 0 || p != nil {
				t.Fatal("the policy loads")
			}
			var b strings.Builder
			if err := ps.Format(&b); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(b.String(), "canary") {
				t.Errorf("a secret is printed:\n%s", b.String())
			}
			golden := strings.TrimSuffix(name, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), b.String()); d != "" {
				t.Errorf("output changed (-want +got):\n%s", d)
			}
		})
	}
}

// TestHugeFiles holds that what would make the parser work without end is refused before it: each of these took minutes or all memory.
func TestHugeFiles(t *testing.T) {
	for name, c := range map[string]struct{ src, want string }{
		"too large": {strings.Repeat("#", maxFile+1), "bytes"},
		"brackets":  {strings.Repeat("[", 1<<17), "deeper"},
		"braces":    {strings.Repeat("{a: ", 1<<15), "deeper"},
		"dashes":    {strings.Repeat("- ", 1<<16), "deeper"},
		"marks":     {strings.Repeat("? ", 1<<16), "not allowed"},
		"anchors":   {"a: " + strings.Repeat("&a ", 1<<15), "anchors"},
		"lines":     {strings.Repeat("a: b\n", maxWidth+1), "more than"},
	} {
		if _, ps := Parse("p.yaml", []byte(c.src)); len(ps) == 0 || len(ps) > maxProblems+5 || !strings.Contains(ps[0].Message, c.want) {
			t.Errorf("%s: %d problems, %.200v", name, len(ps), ps)
		}
	}
}
