package policies

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/parser"
)

const (
	maxExpr     = 4 << 10 // bytes of an expression, looked at before it is compiled
	maxExprCost = 100_000 // CEL's cost units of one evaluation
	maxNodes    = 1_000   // nodes of an expression's tree
	maxNesting  = 1       // comprehensions inside comprehensions
)

var errNotBool = errors.New("the expression gave no truth value")

// Expr is a compiled expression of a `when`. It is safe for concurrent use.
type Expr struct {
	text  string
	prog  cel.Program
	reads []read
	names map[string]bool // every identifier in it
}

// read is one value that the expression looks at.
type read struct {
	label string
	value func(*Facts) (any, error)
}

// String returns the expression as written.
func (e *Expr) String() string { return e.text }

// Reads reports whether the expression looks at a variable: req, task, key, budget or session. A nil expression looks at none.
func (e *Expr) Reads(variable string) bool { return e != nil && e.names[variable] }

// frame is what one evaluation needs: the variables as CEL sees them. It is reused.
type frame struct {
	facts *Facts
	vars  [len(variableNames)]object
	pools lookup
}

var frames = sync.Pool{New: func() any {
	f := &frame{}
	for i := range f.vars {
		f.vars[i] = object{typ: objectTypes[variableNames[i]]}
	}
	f.pools.of = &poolIndex
	return f
}}

// ResolveName gives CEL a variable.
func (f *frame) ResolveName(name string) (any, bool) {
	for i, n := range variableNames {
		if n == name {
			return &f.vars[i], true
		}
	}
	switch name {
	case poolsVariable:
		return &f.pools, true
	case "now":
		return types.Timestamp{Time: f.facts.Now}, true
	}
	return nil, false
}

// Parent returns nil: there is no outer scope.
func (f *frame) Parent() cel.Activation { return nil }

// Eval reports whether the expression holds. An error means missing evidence: a fact that could not be had, a cost over the limit, or a
// panic in the evaluation.
func (e *Expr) Eval(f *Facts) (holds bool, err error) {
	fr := frames.Get().(*frame)
	fr.facts, fr.pools.facts = f, f
	for i := range fr.vars {
		fr.vars[i].value = f
	}
	defer func() {
		if r := recover(); r != nil {
			// The frame is dropped: an evaluation that panicked may still hold it.
			holds, err = false, fmt.Errorf("evaluation of %q panicked: %v", e.text, r)
			return
		}
		fr.facts, fr.pools.facts = nil, nil
		for i := range fr.vars {
			fr.vars[i].value = nil
		}
		frames.Put(fr)
	}()
	out, _, err := e.prog.Eval(fr)
	if err != nil {
		return false, err
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, errNotBool
	}
	return bool(b), nil
}

// Values returns what the expression reads, as text, for an explanation. A value that could not be had reads as its error.
func (e *Expr) Values(f *Facts) map[string]string {
	if len(e.reads) == 0 {
		return nil
	}
	out := make(map[string]string, len(e.reads))
	for _, r := range e.reads {
		v, err := r.safely(f)
		if err != nil {
			out[r.label] = "unknown: " + err.Error()
			continue
		}
		out[r.label] = display(v)
	}
	return out
}

// safely reads the value; a panic of the facts' own functions is an error.
func (r read) safely(f *Facts) (v any, err error) {
	defer func() {
		if p := recover(); p != nil {
			v, err = nil, fmt.Errorf("reading %s panicked: %v", r.label, p)
		}
	}()
	return r.value(f)
}

// exprs compiles the expressions of one policy.
type exprs struct {
	env     *cel.Env
	pools   []string
	classes []string
}

// exprProblem is one thing wrong with an expression: a line and column inside it, both from 1; 0 = the expression as a whole.
type exprProblem struct {
	line, column int
	message      string
}

func newExprs(pools, classes []string) (*exprs, error) {
	opts := []cel.EnvOption{
		cel.CustomTypeProvider(typeProvider{types.NewEmptyRegistry()}),
		cel.Macros(cel.GlobalMacro("pool", 1, expandPool)),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(maxExpr),
		cel.ParserRecursionLimit(64),
		cel.ExpressionNodeLimit(maxNodes),
		cel.Variable(poolsVariable, cel.MapType(cel.StringType, objectTypes["pool"])),
		cel.Variable("now", cel.TimestampType),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals(),
			cel.ValidateHomogeneousAggregateLiterals(), cel.ValidateComprehensionNestingLimit(maxNesting)),
	}
	for _, name := range variableNames {
		opts = append(opts, cel.Variable(name, objectTypes[name]))
	}
	env, err := cel.NewEnv(opts...)
	if err != nil {
		return nil, fmt.Errorf("expression environment: %w", err)
	}
	return &exprs{env: env, pools: pools, classes: classes}, nil
}

// expandPool turns pool("x") into an index of the hidden variable of pools, which an evaluation can reach and a plain function could not.
func expandPool(eh parser.ExprHelper, _ ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
	return eh.NewCall("_[_]", eh.NewIdent(poolsVariable), args[0]), nil
}

// compile checks and plans one expression.
func (x *exprs) compile(text string) (*Expr, []exprProblem) {
	switch {
	case strings.TrimSpace(text) == "":
		return nil, []exprProblem{{message: "the expression is empty"}}
	case len(text) > maxExpr:
		return nil, []exprProblem{{message: fmt.Sprintf("the expression has %d bytes, at most %d are allowed", len(text), maxExpr)}}
	}
	checked, iss := x.env.Compile(text)
	if iss.Err() != nil {
		return nil, issues(iss)
	}
	if t := checked.OutputType(); !t.IsExactType(cel.BoolType) {
		return nil, []exprProblem{{message: fmt.Sprintf("the expression must be true or false, it is %s", typeName(t))}}
	}
	in := inspector{exprs: x, tree: checked.NativeRep()}
	in.walk()
	if len(in.problems) > 0 {
		return nil, in.problems
	}
	opts := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if in.costly {
		opts = append(opts, cel.CostLimit(maxExprCost))
	}
	prog, err := x.env.Program(checked, opts...)
	if err != nil {
		return nil, []exprProblem{{message: err.Error()}}
	}
	return &Expr{text: text, prog: prog, reads: in.reads, names: identifiers(checked.NativeRep().Expr())}, nil
}

func identifiers(root ast.Expr) map[string]bool {
	names := map[string]bool{}
	ast.PreOrderVisit(root, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.IdentKind {
			names[e.AsIdent()] = true
		}
	}))
	return names
}

// issues puts CEL's errors into our words.
func issues(iss *cel.Issues) []exprProblem {
	var out []exprProblem
	for _, e := range iss.Errors() {
		p := exprProblem{line: e.Location.Line(), column: e.Location.Column() + 1, message: e.Message}
		if e.Location.Line() <= 0 {
			p.line, p.column = 0, 0
		}
		switch {
		case strings.HasPrefix(p.message, "undeclared reference to '"):
			name := between(p.message, "'", "'")
			p.message = fmt.Sprintf("%q is unknown", name) + meant(name, append([]string{"now", "pool"}, variableNames[:]...))
		case strings.HasPrefix(p.message, "undefined field '"):
			name := between(p.message, "'", "'")
			p.message = fmt.Sprintf("no field %q here", name) + meant(name, allFields())
		case strings.HasPrefix(p.message, "Syntax error: "):
			p.message = "syntax error: " + strings.TrimPrefix(p.message, "Syntax error: ")
			p.message, _, _ = strings.Cut(p.message, " expecting {")
		case strings.HasPrefix(p.message, "found no matching overload for '"):
			_, types, _ := strings.Cut(p.message, "applied to ")
			p.message = fmt.Sprintf("%q does not apply to %s", strings.Trim(between(p.message, "'", "'"), "_"), strings.Trim(types, "'"))
		case p.message == "invalid matches argument":
			p.message = "the regular expression is not valid"
		case p.message == "comprehension exceeds nesting limit":
			p.message = "exists, all, map and filter may not be nested deeper"
		}
		p.message = strings.ReplaceAll(p.message, "sluice.", "")
		out = append(out, p)
		if strings.HasPrefix(p.message, "syntax error") {
			break // what the parser says after the first one is noise
		}
	}
	return out
}

func between(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, _ = strings.Cut(s, to)
	return s
}

func typeName(t *cel.Type) string { return strings.ReplaceAll(t.String(), "sluice.", "") }
