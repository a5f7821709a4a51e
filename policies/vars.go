package policies

import (
	"errors"
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// variableNames are the variables with fields. poolsVariable is the hidden one behind pool(name); no expression can spell it.
var variableNames = [...]string{"req", "task", "key", "budget", "session"}

const poolsVariable = "@pools"

var (
	errNoTask    = errors.New("not classified")
	errNoField   = errors.New("no such field")
	errIndexOnly = errors.New("can only be asked for a name")
)

// variable is one field of a variable: its type and how it is read of the facts (of the PoolFacts for pool).
type variable struct {
	typ  *cel.Type
	read func(v any) (any, error)
}

// fact and its siblings adapt a plain reader; the guarded ones know the error that says that the evidence is missing.
func fact(t *cel.Type, get func(f *Facts) any) variable {
	return variable{t, func(v any) (any, error) { return get(v.(*Facts)), nil }}
}

func guarded(t *cel.Type, missing func(f *Facts) error, get func(f *Facts) any) variable {
	return variable{t, func(v any) (any, error) {
		f := v.(*Facts)
		if err := missing(f); err != nil {
			return nil, err
		}
		return get(f), nil
	}}
}

func taskFact(t *cel.Type, get func(f *Facts) any) variable {
	return guarded(t, func(f *Facts) error { return f.TaskErr }, get)
}

func bodyFact(t *cel.Type, get func(f *Facts) any) variable {
	return guarded(t, func(f *Facts) error { return f.BodyErr }, get)
}

// noModel is the missing evidence of a model that only an unread body could name; a form's is read.
func noModel(f *Facts) error {
	if f.Req.Model != "" {
		return nil
	}
	return f.BodyErr
}

func budgetFact(t *cel.Type, get func(f *Facts) any) variable {
	return guarded(t, func(f *Facts) error { return f.BudgetErr }, get)
}

func sessionFact(t *cel.Type, get func(f *Facts) any) variable {
	return guarded(t, func(f *Facts) error { return f.SessionErr }, get)
}

func poolFact(t *cel.Type, get func(p *PoolFacts) any) variable {
	return variable{t, func(v any) (any, error) { return get(v.(*PoolFacts)), nil }}
}

// fields is every name that an expression can read: the variable's type, then the field.
var fields = map[string]map[string]variable{
	"req": {
		"model":      guarded(cel.StringType, noModel, func(f *Facts) any { return types.String(f.Req.Model) }),
		"path":       fact(cel.StringType, func(f *Facts) any { return types.String(f.Req.Path) }),
		"method":     fact(cel.StringType, func(f *Facts) any { return types.String(f.Req.Method) }),
		"op":         fact(cel.StringType, func(f *Facts) any { return types.String(f.Req.Op) }),
		"language":   bodyFact(cel.StringType, func(f *Facts) any { return types.String(f.Req.Language.String()) }),
		"bytes":      bodyFact(cel.IntType, func(f *Facts) any { return types.Int(f.Req.Bytes) }),
		"tokens":     bodyFact(cel.IntType, func(f *Facts) any { return types.Int(f.Req.Tokens) }),
		"max_tokens": bodyFact(cel.IntType, func(f *Facts) any { return types.Int(f.Req.MaxTokens) }),
		"turns":      bodyFact(cel.IntType, func(f *Facts) any { return types.Int(f.Req.Turns) }),
		"messages":   bodyFact(cel.IntType, func(f *Facts) any { return types.Int(f.Req.Messages) }),
		"tools":      bodyFact(cel.IntType, func(f *Facts) any { return types.Int(f.Req.Tools) }),
		"images":     bodyFact(cel.IntType, func(f *Facts) any { return types.Int(f.Req.Images) }),
		"audio":      bodyFact(cel.IntType, func(f *Facts) any { return types.Int(f.Req.Audio) }),
		"files":      bodyFact(cel.IntType, func(f *Facts) any { return types.Int(f.Req.Files) }),
		"n":          bodyFact(cel.IntType, func(f *Facts) any { return types.Int(f.Req.N) }),
		"stream":     bodyFact(cel.BoolType, func(f *Facts) any { return types.Bool(f.Req.Stream) }),
		"json":       bodyFact(cel.BoolType, func(f *Facts) any { return types.Bool(f.Req.JSON) }),
		"logprobs":   bodyFact(cel.BoolType, func(f *Facts) any { return types.Bool(f.Req.Logprobs) }),
		"headers":    fact(cel.MapType(cel.StringType, cel.StringType), func(f *Facts) any { return &lookup{f, &headerIndex} }),
	},
	"task": {
		"class":   taskFact(cel.StringType, func(f *Facts) any { return types.String(f.Task.Class) }),
		"gain":    taskFact(cel.DoubleType, func(f *Facts) any { return types.Double(f.Task.Gain) }),
		"novelty": taskFact(cel.DoubleType, func(f *Facts) any { return types.Double(f.Task.Novelty) }),
		"class_p": taskFact(cel.MapType(cel.StringType, cel.DoubleType), func(f *Facts) any { return &lookup{f, &classIndex} }),
	},
	"key": {
		"id":     fact(cel.StringType, func(f *Facts) any { return types.String(f.Key.ID) }),
		"tenant": fact(cel.StringType, func(f *Facts) any { return types.String(f.Key.Tenant) }),
		"labels": fact(cel.MapType(cel.StringType, cel.StringType), func(f *Facts) any { return &lookup{f, &labelIndex} }),
	},
	"budget": {
		"used":      budgetFact(cel.DoubleType, func(f *Facts) any { return types.Double(f.Budget.Used) }),
		"exhausted": budgetFact(cel.BoolType, func(f *Facts) any { return types.Bool(f.Budget.Exhausted) }),
	},
	"session": {
		"id":        sessionFact(cel.StringType, func(f *Facts) any { return types.String(f.Session.ID) }),
		"known":     sessionFact(cel.BoolType, func(f *Facts) any { return types.Bool(f.Session.Known) }),
		"turns":     sessionFact(cel.IntType, func(f *Facts) any { return types.Int(f.Session.Turns) }),
		"model":     sessionFact(cel.StringType, func(f *Facts) any { return types.String(f.Session.Model) }),
		"tier":      sessionFact(cel.StringType, func(f *Facts) any { return types.String(f.Session.Tier) }),
		"tool_turn": sessionFact(cel.BoolType, func(f *Facts) any { return types.Bool(f.Session.ToolTurn) }),
	},
	"pool": {
		"inflight":  poolFact(cel.IntType, func(p *PoolFacts) any { return types.Int(p.Inflight) }),
		"tokens":    poolFact(cel.IntType, func(p *PoolFacts) any { return types.Int(p.Tokens) }),
		"waiting":   poolFact(cel.IntType, func(p *PoolFacts) any { return types.Int(p.Waiting) }),
		"endpoints": poolFact(cel.IntType, func(p *PoolFacts) any { return types.Int(p.Endpoints) }),
		"healthy":   poolFact(cel.IntType, func(p *PoolFacts) any { return types.Int(p.Healthy) }),
		"saturated": poolFact(cel.BoolType, func(p *PoolFacts) any { return types.Bool(p.Saturated) }),
	},
}

// objectTypes are the CEL types of the variables.
var objectTypes = map[string]*cel.Type{
	"req": cel.ObjectType("sluice.req"), "task": cel.ObjectType("sluice.task"), "key": cel.ObjectType("sluice.key"),
	"budget": cel.ObjectType("sluice.budget"), "session": cel.ObjectType("sluice.session"), "pool": cel.ObjectType("sluice.pool"),
}

func allFields() []string {
	var out []string
	for _, v := range fields {
		for name := range v {
			out = append(out, name)
		}
	}
	sort.Strings(out)
	return out
}

// typeProvider teaches CEL's checker the fields.
type typeProvider struct{ *types.Registry }

const typePrefix = "sluice."

func structOf(typeName string) (map[string]variable, bool) {
	if len(typeName) <= len(typePrefix) || typeName[:len(typePrefix)] != typePrefix {
		return nil, false
	}
	v, ok := fields[typeName[len(typePrefix):]]
	return v, ok
}

// FindStructType finds a variable's type.
func (p typeProvider) FindStructType(name string) (*types.Type, bool) {
	if _, ok := structOf(name); ok {
		return types.NewTypeTypeWithParam(objectTypes[name[len(typePrefix):]]), true
	}
	return p.Registry.FindStructType(name)
}

// FindStructFieldType finds a field of a variable.
func (p typeProvider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	vars, ok := structOf(name)
	if !ok {
		return p.Registry.FindStructFieldType(name, field)
	}
	v, ok := vars[field]
	if !ok {
		return nil, false
	}
	return &types.FieldType{
		Type:    v.typ,
		IsSet:   func(any) bool { return true },
		GetFrom: func(target any) (any, error) { return v.read(target) },
	}, true
}

// object is a variable as CEL sees it: its fields are read through fields, straight from the facts.
type object struct {
	typ   *cel.Type
	value any // *Facts or *PoolFacts
}

// ConvertToNative fails: a variable as a whole is not a value.
func (o *object) ConvertToNative(reflect.Type) (any, error) { return nil, errNoField }

// ConvertToType fails for the same reason.
func (o *object) ConvertToType(ref.Type) ref.Val { return types.WrapErr(errNoField) }

// Equal fails for the same reason.
func (o *object) Equal(ref.Val) ref.Val { return types.WrapErr(errNoField) }

// Type returns the variable's type.
func (o *object) Type() ref.Type { return o.typ }

// Value returns what the fields are read of.
func (o *object) Value() any { return o.value }

// index is one of the maps of the facts: how a name is looked up in it, and whether it is there.
type index struct {
	get func(f *Facts, name string) ref.Val
	has func(f *Facts, name string) bool
}

// The maps: a name that is not there reads as "" (headers, labels), 0 (class_p) or an empty pool.
var (
	headerIndex = index{
		get: func(f *Facts, name string) ref.Val { return types.String(header(f, name)) },
		has: func(f *Facts, name string) bool { return header(f, name) != "" },
	}
	labelIndex = index{
		get: func(f *Facts, name string) ref.Val { return types.String(f.Key.Labels[name]) },
		has: func(f *Facts, name string) bool { _, ok := f.Key.Labels[name]; return ok },
	}
	classIndex = index{
		get: func(f *Facts, name string) ref.Val {
			if f.Task.ClassP == nil {
				return types.WrapErr(errNoTask)
			}
			return types.Double(f.Task.ClassP(name))
		},
		has: func(f *Facts, name string) bool { return f.Task.ClassP != nil && f.Task.ClassP(name) > 0 },
	}
	poolIndex = index{
		get: func(f *Facts, name string) ref.Val { return &object{typ: objectTypes["pool"], value: poolOf(f, name)} },
		has: func(f *Facts, name string) bool { return poolOf(f, name).Endpoints > 0 },
	}
)

func header(f *Facts, name string) string {
	if f.Req.Header == nil {
		return ""
	}
	return f.Req.Header(name)
}

// lookup is a map of the facts as CEL sees it: it can be asked for a name, never enumerated, and never fails for a name that is not there.
type lookup struct {
	facts *Facts
	of    *index
}

// lookupType has no trait but those that a lookup honours, so that anything else is missing evidence.
var lookupType = types.NewObjectType("sluice.lookup", traits.ContainerType, traits.IndexerType, traits.FieldTesterType)

// ConvertToNative fails: a lookup is not a value.
func (l *lookup) ConvertToNative(reflect.Type) (any, error) { return nil, errIndexOnly }

// ConvertToType fails for the same reason.
func (l *lookup) ConvertToType(ref.Type) ref.Val { return types.WrapErr(errIndexOnly) }

// Equal fails for the same reason.
func (l *lookup) Equal(ref.Val) ref.Val { return types.WrapErr(errIndexOnly) }

// Type returns the type of lookups.
func (l *lookup) Type() ref.Type { return lookupType }

// Value returns the lookup itself.
func (l *lookup) Value() any { return l }

// Get returns what the name stands for.
func (l *lookup) Get(i ref.Val) ref.Val {
	name, ok := i.(types.String)
	if !ok {
		return types.WrapErr(errIndexOnly)
	}
	return l.of.get(l.facts, string(name))
}

// IsSet reports whether the name is there.
func (l *lookup) IsSet(i ref.Val) ref.Val {
	name, ok := i.(types.String)
	if !ok {
		return types.WrapErr(errIndexOnly)
	}
	return types.Bool(l.of.has(l.facts, string(name)))
}

// Contains is IsSet, for `in`.
func (l *lookup) Contains(i ref.Val) ref.Val { return l.IsSet(i) }

func poolOf(f *Facts, name string) *PoolFacts {
	var pf PoolFacts
	if f.Pool != nil {
		pf = f.Pool(name)
	}
	return &pf
}

// display writes a value of the facts for people.
func display(v any) string {
	switch v := v.(type) {
	case types.String:
		return strconv.Quote(string(v))
	case types.Double:
		return strconv.FormatFloat(float64(v), 'g', 4, 64)
	case types.Timestamp:
		return v.Time.UTC().Format(time.RFC3339)
	case ref.Val:
		return fmt.Sprint(v.Value())
	}
	return fmt.Sprint(v)
}
