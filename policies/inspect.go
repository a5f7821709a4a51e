package policies

import (
	"fmt"
	"slices"
	"strconv"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// inspector walks a checked expression: it collects what the expression reads and refuses what could only fail when it is evaluated.
type inspector struct {
	*exprs
	tree     *ast.AST
	reads    []read
	problems []exprProblem
	costly   bool // holds a comprehension or a regular expression
	bound    []string
}

func (in *inspector) walk() { in.visit(in.tree.Expr()) }

func (in *inspector) problem(e ast.Expr, format string, args ...any) {
	p := exprProblem{message: fmt.Sprintf(format, args...)}
	if loc := in.tree.SourceInfo().GetStartLocation(e.ID()); loc.Line() > 0 {
		p.line, p.column = loc.Line(), loc.Column()+1
	}
	in.problems = append(in.problems, p)
}

// visit reads one node. Whatever reads a variable is a select or an index, so those are looked at before their operands.
func (in *inspector) visit(e ast.Expr) {
	switch e.Kind() {
	case ast.IdentKind:
		in.ident(e)
	case ast.SelectKind:
		in.selection(e)
	case ast.CallKind:
		in.call(e)
	case ast.ListKind:
		for _, el := range e.AsList().Elements() {
			in.visit(el)
		}
	case ast.MapKind:
		for _, en := range e.AsMap().Entries() {
			in.visit(en.AsMapEntry().Key())
			in.visit(en.AsMapEntry().Value())
		}
	case ast.ComprehensionKind:
		in.comprehension(e)
	case ast.StructKind:
		in.problem(e, "an expression cannot make a %s", e.AsStruct().TypeName())
	}
}

func (in *inspector) ident(e ast.Expr) {
	name := e.AsIdent()
	switch {
	case slices.Contains(in.bound, name):
	case name == "now":
		in.read("now", func(f *Facts) (any, error) { return types.Timestamp{Time: f.Now}, nil })
	case slices.Contains(variableNames[:], name):
		in.problem(e, "%s is not a value: read one of its fields, such as %s.%s", name, name, sortedKeys(fields[name])[0])
	case name == poolsVariable:
		in.problem(e, "pool needs a name: pool(\"name\")")
	}
}

func (in *inspector) comprehension(e ast.Expr) {
	c := e.AsComprehension()
	in.costly = true
	in.visit(c.IterRange())
	in.visit(c.AccuInit())
	in.bound = append(in.bound, c.IterVar(), c.IterVar2(), c.AccuVar())
	in.visit(c.LoopCondition())
	in.visit(c.LoopStep())
	in.visit(c.Result())
	in.bound = in.bound[:len(in.bound)-3]
}

// selection is a.b: a field of a variable or pool, or a name in one of their maps.
func (in *inspector) selection(e ast.Expr) {
	s := e.AsSelect()
	if v, label, base := in.field(e); v != nil {
		if label == "" {
			in.visit(base)
			return
		}
		if mapped(v.typ) {
			in.problem(e, "%s can only be asked for a name: %s[\"name\"]", label, label)
			return
		}
		in.read(label, func(f *Facts) (any, error) { return v.read(f) })
		return
	}
	if in.entry(s.Operand(), types.String(s.FieldName())) {
		return
	}
	if in.pool(e) {
		return
	}
	in.visit(s.Operand())
}

// field recognises variable.field. The label is "" when the operand is not a plain variable.
func (in *inspector) field(e ast.Expr) (*variable, string, ast.Expr) {
	if e.Kind() != ast.SelectKind {
		return nil, "", nil
	}
	s := e.AsSelect()
	op := s.Operand()
	if op.Kind() != ast.IdentKind || slices.Contains(in.bound, op.AsIdent()) {
		return nil, "", nil
	}
	vars, ok := fields[op.AsIdent()]
	if !ok || op.AsIdent() == "pool" {
		return nil, "", nil
	}
	v, ok := vars[s.FieldName()]
	if !ok {
		return nil, "", nil
	}
	return &v, op.AsIdent() + "." + s.FieldName(), op
}

// entry recognises a name in a map of the facts: req.headers["x"], key.labels.team, task.class_p["code"].
func (in *inspector) entry(operand ast.Expr, name ref.Val) bool {
	v, label, _ := in.field(operand)
	if v == nil || !mapped(v.typ) {
		return false
	}
	key, ok := name.(types.String)
	if !ok {
		in.problem(operand, "a name in %s must be a text", label)
		return true
	}
	switch label {
	case "req.headers":
		if lower := lowerASCII(string(key)); lower != string(key) {
			in.problem(operand, "names of headers are lower case: %s[%q]", label, lower)
		}
	case "task.class_p":
		in.class(operand, string(key))
	}
	in.read(label+"["+strconv.Quote(string(key))+"]", func(f *Facts) (any, error) {
		m, err := v.read(f)
		if err != nil {
			return nil, err
		}
		out := m.(*lookup).Get(key)
		if e, ok := out.(*types.Err); ok {
			return nil, e
		}
		return out, nil
	})
	return true
}

// pool recognises pool("x").field.
func (in *inspector) pool(e ast.Expr) bool {
	s := e.AsSelect()
	name, ok := in.poolName(s.Operand())
	if !ok {
		return false
	}
	v, ok := fields["pool"][s.FieldName()]
	if !ok {
		return false
	}
	if name.Kind() != ast.LiteralKind {
		in.visit(name)
		return true
	}
	n, _ := name.AsLiteral().(types.String)
	if !slices.Contains(in.pools, string(n)) {
		in.problem(name, "no pool is named %q%s", string(n), meant(string(n), in.pools))
	}
	in.read("pool("+strconv.Quote(string(n))+")."+s.FieldName(), func(f *Facts) (any, error) { return v.read(poolOf(f, string(n))) })
	return true
}

func (in *inspector) poolName(e ast.Expr) (ast.Expr, bool) {
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != operators.Index {
		return nil, false
	}
	args := e.AsCall().Args()
	if args[0].Kind() != ast.IdentKind || args[0].AsIdent() != poolsVariable {
		return nil, false
	}
	return args[1], true
}

func (in *inspector) call(e ast.Expr) {
	c := e.AsCall()
	switch c.FunctionName() {
	case operators.Index:
		if _, ok := in.poolName(e); ok {
			in.problem(e, "a pool is not a value: read one of its fields, such as .healthy")
			return
		}
		if in.index(c.Args()[0], c.Args()[1]) {
			return
		}
	case operators.In:
		if in.index(c.Args()[1], c.Args()[0]) {
			return
		}
		if in.readsClass(c.Args()[0]) && c.Args()[1].Kind() == ast.ListKind {
			for _, el := range c.Args()[1].AsList().Elements() {
				in.classLiteral(el)
			}
		}
	case operators.Equals, operators.NotEquals:
		a, b := c.Args()[0], c.Args()[1]
		if in.readsClass(a) {
			in.classLiteral(b)
		} else if in.readsClass(b) {
			in.classLiteral(a)
		}
	case "matches":
		in.costly = true
	}
	if c.IsMemberFunction() {
		in.visit(c.Target())
	}
	for _, a := range c.Args() {
		in.visit(a)
	}
}

// index is a map of the facts asked for a name, constant or not.
func (in *inspector) index(operand, name ast.Expr) bool {
	v, _, _ := in.field(operand)
	if v == nil || !mapped(v.typ) {
		return false
	}
	if name.Kind() == ast.LiteralKind {
		return in.entry(operand, name.AsLiteral())
	}
	in.visit(name)
	return true
}

func (in *inspector) readsClass(e ast.Expr) bool {
	_, label, _ := in.field(e)
	return label == "task.class"
}

func (in *inspector) classLiteral(e ast.Expr) {
	if e.Kind() != ast.LiteralKind {
		return
	}
	if s, ok := e.AsLiteral().(types.String); ok {
		in.class(e, string(s))
	}
}

func (in *inspector) class(e ast.Expr, name string) {
	if len(in.classes) > 0 && !slices.Contains(in.classes, name) {
		in.problem(e, "no class is named %q%s", name, meant(name, in.classes))
	}
}

func (in *inspector) read(label string, value func(*Facts) (any, error)) {
	if !slices.ContainsFunc(in.reads, func(r read) bool { return r.label == label }) {
		in.reads = append(in.reads, read{label, value})
	}
}

// mapped reports whether the type is one of the maps of the facts.
func mapped(t *types.Type) bool { return t.Kind() == types.MapKind }

func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
