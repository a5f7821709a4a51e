package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/router/train"
)

func TestPrior(t *testing.T) {
	var out strings.Builder
	table, err := (&trainCmd{}).prior(&out)
	if err != nil || table != train.Prior() || out.Len() > 0 {
		t.Errorf("without outcomes: %v %q", err, out.String())
	}
	file := filepath.Join(t.TempDir(), "feedback.jsonl")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Repeat(`{"class_p":{"chat_advice":1},"cheap":false,"strong":true}`+"\n", 50))
	moved, err := (&trainCmd{Outcomes: file}).prior(&out)
	if err != nil || moved == table || !strings.Contains(out.String(), "50 judged records") || !strings.Contains(out.String(), "chat_advice        +0.010 -> +0.505\n") {
		t.Errorf("%v\n%s", err, out.String())
	}
	write("{}\n{")
	if _, err := (&trainCmd{Outcomes: file}).prior(&out); err == nil || !strings.Contains(err.Error(), "feedback.jsonl: line 2: ") {
		t.Errorf("a broken line: %v", err)
	}
	if _, err := (&trainCmd{Outcomes: file + ".none"}).prior(&out); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
}
