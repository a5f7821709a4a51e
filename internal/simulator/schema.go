package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// maxNesting bounds the depth of an instance and of the references behind it; a schema without a finite instance ends here.
const maxNesting = 48

// maxSize bounds the items and letters that a schema may demand of one value.
const maxSize = 10_000

// maxWork bounds the steps and letters that one instance may take.
const maxWork = 100_000

// refused are the keywords that make an instance which satisfies the rest invalid in ways that are not looked after. Better an error
// than an answer that only looks valid.
var refused = []string{"not", "if", "dependentRequired", "dependentSchemas", "dependencies", "propertyNames", "contains", "minProperties",
	"$dynamicRef", "$recursiveRef"}

// instanceJSON makes a smallest JSON text that is valid under a JSON Schema. An absent schema allows an empty object.
func instanceJSON(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "{}", nil
	}
	var root any
	if err := json.Unmarshal(raw, &root); err != nil {
		return "", err
	}
	if o, ok := root.(object); ok && len(o) == 0 {
		return "{}", nil
	}
	v, err := (&instancer{root: root}).make(root, 0)
	if err != nil {
		return "", err
	}
	return string(marshal(v)), nil
}

// instancer makes instances of the parts of one schema document.
type instancer struct {
	root  any
	spent int // of maxWork
}

// spend charges work, so that a small schema cannot ask for endless work.
func (m *instancer) spend(n int) error {
	if m.spent += n; m.spent > maxWork {
		return errors.New("too large an instance, or one without end")
	}
	return nil
}

func (m *instancer) make(schema any, depth int) (any, error) {
	if depth > maxNesting {
		return nil, errors.New("nested too deeply, or without end")
	}
	if err := m.spend(1); err != nil {
		return nil, err
	}
	if allowed, ok := schema.(bool); ok {
		if allowed {
			return nil, nil // null is as good as any
		}
		return nil, errors.New("false allows nothing")
	}
	s, ok := schema.(object)
	if !ok {
		return nil, errors.New("a schema must be an object or a boolean")
	}
	s, err := m.flatten(s, depth)
	if err != nil {
		return nil, err
	}
	for _, word := range refused {
		if _, ok := s[word]; ok {
			return nil, fmt.Errorf("keyword %s is not simulated", word)
		}
	}
	for _, word := range []string{"anyOf", "oneOf"} {
		if options, ok := s[word].([]any); ok {
			return m.firstOf(s, word, options, depth)
		}
	}
	if v, ok := s["const"]; ok {
		return v, nil
	}
	if values, ok := s["enum"].([]any); ok {
		return oneAllowed(values, types(s))
	}
	return m.ofType(s, depth)
}

// oneAllowed is the first value of an enum that has one of the types.
func oneAllowed(values []any, names []string) (any, error) {
	for _, v := range values {
		if len(names) == 0 || slices.ContainsFunc(names, func(n string) bool { return isType(v, n) }) {
			return v, nil
		}
	}
	return nil, errors.New("no value of enum fits")
}

func isType(v any, name string) bool {
	switch v := v.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case string:
		return name == "string"
	case float64:
		return name == "number" || name == "integer" && v == math.Trunc(v)
	case []any:
		return name == "array"
	default:
		return name == "object"
	}
}

// flatten resolves $ref and merges allOf into one schema.
func (m *instancer) flatten(s object, depth int) (object, error) {
	parts, _ := s["allOf"].([]any)
	ref, isRef := s["$ref"].(string)
	if !isRef && parts == nil {
		return s, nil
	}
	own := maps.Clone(s)
	delete(own, "allOf")
	delete(own, "$ref")
	if isRef {
		target, err := m.resolve(ref)
		if err != nil {
			return nil, err
		}
		parts = append([]any{target}, parts...)
	}
	for _, part := range parts {
		p, ok := part.(object)
		if !ok || depth > maxNesting {
			return nil, errors.New("a $ref or allOf leads to no object, or without end to itself")
		}
		if err := m.spend(1); err != nil {
			return nil, err
		}
		p, err := m.flatten(p, depth+1)
		if err != nil {
			return nil, err
		}
		if own, err = merge(own, p); err != nil {
			return nil, err
		}
	}
	return own, nil
}

// merge joins two schemas that must both hold. What cannot be joined simply is an error.
func merge(a, b object) (object, error) {
	out := maps.Clone(a)
	for key, value := range b {
		have, both := out[key]
		switch {
		case !both, key == "description", key == "title", strings.HasPrefix(key, "$"), key == "additionalProperties":
			out[key] = value
		case key == "required":
			left, _ := have.([]any)
			right, _ := value.([]any)
			out[key] = append(slices.Clone(left), right...)
		case key == "properties":
			left, _ := have.(object)
			right, _ := value.(object)
			all := object{}
			maps.Copy(all, left)
			for name, p := range right {
				if own, ok := all[name]; ok {
					p = object{"allOf": []any{own, p}}
				}
				all[name] = p
			}
			out[key] = all
		case string(marshal(have)) != string(marshal(value)):
			return nil, fmt.Errorf("two values of %s must hold at once", key)
		}
	}
	return out, nil
}

// resolve follows a reference inside the document.
func (m *instancer) resolve(ref string) (any, error) {
	path, ok := strings.CutPrefix(ref, "#")
	if !ok || path != "" && path[0] != '/' {
		return nil, fmt.Errorf("$ref %q is not simulated", ref)
	}
	at := m.root
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue
		}
		o, _ := at.(object)
		if at, ok = o[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)]; !ok {
			return nil, fmt.Errorf("$ref %q leads nowhere", ref)
		}
	}
	return at, nil
}

// firstOf makes an instance of the first alternative that has one, together with what stands beside the alternatives. For oneOf this
// trusts that the alternatives exclude each other, as those of structured output do.
func (m *instancer) firstOf(s object, word string, options []any, depth int) (any, error) {
	err := fmt.Errorf("%s has no alternative", word)
	rest := maps.Clone(s)
	delete(rest, word)
	for _, option := range options {
		var v any
		if v, err = m.make(object{"allOf": []any{option, rest}}, depth+1); err == nil {
			return v, nil
		}
	}
	return nil, err
}

// types are the type names of a schema; none means any.
func types(s object) []string {
	switch t := s["type"].(type) {
	case string:
		return []string{t}
	case []any:
		var names []string
		for _, v := range t {
			if name, ok := v.(string); ok {
				names = append(names, name)
			}
		}
		return names
	}
	return nil
}

func (m *instancer) ofType(s object, depth int) (any, error) {
	names := types(s)
	if len(names) == 0 { // any type will do, so take the one that the keywords speak of
		switch {
		case s["properties"] != nil, s["required"] != nil:
			names = []string{"object"}
		default:
			return nil, nil
		}
	}
	switch names[0] {
	case "object":
		return m.object(s, depth)
	case "array":
		return m.array(s, depth)
	case "string":
		return m.string(s)
	case "integer", "number":
		return numberOf(s, names[0] == "integer")
	case "boolean":
		return true, nil
	case "null":
		return nil, nil
	}
	return nil, fmt.Errorf("unknown type %q", names[0])
}

func (m *instancer) object(s object, depth int) (any, error) {
	if s["patternProperties"] != nil {
		return nil, errors.New("keyword patternProperties is not simulated")
	}
	properties, _ := s["properties"].(object)
	required, _ := s["required"].([]any)
	out := object{}
	for _, r := range required {
		name, ok := r.(string)
		if !ok {
			return nil, errors.New("required must hold names")
		}
		p, ok := properties[name]
		if !ok {
			if p, ok = s["additionalProperties"]; !ok {
				p = true
			}
		}
		v, err := m.make(p, depth+1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = v
	}
	return out, nil
}

func (m *instancer) array(s object, depth int) (any, error) {
	n, err := sizeOf(s, "minItems")
	if err != nil {
		return nil, err
	}
	if unique, _ := s["uniqueItems"].(bool); unique && n > 1 {
		return nil, errors.New("uniqueItems of several items is not simulated")
	}
	prefix, _ := s["prefixItems"].([]any)
	out := []any{}
	for i := range n {
		var item any = true
		if i < len(prefix) {
			item = prefix[i]
		} else if rest, ok := s["items"]; ok {
			item = rest
		}
		v, err := m.make(item, depth+1)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		out = append(out, v)
	}
	if most, ok := s["maxItems"].(float64); ok && float64(n) > most {
		return nil, errors.New("minItems is above maxItems")
	}
	return out, nil
}
