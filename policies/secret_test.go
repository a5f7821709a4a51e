package policies

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretNeverPrints(t *testing.T) {
	s := NewSecret("canary")
	holder := struct {
		S Secret
		P *Secret
	}{s, &s}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "holder", holder)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "holder", holder)
	j, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{log.String(), string(j), s.String(), s.GoString(), fmt.Errorf("x %w %v", errors.New("y"), s).Error()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%p", "%T"} {
		out = append(out, fmt.Sprintf(verb, s), fmt.Sprintf(verb, holder.S), fmt.Sprintf(verb, []Secret{s}))
	}
	for _, o := range out {
		if strings.Contains(o, "canary") || strings.Contains(o, fmt.Sprintf("%x", "canary")) {
			t.Errorf("the secret is printed: %s", o)
		}
	}
	if s.Reveal() != "canary" || !s.Present() || (Secret{}).Reveal() != "" || (Secret{}).Present() {
		t.Error("the secret does not reveal what it holds")
	}
}

func TestSecretRefresh(t *testing.T) {
	file := "one\n"
	var fail error
	o := testOptions()
	old := o.ReadFile
	o.ReadFile = func(name string) ([]byte, error) {
		if name == "dir/key.txt" {
			return []byte(file), fail
		}
		return old(name)
	}
	p, ps := LoadBytes("dir/p.yaml", []byte(strings.Replace(minimal, "8000]", "8000], keys: [{file: key.txt}, {env: KEY}]", 1)), o)
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	held := p.Providers["pool"].Keys[0]
	for _, step := range []struct {
		file    string
		fail    error
		want    string
		changed int
		wrong   bool
	}{
		{"one\n", nil, "one", 0, false},
		{"two", nil, "two", 1, false},
		{" \n", nil, "two", 0, true},
		{"three", errors.New("gone"), "two", 0, true},
		{strings.Repeat("x", maxSecret+1), nil, "two", 0, true},
		{"four\r\n", nil, "four", 1, false},
	} {
		file, fail = step.file, step.fail
		n, err := p.RefreshSecrets()
		if n != step.changed || (err != nil) != step.wrong || held.Reveal() != step.want {
			t.Errorf("after %.10q: %q, %d changed, %v", step.file, held.Reveal(), n, err)
		}
		if err != nil && strings.Contains(err.Error(), "four") {
			t.Errorf("the error holds the secret: %v", err)
		}
	}
}
