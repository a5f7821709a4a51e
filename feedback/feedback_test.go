package feedback

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func of(id string, rank int, after time.Duration) *Exchange {
	return &Exchange{ID: id, Owner: "acme/web", At: start.Add(after), Words: 7, Rank: rank, Last: 1, Facts: Facts{Route: "auto", Gain: .1}}
}

func say(b *bool) string {
	switch {
	case b == nil:
		return "-"
	case *b:
		return "right"
	}
	return "wrong"
}

func TestLabels(t *testing.T) {
	score := func(v float64) *float64 { return &v }
	for _, c := range []struct {
		name          string
		rank          int
		j             Judgement
		cheap, strong string
	}{
		{"a good cheap answer", 0, Judgement{Score: score(1)}, "right", "-"},
		{"a bad cheap answer", 0, Judgement{Score: score(.4)}, "wrong", "-"},
		{"a good strong answer", 1, Judgement{Score: score(.5)}, "-", "right"},
		{"the strong one was needed", 0, Judgement{ExpectedTier: "strong", ExpectedRank: 1}, "wrong", "right"},
		{"needed although it was not bad", 0, Judgement{Score: score(.9), ExpectedTier: "strong", ExpectedRank: 1}, "wrong", "right"},
		{"the cheap one would have done", 1, Judgement{Score: score(1), ExpectedTier: "cheap"}, "right", "right"},
		{"the cheap one was right to answer", 0, Judgement{ExpectedTier: "cheap"}, "right", "-"},
		{"the strong one was right to answer", 1, Judgement{ExpectedTier: "strong", ExpectedRank: 1}, "-", "-"},
		{"a bad answer of the right tier", 0, Judgement{Score: score(0), ExpectedTier: "cheap"}, "wrong", "-"},
	} {
		m := NewMemory(4)
		m.Saw(of("a", c.rank, 0))
		r, err := m.Judge("a", "acme/web", c.j, start)
		if err != nil || say(r.Cheap) != c.cheap || say(r.Strong) != c.strong || r.Signal != Told {
			t.Errorf("%s: cheap %s, strong %s (%v), want %s and %s", c.name, say(r.Cheap), say(r.Strong), err, c.cheap, c.strong)
		}
	}
}

func TestSigns(t *testing.T) {
	m := NewMemory(8)
	if s := m.Saw(of("a", 0, 0)); len(s) != 0 {
		t.Errorf("a first question: %v", s)
	}
	if s := m.Saw(of("b", 0, time.Minute)); len(s) != 1 || s[0].Signal != AskedAgain || s[0].RequestID != "a" || say(s[0].Cheap) != "wrong" {
		t.Errorf("the same words again: %+v", s)
	}
	if s := m.Saw(of("c", 1, 2*time.Minute)); len(s) != 1 || s[0].Signal != Override || s[0].RequestID != "b" {
		t.Errorf("the same words of a stronger model: %+v", s)
	}
	if s := m.Saw(of("d", 1, 20*time.Minute)); len(s) != 0 {
		t.Errorf("the same words much later: %+v", s)
	}
	other := of("e", 0, 20*time.Minute)
	other.Owner = "acme/other"
	if s := m.Saw(other); len(s) != 0 {
		t.Errorf("the same words of somebody else: %+v", s)
	}
	for _, id := range []string{"e1", "e2"} { // two results of tools
		silent := of(id, 0, 21*time.Minute)
		silent.Words = 0
		if s := m.Saw(silent); len(s) != 0 {
			t.Errorf("no words: %+v", s)
		}
	}
	bad := of("f", 0, 40*time.Minute)
	bad.Bad = true
	if s := m.Saw(bad); len(s) != 1 || s[0].Signal != InvalidOutput || s[0].RequestID != "f" {
		t.Errorf("an answer of no use: %+v", s)
	}
}

func TestJudgingWhatIsNotYours(t *testing.T) {
	m := NewMemory(2)
	m.Saw(of("a", 0, 0))
	for _, c := range []struct {
		id, owner string
		after     time.Duration
	}{{"a", "evil/web", 0}, {"a", "", 0}, {"b", "acme/web", 0}, {"a", "acme/web", 25 * time.Hour}} {
		if _, err := m.Judge(c.id, c.owner, Judgement{}, start.Add(c.after)); !errors.Is(err, ErrUnknown) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	m.Saw(of("b", 0, 0))
	m.Saw(of("c", 0, 0))
	if _, err := m.Judge("a", "acme/web", Judgement{}, start); !errors.Is(err, ErrUnknown) {
		t.Errorf("the oldest is forgotten: %v", err)
	}
	if len(m.byID) != 2 || len(m.latest) != 1 {
		t.Errorf("the memory grew to %d and %d", len(m.byID), len(m.latest))
	}
}

func TestLog(t *testing.T) {
	dir := t.TempDir()
	l, err := OpenLog(dir, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		l.Append(Record{Time: start, RequestID: "x", Facts: Facts{Tokens: i}})
	}
	l.Close()
	f, err := os.Open(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); n++ {
		var r Record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil || r.Tokens != n {
			t.Errorf("line %d: %v, %+v", n, err, r)
		}
	}
	if uint64(n)+l.Dropped() != 100 {
		t.Errorf("%d lines and %d dropped, of 100", n, l.Dropped())
	}
	if _, err := OpenLog(filepath.Join(dir, "none"), nil); err == nil {
		t.Error("a log without its folder")
	}
}
