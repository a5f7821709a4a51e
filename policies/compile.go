package policies

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Options are what a policy needs from outside of its file.
type Options struct {
	Presets  map[string]Preset                 // the table of known providers; package providers owns it
	Classes  []string                          // names of the classifier's classes; empty = names of classes are not checked
	Env      func(string) (string, bool)       // nil = the process's environment
	ReadFile func(name string) ([]byte, error) // nil = os.ReadFile
	Prices   func(preset, model string) *Price // what a model of a preset costs, nil = unknown; package ledger owns the catalogue
	// Classifier names the classifier that decides, as calibrations do; "" = calibrations of any are taken.
	Classifier string
	Offline    bool // do not resolve secrets or read certificates: for checks where they are not at hand
}

// Load reads, parses and compiles a policy file. The error is Problems, or what reading the file gave.
func Load(path string, o Options) (*Policy, error) {
	read := o.ReadFile
	if read == nil {
		read = os.ReadFile
	}
	src, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	p, ps := LoadBytes(path, src, o)
	if len(ps) > 0 {
		return nil, ps
	}
	return p, nil
}

// LoadBytes parses and compiles a policy and returns every problem of both steps. Relative files in it are relative to the folder of name.
func LoadBytes(name string, src []byte, o Options) (*Policy, Problems) {
	f, ps := Parse(name, src)
	if f == nil {
		return nil, ps
	}
	p, more := Compile(f, o)
	if len(ps)+len(more) > 0 {
		ps = append(ps, more...).sorted()
		f.resource(ps)
		return nil, ps
	}
	return p, nil
}

// envForm is a name of an environment variable; what is none may be a credential in the wrong place.
var envForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// compiler turns a tree into a policy and collects what is wrong with it. Nodes that Parse reported are absent to it.
type compiler struct {
	o        Options
	f        *File
	p        *Policy
	exprs    *exprs
	dir      string
	problems Problems
}

// Compile resolves every name, expression, address and secret of a file. The policy is nil when there are problems. Problems that Parse
// found are not repeated.
func Compile(f *File, o Options) (*Policy, Problems) {
	if o.Env == nil {
		o.Env = os.LookupEnv
	}
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	c := &compiler{o: o, f: f, dir: filepath.Dir(f.Name), p: &Policy{
		File: f.Name, Version: f.version(),
		Providers: map[string]*Provider{}, Models: map[string]*Model{}, Tenants: map[string]*Tenant{},
		byName: map[string]*Route{}, direct: map[string]*Route{},
	}}
	root := f.root
	c.providers(root.at("providers"))
	var pools []string
	for _, name := range sortedKeys(c.p.Providers) {
		if c.p.Providers[name].Own {
			pools = append(pools, name)
		}
	}
	x, err := newExprs(pools, o.Classes)
	if err != nil {
		return nil, Problems{f.problem(Position{1, 1}, "", "%s", err)}
	}
	c.exprs = x
	c.models(root.at("models"))
	c.tiers(root.at("tiers"))
	c.boundaries(root.at("boundaries"))
	c.routes(root.at("routes"))
	c.passthrough(root.at("passthrough"))
	c.tenants(root.at("tenants"))
	c.auth(root.at("auth"))
	c.state(root.at("state"))
	c.server(root.at("server"))
	c.telemetry(root.at("telemetry"))
	c.p.Feedback = root.at("feedback").boolean(false)
	c.tests(root.at("tests"))
	c.later(root)
	c.p.Notices = Problems(c.p.Notices).sorted()
	f.resource(c.p.Notices)
	f.resource(c.problems)
	if len(c.problems) > 0 {
		return nil, c.problems.sorted()
	}
	return c.p, nil
}

func (c *compiler) problem(n *node, format string, args ...any) { c.report(n, n.pos, format, args...) }

// problemKey reports a problem at the key that names the node.
func (c *compiler) problemKey(n *node, format string, args ...any) {
	c.report(n, n.key, format, args...)
}

func (c *compiler) report(n *node, at Position, format string, args ...any) {
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, c.f.problem(at, n.path, format, args...))
	}
}

func (c *compiler) notice(n *node, format string, args ...any) {
	c.p.Notices = append(c.p.Notices, c.f.problem(n.key, n.path, format, args...))
}

// expr compiles a `when`; nil when it is absent or wrong. A problem's position is inside the expression where the file's text allows it.
func (c *compiler) expr(n *node) *Expr {
	if n == nil {
		return nil
	}
	e, ps := c.exprs.compile(n.text)
	for _, p := range ps {
		c.report(n, c.f.inside(n, p.line, p.column), "%s", p.message)
	}
	return e
}

// inside returns the place in the file of a line and column of a scalar's text. What is written with escapes or folded begins where the
// scalar does.
func (f *File) inside(n *node, line, column int) Position {
	if line < 1 {
		return n.pos
	}
	texts := strings.Split(n.text, "\n")
	if line > len(texts) || texts[line-1] == "" {
		return n.pos
	}
	at := n.pos.Line - 1
	for i, text := range texts[:line] {
		for ; at < len(f.lines); at++ {
			from := 0
			src := f.lines[at]
			if at == n.pos.Line-1 {
				from = len(string([]rune(src)[:min(n.pos.Column-1, len([]rune(src)))]))
			}
			k := strings.Index(src[from:], text)
			if k < 0 {
				if len(texts) == 1 {
					return n.pos
				}
				continue
			}
			if i == line-1 {
				return Position{at + 1, len([]rune(src[:from+k])) + column}
			}
			at++
			break
		}
	}
	return n.pos
}

// secret resolves {env: …} or {file: …}.
func (c *compiler) secret(n *node) Secret {
	s := &source{env: n.at("env").str(""), read: c.o.ReadFile}
	if s.env == "" {
		s.file = c.file(n.at("file").str(""))
	}
	if c.o.Offline && s.env == "" {
		return Secret{src: s}
	}
	if s.env != "" {
		if !envForm.MatchString(s.env) {
			c.f.mask(n.at("env"))
			c.problem(n.at("env"), "this is not the name of an environment variable")
			return Secret{src: s}
		}
		if c.o.Offline {
			return Secret{src: s}
		}
		v, ok := c.o.Env(s.env)
		switch v = strings.TrimSpace(v); {
		case !ok:
			c.problem(n, "environment variable %s is not set", s.env)
		case v == "":
			c.problem(n, "environment variable %s is empty", s.env)
		}
		s.value.Store(&v)
		return Secret{src: s}
	}
	v, err := s.load()
	if err != nil {
		c.problem(n, "secret file %s: %s", s.file, plainError(err))
	}
	s.value.Store(&v)
	return Secret{src: s}
}

// file resolves a file's name against the policy's folder.
func (c *compiler) file(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.dir, name)
}

// plainError drops the operation and the name that an error of the file system repeats.
func plainError(err error) string {
	if pe, ok := err.(*os.PathError); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// reference looks a name up and reports one that there is not, with what was probably meant.
func reference[V any](c *compiler, n *node, what string, table map[string]V) (V, bool) {
	v, ok := table[n.text]
	if !ok && !c.reported(what, n.text) {
		c.problem(n, "no %s is named %q%s", what, n.text, meant(n.text, sortedKeys(table)))
	}
	return v, ok
}

// reported reports whether a thing of that name is in the file but was wrong, so that what refers to it is no problem of its own.
func (c *compiler) reported(what, name string) bool {
	section := what + "s"
	if !c.f.root.has(section) {
		// A required section is missed already; tiers may hide behind a key that is not known.
		return section != "tiers" || slices.ContainsFunc(c.f.root.entries, func(e entry) bool { return e.value.bad })
	}
	for _, e := range c.f.root.entries {
		if e.name != section {
			continue
		}
		if e.value.bad || e.value.has(name) {
			return true
		}
		for _, i := range e.value.items {
			if i.bad || i.at("name").str(name) == name {
				return true
			}
		}
	}
	return false
}
