package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the outputs into the transcripts")

// TestCommands runs the transcripts of testdata: files, and commands with what they print. A command's section is named
// `cmd ARGUMENTS`; it may be preceded by `stdin` and `env` (NAME=VALUE lines) and is followed by `exit`, `stdout` and `stderr` where they are not
// 0 and empty.
func TestCommands(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			full, err := filepath.Abs(file)
			if err != nil {
				t.Fatal(err)
			}
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(t.TempDir())
			got := replay(t, a)
			if *update {
				if err := os.WriteFile(full, txtar.Format(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(txtar.Format(a)), string(txtar.Format(got))); diff != "" {
				t.Errorf("-want +got (go test ./cmd/sluice -update writes it):\n%s", diff)
			}
		})
	}
}

// replay runs a transcript and returns it with the outputs that came.
func replay(t *testing.T, a *txtar.Archive) *txtar.Archive {
	t.Helper()
	out := &txtar.Archive{Comment: a.Comment}
	var stdin []byte
	env := map[string]string{}
	ran := 0
	for _, f := range a.Files {
		name, args, command := strings.Cut(f.Name, " ")
		switch {
		case f.Name == "exit" || f.Name == "stdout" || f.Name == "stderr":
			continue // written anew
		case f.Name == "stdin":
			stdin = f.Data
		case f.Name == "env":
			for line := range strings.Lines(string(f.Data)) {
				k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
				env[k] = v
			}
		case name == "cmd" && command:
			ran++
			out.Files = append(out.Files, f)
			out.Files = append(out.Files, runSection(strings.Fields(args), stdin, env)...)
			stdin = nil
			continue
		default:
			if err := os.WriteFile(f.Name, f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		out.Files = append(out.Files, f)
	}
	if ran == 0 {
		t.Fatal("the transcript runs nothing")
	}
	return out
}

func runSection(args []string, stdin []byte, env map[string]string) []txtar.File {
	code, stdout, stderr := runCLI(args, stdin, env)
	var fs []txtar.File
	if code != 0 {
		fs = append(fs, txtar.File{Name: "exit", Data: fmt.Appendf(nil, "%d\n", code)})
	}
	if stdout != "" {
		fs = append(fs, txtar.File{Name: "stdout", Data: []byte(oneEnd(stdout))})
	}
	if stderr != "" {
		fs = append(fs, txtar.File{Name: "stderr", Data: []byte(oneEnd(stderr))})
	}
	return fs
}

// oneEnd gives a text the one line end that a section of a transcript has.
func oneEnd(s string) string { return strings.TrimRight(s, "\n") + "\n" }

func runCLI(args []string, stdin []byte, env map[string]string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	w := &world{ctx: context.Background(), stdin: bytes.NewReader(stdin), stdout: &out, stderr: &errs, env: func(k string) (string, bool) {
		v, ok := env[k]
		return v, ok
	}}
	code = run(args, w)
	return code, out.String(), errs.String()
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"serve", "--help"}, {"check", "--help"}, {"explain", "--help"}, {"classify", "--help"}, {"keys", "new", "--help"}, {"demo", "--help"}, {"mock", "--help"}, {"bootstrap", "--help"}, {"xds", "--help"}} {
		code, out, errs := runCLI(args, nil, nil)
		if code != 0 || !strings.HasPrefix(out, "Usage: sluice") || errs != "" {
			t.Errorf("%q: exit %d, %q, %q", args, code, out, errs)
		}
	}
}

// TestKeysNew proves that a minted key opens what its hash declares, and that it is made anew each time.
func TestKeysNew(t *testing.T) {
	env := map[string]string{"SLUICE_PEPPER": "the pepper"}
	_, a, _ := runCLI([]string{"keys", "new", "--tenant", "acme", "--id", "web", "--json"}, nil, env)
	_, b, _ := runCLI([]string{"keys", "new", "--tenant", "acme", "--id", "web", "--json"}, nil, env)
	if a == b || !strings.HasPrefix(a, `{"key":"slc_web_`) || !strings.Contains(a, `"hash":"hmac-sha256:`) {
		t.Errorf("keys %q and %q", a, b)
	}
	_, text, _ := runCLI([]string{"keys", "new", "--admin", "operator", "--id", "ops"}, nil, env)
	if !strings.Contains(text, "role: operator") || strings.Count(text, "slc_ops_") != 1 {
		t.Errorf("text %q", text)
	}
	if code, out, _ := runCLI([]string{"keys", "new", "--tenant", "acme", "--id", "no spaces"}, nil, env); code != 2 || out != "" {
		t.Errorf("a bad id: exit %d, %q", code, out)
	}
	if code, _, errs := runCLI([]string{"keys", "new", "--tenant", "acme", "--id", "web"}, nil, nil); code != 2 || !strings.Contains(errs, "SLUICE_PEPPER") {
		t.Errorf("no pepper: exit %d, %q", code, errs)
	}
}
