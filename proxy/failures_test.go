package proxy_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/internal/simulator"
	"github.com/sluice-gateway/sluice/internal/testkit"
	"github.com/sluice-gateway/sluice/telemetry"
)

// failuresPage holds the table that TestFailures writes and holds the planes to.
const failuresPage = "../docs/failures.md"

const tableMark = "<!-- written by: go test ./proxy -run TestFailures -update -->\n"

// TestFailures plays every fault that has a name, with a fallback and without, streaming and not, in every plane, with all invariants active. What client,
// upstreams and record show is the table of docs/failures.md.
func TestFailures(t *testing.T) {
	want := whole(t)
	page, err := os.ReadFile(failuresPage)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, fallback := range []bool{true, false} {
		if fallback {
			b.WriteString("\n### With a fallback\n\n")
		} else {
			b.WriteString("\n### Without one\n\n")
		}
		b.WriteString(tableHead)
		for _, s := range simulator.Scenarios() {
			if !strings.ContainsAny(s.Spec, ";") && !strings.Contains(s.Spec, "share=") && !strings.Contains(s.Spec, "flap=") && !strings.Contains(s.Spec, "for=") {
				b.WriteString(failureRows(t, s, "", fallback, want)) // the others show over many requests only
			}
		}
	}
	b.WriteString("\n### When the client leaves\n\n" + tableHead)
	for _, s := range leaves {
		b.WriteString(failureRows(t, s.Scenario, s.steps, true, want))
	}
	head, _, ok := bytes.Cut(page, []byte(tableMark))
	if !ok {
		t.Fatalf("%s has no line %q", failuresPage, tableMark)
	}
	now := append(append(bytes.Clone(head), tableMark...), b.String()...)
	if *update {
		if err := os.WriteFile(failuresPage, now, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(page, now) {
		t.Errorf("%s says otherwise; -update writes\n%s", failuresPage, b.String())
	}
}

const tableHead = "| fault | asked for | the client sees | the upstreams see | the record says |\n|---|---|---|---|---|\n"

// leaves are the moments at which a client leaves.
var leaves = []struct {
	simulator.Scenario
	steps string
}{
	{simulator.Scenario{Name: "f21-head", Spec: "hang", Says: "while the primary is silent"}, "!leave 3s\n"},
	{simulator.Scenario{Name: "f21-token", Spec: "first-token-delay=20s", Says: "before the first token"}, "!leave 3s\n"},
	{simulator.Scenario{Name: "f21-stream", Spec: "", Says: "amid the answer"}, "!leave 610ms\n"},
	{simulator.Scenario{Name: "f21-backoff", Spec: "status=429,retry-after=2", Says: "while a Retry-After is waited out"}, "!leave 1s\n"},
}

// failureRows plays one fault, streaming and not, in every plane and returns its rows of the table.
func failureRows(t *testing.T, s simulator.Scenario, steps string, fallback bool, want string) string {
	t.Helper()
	rows := fmt.Sprintf("| **%s** %s", s.Name, s.Says)
	for _, stream := range []bool{true, false} {
		row := ""
		for _, d := range drivers {
			got := failure(t, d, s, steps, fallback, stream, want)
			if row != "" && got != row {
				t.Errorf("%s: the planes differ:\n%s\n%s", s.Name, row, got)
			}
			row = got
		}
		if !stream {
			rows += "|"
		}
		rows += row
	}
	return rows
}

// failure plays one fault and returns its row without the name.
func failure(t *testing.T, d driver, s simulator.Scenario, steps string, fallback, stream bool, want string) (row string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		policy := publicPolicy
		if !fallback {
			policy = strings.Replace(policy, "[main, spare]}]", "[main]}]", 1)
		}
		p := newPublicOf(t, d, policy, s.Spec, s.Fallback)
		a := p.plane.ask(chat(t, stream, steps))
		r := p.settled(1)[0]
		for _, broken := range testkit.Broken(&a, r) {
			t.Errorf("%s, %s, stream %t: %s", s.Name, d.name, stream, broken)
		}
		kind := "JSON"
		if stream {
			kind = "stream"
		}
		row = fmt.Sprintf(" | %s | %s | %s | %s |\n", kind, p.clientSaw(&a, want), p.upstreamsSaw(), recorded(r))
		p.ends()
		p.close()
	})
	return row
}

func (p *public) clientSaw(a *testkit.Answer, want string) string {
	got, after := read(p.t, a), ""
	if a.Took >= 2*time.Second {
		after = fmt.Sprintf(" after %v", a.Took.Round(time.Second))
	}
	if !strings.HasPrefix(want, got.text) {
		p.t.Errorf("text of no upstream: %q", got.text)
	}
	switch {
	case a.End == "left" && got.text != "":
		return "a part of the answer"
	case a.End != "":
		return "nothing"
	case a.Status != 200:
		if s := a.Header.Get("Retry-After"); s != "" {
			after += ", `Retry-After: " + s + "`"
		}
		return fmt.Sprintf("%d `%s`%s", a.Status, got.code, after)
	case got.code != "":
		return fmt.Sprintf("a part of the answer and `%s`%s", got.code, after)
	case got.text != want || got.finish == "" || !got.done:
		p.t.Errorf("an answer that is neither whole nor ends in an error: %s", a.String())
		return "?"
	case got.rescued:
		return "the whole answer, `: rescued`" + after
	}
	return "the whole answer" + after
}

func (p *public) upstreamsSaw() string {
	var parts []string
	for name, sim := range map[string]*simulator.Server{"primary": p.main, "fallback": p.spare} {
		var calls []string
		for _, c := range sim.Log() {
			what := fmt.Sprint(c.Status)
			if c.Status == 0 {
				what = "no head"
			}
			switch c.Ending {
			case simulator.Cut:
				what += ", broken off"
			case simulator.ClientGone:
				what += ", hung up on"
			}
			calls = append(calls, what)
		}
		if len(calls) > 0 {
			parts = append(parts, name+": "+strings.Join(calls, "; "))
		}
	}
	if len(parts) == 2 && strings.HasPrefix(parts[0], "fallback") {
		parts[0], parts[1] = parts[1], parts[0]
	}
	return strings.Join(parts, " / ")
}

func recorded(r *telemetry.Record) string {
	s := "`" + r.Outcome + "`"
	if r.Rescued {
		s += ", rescued"
	}
	for i, a := range r.Attempts {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		what := "ok"
		if a.Class != "" {
			what = fmt.Sprintf("%s by %s", a.Class, a.Cause)
		}
		s += sep + what + fmt.Sprintf(" (usage %v)", a.UsageKind)
	}
	return s
}

// ends holds the upstreams to what must be so 250 ms after an exchange: nobody works for it any more, it was asked no more often than the plan allows, and
// no longer than the exchange's limit and a second.
func (p *public) ends() {
	p.t.Helper()
	time.Sleep(250 * time.Millisecond) // virtual
	synctest.Wait()
	for _, sim := range []*simulator.Server{p.main, p.spare} {
		for _, c := range sim.Log() {
			switch {
			case c.Ending == simulator.Open:
				p.t.Errorf("an upstream is still at work: %s %s", c.Model, c.Fault)
			case c.Ended.Sub(c.Started) > 10*time.Minute+time.Second:
				p.t.Errorf("an upstream request lasted %v", c.Ended.Sub(c.Started))
			}
		}
	}
	for _, r := range p.all() {
		per := map[string]int{}
		for _, a := range r.Attempts {
			per[a.Model]++
		}
		if len(r.Attempts) > 4 || per["main"] > 2 || per["spare"] > 2 {
			p.t.Errorf("attempts %v", per)
		}
	}
}
