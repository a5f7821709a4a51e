package policies

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// shapeKind tells what a value of the language must look like.
type shapeKind uint8

const (
	textShape shapeKind = iota
	nameShape           // a name of something: printable, short
	integerShape
	numberShape
	booleanShape
	durationShape
	tokensShape
	sizeShape
	expiryShape
	rateShape // 600/m
	choiceShape
	exprShape
	objectShape // known keys
	dictShape   // free keys
	listShape
	eitherShape // by the kind of the node
	secretShape // {env: …} or {file: …}
)

// shape is one value of the policy language. The same table checks files and writes the JSON Schema.
type shape struct {
	kind     shapeKind
	choices  []string
	fields   []field
	elem     *shape
	alts     []*shape // eitherShape: at most one a node kind
	min, max *float64
	nonempty bool
	say      string // what to say when the node is of another kind
}

// field is a known key.
type field struct {
	name     string
	doc      string
	shape    *shape
	required bool
}

func of(k shapeKind) *shape                  { return &shape{kind: k} }
func choice(names ...string) *shape          { return &shape{kind: choiceShape, choices: names} }
func record(fields ...field) *shape          { return &shape{kind: objectShape, fields: fields} }
func dict(elem *shape) *shape                { return &shape{kind: dictShape, elem: elem} }
func listOf(elem *shape) *shape              { return &shape{kind: listShape, elem: elem} }
func either(alts ...*shape) *shape           { return &shape{kind: eitherShape, alts: alts} }
func opt(n string, s *shape, d string) field { return field{name: n, shape: s, doc: d} }
func req(n string, s *shape, d string) field {
	return field{name: n, shape: s, doc: d, required: true}
}

func (s *shape) from(lo float64) *shape    { c := *s; c.min = &lo; return &c }
func (s *shape) upTo(hi float64) *shape    { c := *s; c.max = &hi; return &c }
func (s *shape) some() *shape              { c := *s; c.nonempty = true; return &c }
func (s *shape) saying(text string) *shape { c := *s; c.say = text; return &c }

// node returns the kind of node that the shape wants.
func (s *shape) node() nodeKind {
	switch s.kind {
	case objectShape, dictShape, secretShape:
		return mapNode
	case listShape:
		return listNode
	}
	return scalarNode
}

// checker holds a tree against the language.
type checker struct {
	file     *File
	problems Problems
}

func (c *checker) problem(n *node, at Position, format string, args ...any) {
	n.bad = true
	c.report(n, at, format, args...)
}

func (c *checker) report(n *node, at Position, format string, args ...any) {
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, c.file.problem(at, n.path, format, args...))
	}
}

func (c *checker) check(s *shape, n *node) {
	if n.bad {
		return
	}
	if s.kind == eitherShape {
		for _, a := range s.alts {
			if a.node() == n.kind {
				c.check(a, n)
				return
			}
		}
		c.wrongKind(s, n)
		return
	}
	if n.kind == nullNode && s.kind == dictShape && !strings.ContainsAny(n.path, ".[") {
		return // a section whose lines are all commented out
	}
	if n.kind != s.node() {
		c.wrongKind(s, n)
		return
	}
	switch s.kind {
	case objectShape:
		c.object(s, n)
	case secretShape:
		c.secret(n)
	case dictShape:
		for _, e := range n.entries {
			if msg := badName(e.name); msg != "" {
				c.problem(e.value, e.value.key, "the name %s", msg)
				continue
			}
			c.check(s.elem, e.value)
		}
	case listShape:
		if s.nonempty && len(n.items) == 0 {
			c.problem(n, n.pos, "must not be empty")
		}
		for _, i := range n.items {
			c.check(s.elem, i)
		}
	default:
		if msg := s.scalar(n.text); msg != "" {
			c.problem(n, n.pos, "%s", msg)
		}
	}
}

// confidential matches unknown keys under which somebody may have written a credential.
var confidential = regexp.MustCompile(`(?i)key|secret|token|pass|auth|pepper|credential|header`)

func (c *checker) wrongKind(s *shape, n *node) {
	if s.kind == listShape && s.elem.kind == secretShape {
		c.file.mask(n)
	}
	if s.kind == secretShape || slices.ContainsFunc(s.alts, func(a *shape) bool { return a.kind == secretShape }) && n.kind == scalarNode {
		c.literalSecret(n)
		return
	}
	switch {
	case s.say != "":
		c.problem(n, n.pos, "%s", s.say)
	case n.kind == nullNode:
		c.problem(n, n.key, "is empty: give it a value or remove it")
	case s.kind == eitherShape:
		var kinds []string
		for _, a := range s.alts {
			kinds = append(kinds, a.node().String())
		}
		c.problem(n, n.pos, "must be %s, this is %s", strings.Join(kinds, " or "), n.kind)
	default:
		c.problem(n, n.pos, "must be %s, this is %s", s.node(), n.kind)
	}
}

// literalSecret reports a credential that stands in the file itself.
func (c *checker) literalSecret(n *node) {
	if n.kind != scalarNode {
		c.problem(n, n.key, "a secret is written as {env: NAME} or {file: path}")
		return
	}
	c.file.mask(n)
	c.problem(n, n.pos, "a secret must not stand in the file: write {env: NAME} or {file: path}")
}

func (c *checker) secret(n *node) {
	c.object(record(opt("env", of(textShape), ""), opt("file", of(textShape), "")), n)
	for _, e := range n.entries {
		if e.name != "env" && e.name != "file" {
			c.file.mask(e.value)
		}
	}
	if !n.bad && n.has("env") == n.has("file") {
		c.problem(n, n.pos, "a secret is written as {env: NAME} or {file: path}")
	}
}

func (c *checker) object(s *shape, n *node) {
	misspelled := map[string]bool{} // fields that are there by a wrong name: one problem, not two
	for _, e := range n.entries {
		i := slices.IndexFunc(s.fields, func(f field) bool { return f.name == e.name })
		if i < 0 {
			var known []string
			for _, f := range s.fields {
				known = append(known, f.name)
			}
			misspelled[nearest(e.name, known)] = true
			if confidential.MatchString(e.name) {
				c.file.mask(e.value)
			}
			c.problem(e.value, e.value.key, "unknown key%s", meant(e.name, known))
			continue
		}
		c.check(s.fields[i].shape, e.value)
	}
	for _, f := range s.fields {
		if f.required && !n.has(f.name) && !misspelled[f.name] {
			at := n.key
			if at == (Position{}) {
				at = n.pos
			}
			c.report(n, at, "%q is missing", f.name)
		}
	}
}

// scalar returns what is wrong with a value's text, or "".
func (s *shape) scalar(text string) string {
	var (
		x   float64
		err error
	)
	switch s.kind {
	case textShape:
		if text == "" {
			return "must not be empty"
		}
		return ""
	case nameShape:
		return badName(text)
	case exprShape:
		return "" // compiled with its own positions
	case choiceShape:
		if !slices.Contains(s.choices, text) {
			if s.say != "" {
				return fmt.Sprintf("%s, not %q", s.say, text)
			}
			return fmt.Sprintf("must be %s, not %q%s", oneOf(s.choices), text, meant(text, s.choices))
		}
		return ""
	case integerShape:
		n, e := parseInteger(text)
		x, err = float64(n), e
	case numberShape:
		x, err = parseNumber(text)
	case booleanShape:
		_, err = parseBoolean(text)
	case durationShape:
		d, e := parseDuration(text)
		x, err = d.Seconds(), e
	case tokensShape:
		n, e := parseTokens(text)
		x, err = float64(n), e
	case sizeShape:
		n, e := parseSize(text)
		x, err = float64(n), e
	case expiryShape:
		_, err = parseExpiry(text)
	case rateShape:
		count, per, ok := strings.Cut(text, "/")
		if _, e := parseTokens(count); !ok || e != nil || len(per) != 1 || !strings.Contains("smhd", per) {
			return "must be a rate such as 10/s, 600/m, 5k/h or 1M/d"
		}
	}
	switch {
	case err != nil:
		return fmt.Sprintf("%s, not %q", err, text)
	case s.min != nil && x < *s.min:
		return fmt.Sprintf("must be at least %v, not %s", *s.min, text)
	case s.max != nil && x > *s.max:
		return fmt.Sprintf("must be at most %v, not %s", *s.max, text)
	}
	return ""
}

func oneOf(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// badName says what is wrong with a name, or "": names go into records, metrics and response headers.
func badName(name string) string {
	switch {
	case strings.TrimSpace(name) == "":
		return "must not be empty"
	case len(name) > 128:
		return "must have at most 128 bytes"
	case name != strings.TrimSpace(name):
		return "must not begin or end with a blank"
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == '"' }):
		return "must not hold control characters or double quotes"
	}
	return ""
}
