package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/policies"
)

// text renders an explanation for people: the same facts as the JSON, in the order in which they decided.
func (e *explanation) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "request     %s\n", e.Request.text())
	e.traces(&b, "boundaries", e.Boundaries, "", "holds", "does not hold")
	e.traces(&b, "rules", e.Rules, e.Decision.Rule, "holds", "does not hold")
	d := &e.Decision
	b.WriteString("\ndecision    ")
	if len(e.Problems) > 0 {
		p := e.Problems[0]
		fmt.Fprintf(&b, "%d %s: %s\n", p.Status, p.Code, p.Message)
	} else if d.Rule == "" {
		b.WriteString("the path belongs to a provider (passthrough)\n")
	} else {
		fmt.Fprintf(&b, "tier %s by rule %q\n", cmp.Or(d.Tier, "(none)"), d.Rule)
	}
	if d.Class != "" {
		fmt.Fprintf(&b, "            class %s (%s), gain %+.3f, novelty %.3f\n", d.Class, d.likeliest(), d.Gain, d.Novelty)
	}
	if len(d.Features) > 0 {
		b.WriteString("            gain by " + d.features() + "\n")
	}
	if g := d.ByGain; g != nil {
		fmt.Fprintf(&b, "            by_gain: %s\n", g.Why)
		if g.Uncalibrated != "" {
			fmt.Fprintf(&b, "            uncalibrated: %s, so nothing is promised\n", g.Uncalibrated)
		} else if g.Bound > 0 {
			fmt.Fprintf(&b, "            of the prompts kept cheap at most %.1f %% lose a right answer, with %.3g %% confidence\n", 100*g.Bound, 100*g.Confidence)
		}
	}
	if d.Session {
		b.WriteString("            the conversation keeps its model\n")
	}
	e.plan(&b)
	fmt.Fprintf(&b, "\ncarried by  %s", e.Carrier)
	if e.CarrierWhy != "" {
		fmt.Fprintf(&b, " (%s)", e.CarrierWhy)
	}
	b.WriteByte('\n')
	if cache := e.Cache.text(); cache != "" {
		fmt.Fprintf(&b, "\ncache       %s\n", cache)
	}
	return b.String()
}

func (r *requestFacts) text() string {
	s := fmt.Sprintf("model %q -> route %s, %s, %s of prompt, %s", r.Model, r.Route, r.Op, count(r.Tokens, "token"), count(r.Turns, "user turn"))
	if r.Model == "" {
		s = fmt.Sprintf("path %s -> %s, %s", r.Path, r.Route, r.Op)
	}
	for _, c := range []struct {
		n    int
		what string
	}{{r.Tools, "tool"}, {r.Images, "image"}, {r.Audio, "audio part"}, {r.Files, "file"}} {
		if c.n > 0 {
			s += ", " + count(c.n, c.what)
		}
	}
	for _, c := range []struct {
		is   bool
		what string
	}{{r.Stream, "stream"}, {r.JSON, "JSON"}, {r.Logprobs, "logprobs"}} {
		if c.is {
			s += ", " + c.what
		}
	}
	if r.Language != "" {
		s += ", language " + r.Language
	}
	if r.Key != "" {
		s += fmt.Sprintf(", key %s/%s", r.Tenant, r.Key)
	}
	return s
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// traces lists boundaries or rules. The one that decided is marked.
func (e *explanation) traces(b *strings.Builder, title string, traces []policies.Trace, decided, yes, no string) {
	fmt.Fprintf(b, "\n%s\n", title)
	if len(traces) == 0 {
		b.WriteString("  none\n")
		return
	}
	width := 0
	for _, t := range traces {
		width = max(width, len([]rune(t.Name)))
	}
	marked := false
	for _, t := range traces {
		mark, verdict := "  ", no
		if t.Holds {
			verdict = yes
		}
		if t.Holds && t.Name == decided && !marked {
			mark, marked = "> ", true
		}
		does := ""
		switch {
		case len(t.Only) > 0 && t.Holds:
			does = "  only " + strings.Join(t.Only, ", ")
		case t.Use != "":
			does = "  use " + t.Use
		}
		fmt.Fprintf(b, "%s%-*s  %-13s%s\n", mark, width, t.Name, verdict, does)
		if t.When != "" {
			fmt.Fprintf(b, "    when %s\n", t.When)
		}
		for _, name := range slices.Sorted(maps.Keys(t.Values)) {
			fmt.Fprintf(b, "         %s = %s\n", name, t.Values[name])
		}
		if t.Error != "" {
			fmt.Fprintf(b, "         missing evidence: %s\n", t.Error)
		}
	}
}

// features names what says most of the gain.
func (d *decisionFacts) features() string {
	parts := make([]string, len(d.Features))
	for i, f := range d.Features {
		parts[i] = fmt.Sprintf("%s %+.3f", f.Feature, f.Gain)
	}
	return strings.Join(parts, ", ")
}

// likeliest names the classes that share most of the probability.
func (d *decisionFacts) likeliest() string {
	names := slices.SortedFunc(maps.Keys(d.ClassP), func(a, b string) int {
		return cmp.Or(cmp.Compare(d.ClassP[b], d.ClassP[a]), cmp.Compare(a, b))
	})
	var parts []string
	for _, n := range names[:min(3, len(names))] {
		parts = append(parts, fmt.Sprintf("%s %.2f", n, d.ClassP[n]))
	}
	return strings.Join(parts, ", ")
}

func (e *explanation) plan(b *strings.Builder) {
	b.WriteString("\nplan\n")
	if len(e.Plan) == 0 {
		b.WriteString("  nothing can be asked\n")
	}
	width := [3]int{}
	for _, p := range e.Plan {
		width = [3]int{max(width[0], len(p.Model)), max(width[1], len(p.Provider)), max(width[2], len(p.Tier))}
	}
	for i, p := range e.Plan {
		if p.Model == "" {
			fmt.Fprintf(b, "  %d. at %s\n", i+1, p.Provider)
			continue
		}
		times := ""
		if p.Attempts > 1 {
			times = fmt.Sprintf(", up to %d times", p.Attempts)
		}
		fmt.Fprintf(b, "  %d. %-*s  at %-*s  %-*s  by %s%s\n", i+1, width[0], p.Model, width[1], p.Provider, width[2], p.Tier, p.By, times)
	}
	for _, r := range e.Rejected {
		fmt.Fprintf(b, "  not %s: %s\n", r.Model, r.Reason)
	}
}
