package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/router"
)

// checkCmd is `sluice check`.
type checkCmd struct {
	File           string `arg:"" help:"Policy file." placeholder:"FILE"`
	JSON           bool   `help:"Print JSON: {\"problems\", \"notices\", \"tests\"}."`
	ProveResidency bool   `help:"Print every provider that each tenant and route can reach, and by what, instead of running the tests." xor:"mode"`
	Against        string `help:"Print every edit since this older policy that widens what a tenant, key, route or boundary can reach; exit 1 if there is one." placeholder:"OLD" xor:"mode"`
	Offline        bool   `help:"Do not look for the secrets and certificates that the policy names."`
}

// Help is what --help says beyond the flags.
func (c *checkCmd) Help() string {
	return `Exit codes: 0 all is good, 1 there are problems, 2 the file could not be checked.`
}

// Run checks the policy.
func (c *checkCmd) Run(w *world) error {
	src, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	offline := c.Offline || c.ProveResidency || c.Against != ""
	p, ps := policies.LoadBytes(c.File, src, w.options(offline))
	switch {
	case c.JSON && !c.ProveResidency && c.Against == "":
		return c.json(w, p, ps)
	case len(ps) > 0:
		if err := ps.Format(w.stdout); err != nil {
			return err
		}
		return found()
	case c.ProveResidency:
		return c.prove(w, p)
	case c.Against != "":
		return c.against(w, p)
	}
	for _, n := range p.Notices {
		fmt.Fprintf(w.stdout, "note  %s\n", n.Error())
	}
	bad := 0
	for _, t := range testResults(p) {
		if t.OK {
			fmt.Fprintf(w.stdout, "ok    %s\n", t.Name)
			continue
		}
		bad++
		fmt.Fprintf(w.stdout, "FAIL  %s: %s (%s:%d)\n", t.Name, t.Message, p.File, t.Line)
	}
	if bad > 0 {
		fmt.Fprintf(w.stdout, "%s: %d of %d tests failed\n", p.File, bad, len(p.Tests))
		return found()
	}
	fmt.Fprintf(w.stdout, "%s: good, version %s, %s passed\n", p.File, p.Version, count(len(p.Tests), "test"))
	return nil
}

// testResult is one in-file test as `check` shows it.
type testResult struct {
	Name    string `json:"name"`
	Line    int    `json:"line"`
	OK      bool   `json:"ok"`
	Message string `json:"message,omitempty"`
}

func testResults(p *policies.Policy) []testResult {
	r := router.New(router.Options{})
	results := []testResult{}
	for _, t := range p.Tests {
		wrong := runTest(p, r, t)
		results = append(results, testResult{t.Name, t.Pos.Line, wrong == "", wrong})
	}
	return results
}

// jsonProblem is a problem as `check --json` shows it.
type jsonProblem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path"`
	Message string `json:"message"`
}

func jsonProblems(ps policies.Problems) []jsonProblem {
	out := []jsonProblem{}
	for _, p := range ps {
		out = append(out, jsonProblem{p.File, p.Line, p.Column, p.Path, p.Message})
	}
	return out
}

func (c *checkCmd) json(w *world, p *policies.Policy, ps policies.Problems) error {
	out := struct {
		Version  string        `json:"version,omitempty"`
		Problems []jsonProblem `json:"problems"`
		Notices  []jsonProblem `json:"notices"`
		Tests    []testResult  `json:"tests"`
	}{Problems: jsonProblems(ps), Notices: []jsonProblem{}, Tests: []testResult{}}
	good := p != nil
	if p != nil {
		out.Version, out.Notices, out.Tests = p.Version, jsonProblems(p.Notices), testResults(p)
		for _, t := range out.Tests {
			good = good && t.OK
		}
	}
	enc := json.NewEncoder(w.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		return err
	}
	if !good {
		return found()
	}
	return nil
}

// prove prints a line for each tenant and route. They are of the keys that the file declares: what others may reach beyond that is noted.
func (c *checkCmd) prove(w *world, p *policies.Policy) error {
	lines := reachable(p)
	for _, l := range lines {
		if _, err := fmt.Fprintln(w.stdout, l.text()); err != nil {
			return err
		}
	}
	for _, name := range askingTenants(p) {
		shown := providersOf(slices.DeleteFunc(slices.Clone(lines), func(l *reach) bool { return l.tenant != name }))
		more := slices.DeleteFunc(madeReach(p, name), func(provider string) bool { return slices.Contains(shown, provider) })
		if len(more) > 0 {
			fmt.Fprintf(w.stderr, "note  a key of %s that is made through the admin listener may also reach %s\n", name, strings.Join(more, ", "))
		}
	}
	return nil
}

// against prints what widened since the older policy.
func (c *checkCmd) against(w *world, p *policies.Policy) error {
	old, err := policies.Load(c.Against, w.options(true))
	if err != nil {
		var ps policies.Problems
		if errors.As(err, &ps) {
			return fmt.Errorf("the older policy has problems: %w", err)
		}
		return err
	}
	wider := widened(old, p)
	for _, line := range wider {
		fmt.Fprintln(w.stdout, line)
	}
	if len(wider) > 0 {
		return found()
	}
	_, err = fmt.Fprintln(w.stdout, "nothing widened")
	return err
}
