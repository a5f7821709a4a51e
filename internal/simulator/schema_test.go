package simulator

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemas are documents in the manner of structured output and of tools; each has an instance.
var schemas = []string{
	`{}`, `true`, `{"type":"object"}`, `{"type":"string"}`, `{"type":["null","string"]}`, `{"const":{"a":[1]}}`, `{"enum":["red","green"]}`,
	`{"type":"integer","enum":["x",3]}`, `{"type":"string","minLength":20,"maxLength":20}`, `{"type":"string","maxLength":3}`, `{"type":"string","maxLength":0}`,
	`{"type":"string","format":"date-time"}`, `{"type":"string","format":"email"}`, `{"type":"string","format":"uuid"}`, `{"type":"string","format":"ipv6"}`,
	`{"type":"string","pattern":"^[A-Z]{3}-\\d+$"}`, `{"type":"string","pattern":"^(cat|dog)s?$"}`, `{"type":"string","pattern":"^[a-z]+$","minLength":12}`,
	`{"type":"string","pattern":"ab"}`, `{"type":"string","pattern":"^\\S{2,}@.+$"}`, `{"type":"string","pattern":"^x{2,5}$","minLength":4}`,
	`{"type":"integer","minimum":3}`, `{"type":"integer","exclusiveMinimum":3,"multipleOf":5}`, `{"type":"number","exclusiveMinimum":0}`,
	`{"type":"number","exclusiveMaximum":-2.5}`, `{"type":"integer","maximum":-3,"multipleOf":2}`, `{"type":"integer","exclusiveMaximum":0}`, `{"type":"number","minimum":0.5,"maximum":0.6}`,
	`{"type":"integer","exclusiveMinimum":2.5}`, `{"type":"integer","minimum":2.5}`, `{"type":"boolean"}`, `{"type":"null"}`,
	`{"type":"array","items":{"type":"integer"},"minItems":2}`, `{"type":"array"}`, `{"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"minItems":3,"items":{"const":1}}`,
	`{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"},"nick":{"type":"string"}},"required":["name","age"],"additionalProperties":false}`,
	`{"required":["x"],"type":"object"}`, `{"type":"object","required":["x"],"additionalProperties":{"type":"integer"}}`,
	`{"type":"object","properties":{"steps":{"type":"array","minItems":1,"items":{"$ref":"#/$defs/step"}}},"required":["steps"],"$defs":{"step":{"type":"object","properties":{"why":{"type":"string"}},"required":["why"]}}}`,
	`{"type":"object","properties":{"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"required":["next"]}`,
	`{"anyOf":[{"type":"string","enum":[]},{"type":"integer"}]}`, `{"oneOf":[{"type":"string"},{"type":"integer"}]}`,
	`{"type":"object","required":["k"],"oneOf":[{"properties":{"k":{"const":"a"}}},{"properties":{"k":{"const":"b"}}}]}`,
	`{"allOf":[{"type":"object","required":["a"]},{"properties":{"a":{"type":"string"}}},{"required":["b"],"properties":{"b":{"type":"integer"},"a":{"minLength":3}}}]}`,
	`{"$ref":"#/$defs/a~1b","$defs":{"a/b":{"type":"string"}}}`,
}

func TestInstancesAreValid(t *testing.T) {
	r := overTCP(t, Options{})
	for _, s := range schemas {
		text, err := instanceJSON([]byte(s))
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		if !valid(t, s, text) {
			t.Errorf("%s: %s is not valid", s, text)
		}
		a := r.post("/v1/chat/completions", with(`"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":`+s+`}}`))
		if got := *decode[chunkT](t, a).Choices[0].Message.Content; got != text {
			t.Errorf("%s: answered %s, want %s", s, got, text)
		}
	}
}

func TestSchemasWithoutInstanceAreRefused(t *testing.T) {
	for _, s := range []string{
		`false`, `7`, `{`, `{"type":"thing"}`, `{"enum":[]}`, `{"type":"integer","minimum":3,"maximum":2}`, `{"type":"integer","minimum":0.2,"maximum":0.8}`,
		`{"type":"object","properties":{"x":{"$ref":"#"}},"required":["x"]}`, `{"$ref":"#"}`, `{"$ref":"#/nowhere"}`, `{"$ref":"https://example.com/s"}`,
		`{"allOf":[{"$ref":"#"},{"$ref":"#"}]}`, `{"anyOf":[{"$ref":"#"},{"$ref":"#"}]}`, `{"anyOf":[]}`, `{"not":{}}`, `{"type":"string","pattern":"("}`, `{"type":"string","pattern":"a\\bb"}`,
		`{"type":"string","minLength":3,"maxLength":2}`, `{"type":"string","minLength":1e9}`, `{"type":"array","minItems":10000,"items":{"type":"array","minItems":10000}}`,
		`{"type":"string","minLength":9999,"pattern":"((()*)*)*"}`, `{"type":"array","minItems":2,"uniqueItems":true}`, `{"type":"array","minItems":2,"maxItems":1}`,
		`{"allOf":[{"type":"string"},{"type":"integer"}]}`, `{"type":"object","patternProperties":{"a":false}}`, `{"type":"object","required":[1]}`,
	} {
		if text, err := instanceJSON([]byte(s)); err == nil {
			t.Errorf("%s: made %s", s, text)
		}
	}
}

func valid(t *testing.T, schema, text string) bool {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		t.Fatalf("%s: %v", schema, err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatalf("%s: %v", schema, err)
	}
	compiled, err := c.Compile("schema.json")
	if err != nil {
		t.Fatalf("%s: %v", schema, err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return compiled.Validate(value) == nil
}

func FuzzInstance(f *testing.F) {
	for _, s := range schemas {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, schema string) {
		text, err := instanceJSON([]byte(schema))
		if (err == nil) != json.Valid([]byte(text)) {
			t.Errorf("%q: %q with error %v", schema, text, err)
		}
	})
}
