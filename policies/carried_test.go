package policies

import (
	"fmt"
	"strings"
	"testing"
)

func TestCarried(t *testing.T) {
	const src = `
version: 1
providers:
  a: {engine: vllm, endpoints: ["http://a:1"], region: eu}
  b: {engine: vllm, endpoints: ["http://b:1"], region: eu}
  c: {engine: vllm, endpoints: ["http://c:1"]}
models: {a: {provider: a, name: a}, b: {provider: b, name: b, can: [embeddings]}, c: {provider: c, name: c}}
tiers: [{name: low, models: [a]}, {name: mid, models: [b]}, {name: high, models: [c]}]
boundaries: [BOUNDARY]
routes:
  quiet: {rules: [{use: [a, b, c]}], timeouts: {connect: 9s, total: 9m}}
  loud: {ROUTE, timeouts: {connect: 3s, answer: 1m, total: 2m}}
`
	for _, test := range []struct{ name, route, boundary, want string }{
		{"executor", "rules: [{use: mid}]", "", ""},
		{"defaults", "carrier: envoy, rules: [{use: mid}]", "", "b [embeddings] c [chat embeddings]"},
		{"no fallback", "carrier: envoy, fallback: [], rules: [{use: mid}]", "", "b [embeddings]"},
		{"weaker", "carrier: envoy, fallback: [weaker], rules: [{use: mid}]", "", "a [chat embeddings] b [embeddings]"},
		{"by gain", "carrier: envoy, fallback: []", "", "a [chat embeddings] b [embeddings] c [chat embeddings]"},
		{"list", "carrier: envoy, rules: [{use: [c, a]}]", "", "a [chat embeddings] c [chat embeddings]"},
		{"rescue", "carrier: envoy, rescue: verified, rules: [{use: mid}]", "", ""},
		{"residency", "carrier: envoy, residency: [eu], rules: [{use: by_gain}]", "", "a [chat embeddings] b [embeddings]"},
		{"boundary", "carrier: envoy, rules: [{use: by_gain}]", "{name: x, only: [c]}", "c [chat embeddings]"},
		{"conditional boundary", "carrier: envoy, rules: [{use: low}], fallback: []", `{name: x, only: [c], when: "true == (req.model == 'x')"}`, "a [chat embeddings]"},
	} {
		route := test.route
		if !strings.Contains(route, "rules") {
			route += ", rules: [{use: by_gain}]"
		}
		p, ps := LoadBytes("policy.yaml", []byte(strings.NewReplacer("ROUTE", route, "BOUNDARY", test.boundary).Replace(src)), Options{})
		if len(ps) > 0 {
			t.Errorf("%s: %v", test.name, ps)
			continue
		}
		var got []string
		for _, c := range p.Carried(Needs{Chat: true}, Needs{Embeddings: true}) {
			var can []string
			for _, n := range c.Needs {
				can = append(can, map[bool]string{true: "chat", false: "embeddings"}[n.Chat])
			}
			got = append(got, fmt.Sprintf("%s %v", c.Provider.Name, can))
			if fmt.Sprint(c.Connect, c.Limits) != "3s [1m0s 2m0s]" {
				t.Errorf("%s: limits %s %s", test.name, c.Connect, c.Limits)
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %s, want %s", test.name, strings.Join(got, " "), test.want)
		}
	}
}
