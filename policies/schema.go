package policies

import (
	"encoding/json"
	"fmt"
)

// schemaID names the schema; nothing is fetched from there.
const schemaID = "https://sluice.example/policy.schema.json"

// Schema returns a JSON Schema (2020-12) of the policy language, for editors. It is written from the same table that Parse checks against,
// and is a little wider: names and expressions are resolved by Compile only.
func Schema() []byte {
	s := language().schema("")
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["$id"] = schemaID
	s["title"] = "Sluice policy"
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("policy schema: %v", err)) // only maps, strings and numbers are in it
	}
	return append(b, '\n')
}

// schema returns one shape as a schema. Scalars may be quoted in YAML, so numbers and booleans may be texts as well.
func (s *shape) schema(doc string) map[string]any {
	out := map[string]any{}
	if doc != "" {
		out["description"] = doc
	}
	switch s.kind {
	case textShape, exprShape:
		out["type"] = []string{"string", "number", "boolean"}
	case nameShape:
		out["type"] = []string{"string", "number", "boolean"}
		out["minLength"], out["maxLength"] = 1, 128
	case integerShape:
		out["type"], out["pattern"] = []string{"integer", "string"}, `^-?[0-9]+$`
	case numberShape:
		out["type"], out["pattern"] = []string{"number", "string"}, `^[-+0-9.eE]+$`
	case booleanShape:
		out["enum"] = []any{true, false, "true", "false", "on", "off"}
	case durationShape:
		out["type"], out["pattern"] = "string", `^([0-9.]+(ns|us|µs|ms|s|m|h))+$|^0$`
	case tokensShape:
		out["type"], out["pattern"] = []string{"integer", "string"}, `^[0-9.]+[kKmM]?$`
	case sizeShape:
		out["type"], out["pattern"] = []string{"integer", "string"}, `^[0-9.]+[kKmMgG]?$`
	case expiryShape:
		out["type"], out["pattern"] = "string", `^[0-9]{4}-[0-9]{2}-[0-9]{2}`
	case rateShape:
		out["type"], out["pattern"] = "string", `^[0-9.]+[kKmM]?/[smhd]$`
	case choiceShape:
		out["enum"] = s.enum()
	case secretShape:
		text := map[string]any{"type": "string"}
		out["type"], out["properties"] = "object", map[string]any{"env": text, "file": text}
		out["minProperties"], out["maxProperties"], out["additionalProperties"] = 1, 1, false
	case objectShape:
		properties, required := map[string]any{}, []string{}
		for _, f := range s.fields {
			properties[f.name] = f.shape.schema(f.doc)
			if f.required {
				required = append(required, f.name)
			}
		}
		out["type"], out["properties"], out["additionalProperties"] = "object", properties, false
		if len(required) > 0 {
			out["required"] = required
		}
	case dictShape:
		out["type"], out["additionalProperties"] = "object", s.elem.schema("")
	case listShape:
		out["type"], out["items"] = "array", s.elem.schema("")
		if s.nonempty {
			out["minItems"] = 1
		}
	case eitherShape:
		var alts []any
		for _, a := range s.alts {
			alts = append(alts, a.schema(""))
		}
		out["anyOf"] = alts
	}
	if s.kind == integerShape || s.kind == numberShape || s.kind == tokensShape || s.kind == sizeShape {
		if s.min != nil {
			out["minimum"] = *s.min
		}
		if s.max != nil {
			out["maximum"] = *s.max
		}
	}
	return out
}

// enum returns the choices; what YAML reads as a number or a truth value is there in both forms.
func (s *shape) enum() []any {
	var out []any
	for _, c := range s.choices {
		out = append(out, c)
		if n, err := parseInteger(c); err == nil {
			out = append(out, n)
		}
		if c == "off" {
			out = append(out, false)
		}
	}
	return out
}
