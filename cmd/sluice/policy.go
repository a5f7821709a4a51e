package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/ledger"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers"
	"github.com/sluice-gateway/sluice/providers/openai"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/router"
)

// options are what policies compile with. Offline leaves secrets alone: for commands that call nobody.
func (w *world) options(offline bool) policies.Options {
	return policies.Options{Presets: providers.Presets(), Classes: router.Classes[:], Prices: ledger.Catalogue, Classifier: router.ClassifierID(), Env: w.env, ReadFile: os.ReadFile, Offline: offline}
}

// refused prints the problems of a policy that does not load, in the contract's form, and returns the failure that says no more. Any other error
// is returned as it is.
func (w *world) refused(err error) error {
	var ps policies.Problems
	if !errors.As(err, &ps) {
		return err
	}
	if err := ps.Format(w.stderr); err != nil {
		return err
	}
	return printed()
}

// loadTested loads a policy and runs its in-file tests, as a server does before it takes one. A test that fails is a problem like any other.
func loadTested(path string, src []byte, o policies.Options) (*policies.Policy, error) {
	p, ps := policies.LoadBytes(path, src, o)
	if len(ps) > 0 {
		return nil, ps
	}
	r := router.New(router.Options{})
	for i, t := range p.Tests {
		if wrong := runTest(p, r, t); wrong != "" {
			ps = append(ps, policies.Problem{File: p.File, Line: t.Pos.Line, Column: t.Pos.Column, Path: fmt.Sprintf("tests[%d]", i), Message: fmt.Sprintf("test %q failed: %s", t.Name, wrong), Source: sourceLine(src, t.Pos.Line)})
		}
	}
	if len(ps) > 0 {
		return nil, ps
	}
	return p, nil
}

// sourceLine is a line of the policy's text by its number; "" when there is none.
func sourceLine(src []byte, line int) string {
	lines := strings.Split(string(src), "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	return strings.TrimSuffix(lines[line-1], "\r")
}

// runTest returns what is wrong with the decision that an in-file test asks for, or "".
func runTest(p *policies.Policy, r *router.Router, t policies.Test) string {
	q := question{path: chatPath, header: map[string]string{}}
	for name, value := range t.Headers {
		q.header[strings.ToLower(name)] = value
	}
	q.body = append(jsonedit.AppendString([]byte(`{"model":`), t.Route), `,"messages":[{"role":"user","content":`...)
	q.body = append(jsonedit.AppendString(q.body, t.Prompt), `}]}`...)
	d, _, err := q.ask(p, r)
	if err != nil && d == nil {
		return err.Error()
	}
	o := policies.Outcome{Tier: d.Tier, Class: d.Class, Rule: d.Rule, Denied: err != nil}
	for i, a := range d.Plan.Attempts {
		if i == 0 {
			o.Model = a.Model.Key
		}
		o.Providers = append(o.Providers, a.Model.Provider.Name)
	}
	return t.Check(o)
}

const chatPath = "/v1/chat/completions"

// question is a request that is decided and not sent.
type question struct {
	path   string
	body   []byte
	header map[string]string // by lower name
	key    *policies.Key
	given  givenFacts
	trace  bool
	now    time.Time
	env    *llm.Envelope // of the body, once it was scanned
}

// ask scans the request and decides. Without a decision the error says why the request never came to one; beside a decision it is the
// refusal that was decided.
func (q *question) ask(p *policies.Policy, r *router.Router) (*router.Decision, *policies.Route, error) {
	if q.now.IsZero() {
		q.now = time.Now()
	}
	op := operation(q.path)
	if pass, ok := p.PassthroughFor(q.path, q.key); ok && op == llm.OpOpaque {
		if pass == nil {
			return nil, nil, fmt.Errorf("404 unknown_path: %s is no passthrough path%s", q.path, q.scope())
		}
		return q.askPass(p, r, pass)
	}
	env, err := openai.Codec{}.Scan(op, q.body)
	if le, ok := errors.AsType[*llm.Error](err); ok {
		return nil, nil, fmt.Errorf("%d %s: %s", le.Status, le.Code, le.Message)
	}
	if err != nil {
		return nil, nil, err
	}
	q.env = env
	route, ok := p.Route(env.Model, q.key)
	if !ok {
		if le := proxy.UnknownModel(p, env.Model); p.Models[env.Model] != nil {
			return nil, nil, fmt.Errorf("%d %s: %s", le.Status, le.Code, le.Message)
		}
		return nil, nil, fmt.Errorf("404 model_not_found: no route answers to %q%s", env.Model, q.scope())
	}
	in := q.input(env)
	in.Route = route
	d, refusal := r.Decide(p, in)
	if refusal != nil {
		return d, route, refusal
	}
	return d, route, nil
}

// askPass decides what becomes of a path that names no model: its body is never read.
func (q *question) askPass(p *policies.Policy, r *router.Router, pass *policies.Provider) (*router.Decision, *policies.Route, error) {
	in := q.input(&llm.Envelope{Op: llm.OpOpaque, N: 1})
	in.Unread = len(q.body) > 0
	d, route, refusal := proxy.DecidePassthrough(r, p, pass, in, nil)
	if refusal != nil {
		return d, route, refusal
	}
	return d, route, nil
}

func (q *question) input(env *llm.Envelope) *router.Input {
	in := &router.Input{Envelope: env, Path: q.path, Method: "POST", Header: q.headerOf, Key: q.key, Now: q.now, Explain: q.trace}
	q.given.fill(in)
	return in
}

func (q *question) headerOf(lower string) string { return q.header[lower] }

func (q *question) scope() string {
	if q.key == nil {
		return ""
	}
	return " for the key " + q.key.Tenant.Name + "/" + q.key.ID
}

// operation is what a path of the API asks for; every path that Sluice has no name for is opaque.
func operation(path string) llm.Op {
	switch path {
	case chatPath:
		return llm.OpChat
	case "/v1/completions":
		return llm.OpCompletions
	case "/v1/embeddings":
		return llm.OpEmbeddings
	}
	return llm.OpOpaque
}
