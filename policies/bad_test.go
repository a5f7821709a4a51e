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
