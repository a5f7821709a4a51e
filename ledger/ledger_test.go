package ledger

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/sluice-gateway/sluice/internal/leak"
	"github.com/sluice-gateway/sluice/llm"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("SLUICE_TEST_LEDGER"); dir != "" {
		writeForEver(dir)
	}
	leak.Main(m)
}

var begin = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// numbered is a row that can be told from any other.
func numbered(n int) Row {
	return Row{
		Time: begin.Add(time.Duration(n) * time.Millisecond), Took: 1500 * time.Millisecond, Exchange: [16]byte{byte(n >> 16), byte(n >> 8), byte(n)},
		Attempt: 1, Tenant: "acme", Key: "web", Route: "auto", Model: "gpt", Provider: "out", Region: "eu", Cache: "miss", Status: 200,
		Kind: llm.UsageReported, Usage: llm.Usage{Input: n, Output: 2, Cached: 3, CacheWrite: 4, Reasoning: 1}, Cost: Cost{MicroUSD: int64(n), Known: true, Price: "policy"},
	}
}

func mustOpen(tb testing.TB, dir string) *Ledger {
	tb.Helper()
	l, err := Open(dir, func(_ int, err error) { tb.Error(err) })
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func rows(tb testing.TB, l *Ledger, since time.Time) (all []Row) {
	tb.Helper()
	if err := l.Rows(since, func(r *Row) bool {
		all = append(all, *r)
		return true
	}); err != nil {
		tb.Fatal(err)
	}
	return all
}

// TestRows writes rows and reads them back, also in the next process.
func TestRows(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir)
	want := []Row{numbered(1), numbered(2), {Time: begin.Add(time.Second), Attempt: 0, Cache: "hit", Kind: llm.UsageNone}, numbered(3000)}
	l.Add(want[3], want[0])
	l.Add(want[2], want[1])
	if d := cmp.Diff(want, rows(t, l, time.Time{})); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want[1:], rows(t, r, want[1].Time)); d != "" {
		t.Errorf("rows since the second (-want +got):\n%s", d)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no ledger: %v", err)
	}
	l := mustOpen(t, dir)
	if _, err := Open(dir, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("open twice: %v", err)
	}
	if _, err := Read(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("read while a gateway has it: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, file), []byte("not a ledger"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := Open(dir, nil); err == nil {
		t.Error("opened what is no ledger")
		_ = l.Close()
	}
}

// TestOverflow loses what the disk does not take, and says so.
func TestOverflow(t *testing.T) {
	var told atomic.Int64
	l, err := Open(t.TempDir(), func(lost int, _ error) { told.Add(int64(lost)) })
	if err != nil {
		t.Fatal(err)
	}
	l.writing.Lock() // the disk hangs
	batch := make([]Row, maxQueue+10)
	for i := range batch {
		batch[i] = numbered(i)
	}
	l.Add(batch...)
	l.writing.Unlock()
	if l.Lost() != 10 || told.Load() != 10 {
		t.Errorf("lost %d, told %d", l.Lost(), told.Load())
	}
	if n := len(rows(t, l, time.Time{})); n != maxQueue {
		t.Errorf("%d rows on disk", n)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestWriteFails keeps rows that could not be written for the next try, and counts them as lost when there is none.
func TestWriteFails(t *testing.T) {
	var lost atomic.Int64
	l, err := Open(t.TempDir(), func(n int, _ error) { lost.Add(int64(n)) })
	if err != nil {
		t.Fatal(err)
	}
	if err := l.db.Close(); err != nil { // what a dead disk looks like
		t.Fatal(err)
	}
	l.Add(numbered(1), numbered(2))
	for range 2 {
		if l.Sync() == nil {
			t.Error("written to nowhere")
		}
	}
	if len(l.waiting) != 2 || lost.Load() != 0 {
		t.Errorf("%d wait, %d lost", len(l.waiting), lost.Load())
	}
	if l.Close() == nil || l.Lost() != 2 || lost.Load() != 2 {
		t.Errorf("closed with %d lost", l.Lost())
	}
}

// writeForEver adds row after row and says which are on disk, until it is killed.
func writeForEver(dir string) {
	l, err := Open(dir, func(_ int, err error) { panic(err) })
	if err != nil {
		panic(err)
	}
	from := 0
	if err := l.Rows(time.Time{}, func(*Row) bool { from++; return true }); err != nil {
		panic(err)
	}
	for {
		for range 1 + rand.IntN(20) {
			l.Add(numbered(from))
			from++
		}
		if err := l.Sync(); err != nil {
			panic(err)
		}
		fmt.Println(from)
	}
}

// TestKilled kills the writer at random points (100 with the tag real): no row that was on disk is gone, none is there twice, the file is whole.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	known := 0
	for i := range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "SLUICE_TEST_LEDGER="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 1 + rand.IntN(8); n > 0 && lines.Scan(); n-- {
			known = number(t, lines.Text())
		}
		time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, func() { _ = cmd.Process.Kill() }) // in the middle of whatever comes next
		for lines.Scan() {
			known = number(t, lines.Text())
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("kill %d: the writer ended with %v", i, err)
		}
		check(t, dir, known)
	}
	t.Logf("%d rows after %d kills", known, kills)
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func check(t *testing.T, dir string, known int) {
	t.Helper()
	l, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = l.db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatalf("the file is broken: %v", err)
	}
	all := rows(t, l, time.Time{})
	if len(all) < known {
		t.Fatalf("%d rows are on disk, %d were said to be", len(all), known)
	}
	for i := range all {
		if want := numbered(i); all[i] != want { // quicker than a diff
			t.Fatalf("row %d:\n%s", i, cmp.Diff(want, all[i]))
		}
	}
}

func FuzzDecode(f *testing.F) {
	r := numbered(7)
	v, err := r.value()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(r.key(), v)
	f.Add([]byte{}, []byte("{}"))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r, err := decode(key, value)
		if err != nil {
			return
		}
		again, err := r.value()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decode(r.key(), again); err != nil || !cmp.Equal(r, back) {
			t.Errorf("%v, then %v, %v", r, back, err)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	l := mustOpen(b, b.TempDir())
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Add(numbered(i))
		if i%maxQueue == maxQueue-1 {
			if err := l.Sync(); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}
