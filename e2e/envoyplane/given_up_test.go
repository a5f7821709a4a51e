//go:build real

package envoyplane

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sluice-gateway/sluice/internal/testkit"
)

// This file is the one place that says in what Envoy differs from the embedded plane; docs/envoy.md says the same in words.

var update = flag.Bool("update", false, "write what Envoy shows of the transcripts of gaveUp")

// rules are differences that any exchange with `carrier: envoy` may show. Each names what it takes from what was seen, or from what is wanted.
var rules = []struct {
	name    string
	section string // prefix
	direct  bool   // only of exchanges that Envoy carried
	got     *regexp.Regexp
	want    *regexp.Regexp
	with    string
}{
	// Envoy's retry keeps the headers of the first attempt, so what must reach the executor reaches the target as well.
	{name: "id header at the target", section: "want-upstream", got: regexp.MustCompile(`(?m)^X-Sluice-(Id: [0-9a-f]{32}|Prepared: 1)\n`)},
	// Nobody reads the answer; its usage comes from Envoy's filters.
	{name: "no model and no finish reason in the record", section: "want-record", direct: true,
		want: regexp.MustCompile(`response=\S+ finish=\[[^\]]*\]`), with: `response=- finish=[]`},
	// An answer that does not report its usage is estimated by its bytes and not by its text.
	{name: "estimate by bytes", section: "want-record", direct: true, got: estimate, want: estimate, with: "$1 Output:(n)$2"},
	// A stream's usage is always asked for, and its chunk passes although the client did not ask for it.
	{name: "unasked usage chunk", section: "want-response", direct: true,
		got: regexp.MustCompile(`(?m)^data: \{[^\n]*"choices":\[\],"usage":\{[^\n]*\}\n\n`), want: regexp.MustCompile(`(?m)^data: \{[^\n]*"choices":\[\],"usage":\{[^\n]*\}\n\n`)},
}

var estimate = regexp.MustCompile(`(usage=estimated \{Input:\d+) Output:\d+([^}]*\}(?: cost=)?)\d*`)

// ruled takes the rules' differences out of what was wanted and what was seen.
func (r *run) ruled(want, got testkit.Sections, used func(rule string)) (w, g testkit.Sections) {
	for _, rule := range rules {
		of := func(name string) bool {
			if !strings.HasPrefix(name, rule.section) {
				return false
			}
			return !rule.direct || r.direct(strings.TrimPrefix(strings.TrimPrefix(name, rule.section), "-"))
		}
		w := want.Map(func(name, text string) string {
			if of(name) && rule.want != nil {
				return rule.want.ReplaceAllString(text, rule.with)
			}
			return text
		})
		g := got.Map(func(name, text string) string {
			if of(name) && rule.got != nil {
				return rule.got.ReplaceAllString(text, rule.with)
			}
			return text
		})
		if w.Diff(want) != "" || g.Diff(got) != "" {
			used(rule.name)
		}
		want, got = w, g
	}
	return want, got
}

// direct reports whether Envoy carried the request of a number; "" is the first.
func (r *run) direct(number string) bool {
	n := 1
	for _, c := range number {
		n = int(c - '0')
	}
	return n <= len(r.carried) && r.carried[n-1] == "envoy"
}

// gaveUp are the transcripts that end otherwise with `carrier: envoy`, and why; testdata holds what is seen instead.
var gaveUp = map[string]string{
	"fail-html": holdsNothing, "fail-error-event-first": holdsNothing, "fail-error-event-on": holdsNothing, "fail-empty-stream": holdsNothing,
	"fail-empty-choices": holdsNothing, "fail-cut-before-event": holdsNothing, "fail-hang-after-head": holdsNothing, "fail-cut-json": holdsNothing,
	"broken-cut": breaksOff, "broken-cut-in-event": breaksOff, "broken-stall": breaksOff, "broken-total": breaksOff,
	"broken-garbage": readsNothing, "broken-no-end": readsNothing, "broken-error-event": readsNothing, "stream-no-done": readsNothing,
	"after-done": readsNothing, "pass-stream": readsNothing, "stream-from-json": readsNothing,
	"fail-context": answersEnd, "fail-should-retry": answersEnd,
	"fail-hang": silenceEnds, "fail-timeout-everywhere": silenceEnds, "fail-total": silenceEnds,
	"fail-quota": bodySwallowed,
}

// What Envoy gives up.
const (
	holdsNothing  = "nothing is held back until the first real event, so what fails behind a 2xx head is not tried elsewhere"
	breaksOff     = "a stream that breaks breaks off: there is no error event, and of its limits only the total one is kept"
	readsNothing  = "events are not read: comments pass, and what is broken, left out, too much or in another form stays so"
	answersEnd    = "an answer of 4xx other than 429 ends the exchange, so a context that is too small is not tried in a larger one"
	silenceEnds   = "a target that is silent for too long ends the exchange and is not left for the next one"
	bodySwallowed = "the body of an answer that Envoy moves on from is not read: its status and headers alone say what it was"
)

const recordedIn = "testdata/carrier-envoy"

// recorded compares what differs with what was recorded.
func (r *run) recorded(t *testing.T, name, why string, want, got testkit.Sections) {
	t.Helper()
	seen := &txtar.Archive{Comment: []byte("Instead of what proxy/testdata/" + name + ".txtar wants: " + why + ".\n\n")}
	for _, f := range got {
		if want.Text(f.Name) != string(f.Data) {
			seen.Files = append(seen.Files, f)
		}
	}
	for _, f := range want {
		if got.Text(f.Name) == "" && len(f.Data) > 0 {
			seen.Files = append(seen.Files, txtar.File{Name: "missing-" + strings.TrimPrefix(f.Name, "want-")})
		}
	}
	if len(r.faults) > 0 {
		seen.Files = append(seen.Files, txtar.File{Name: "faults", Data: []byte(strings.Join(r.faults, "\n") + "\n")})
	}
	if len(seen.Files) == 0 {
		t.Errorf("%s no longer differs: take it out of gaveUp", name)
	}
	path := filepath.Join(recordedIn, name+".txtar")
	if *update {
		if err := os.WriteFile(path, txtar.Format(seen), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := testkit.Sections(txtar.Parse(src).Files).Diff(seen.Files); diff != "" {
		t.Error(diff)
	}
}

// stale finds recordings that no row stands for.
func stale(t *testing.T) {
	t.Helper()
	paths, err := filepath.Glob(recordedIn + "/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if gaveUp[strings.TrimSuffix(filepath.Base(path), ".txtar")] == "" {
			t.Errorf("%s: no row of gaveUp stands for it", path)
		}
	}
}

// TestDocumented: docs/envoy.md names all of it.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/envoy.md")
	if err != nil {
		t.Fatal(err)
	}
	said := func(what string) {
		if !strings.Contains(string(page), "| "+what+" |") {
			t.Errorf("docs/envoy.md does not say %q", what)
		}
	}
	for _, r := range rules {
		said(r.name)
	}
	for _, why := range gaveUp {
		said(why)
	}
}

// forgets is the transcript whose client stops in the middle of its body. Envoy drops such a request at once: the gateway hears of it, and records it as it
// is wanted, only when its head had been passed on before.
const forgets = "request-cut"
