package main

import (
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/router"
)

func TestExplainCache(t *testing.T) {
	const policy = `version: 1
providers:
  pool: {engine: vllm, endpoints: [http://127.0.0.1:9]}
  far: {dialect: openai, base_url: https://us.example.com/v1}
models:
  small: {provider: pool, name: s}
  mini: {provider: far, name: m, can: [embeddings]}
boundaries:
  - {name: private, when: 'req.headers["x-data-class"] == "private"', only: own}
routes:
  auto: {rules: [{use: [small]}], cache: {exact: 1h, semantic: {model: mini, ttl: 15m}}}
  like: {rules: [{use: [small]}], cache: {semantic: {model: mini, ttl: 15m, threshold: 0.9}}}
  same: {rules: [{use: [small]}], cache: {exact: {ttl: 1h, force: true}}}
  none: {rules: [{use: [small]}]}
`
	p, problems := policies.LoadBytes("policy.yaml", []byte(policy), policies.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	const like = "the same request for 1h0m0s; a like question (mini at far, from 0.85) for 15m0s"
	for _, tc := range []struct{ model, more, turns, class, want string }{
		{"auto", `"temperature":0,`, ``, "", like},
		{"like", `"temperature":0,`, ``, "", "a like question (mini at far, from 0.9) for 15m0s"},
		{"same", ``, ``, "", "the same request for 1h0m0s"},
		{"none", `"temperature":0,`, ``, "", ""},
		{"auto", ``, ``, "", like + ", but not this one: its temperature is not 0"},
		{"auto", `"temperature":0,"n":2,`, ``, "", like + ", but not this one: it asks for several answers"},
		{"auto", `"temperature":0,`, `{"role":"user","content":"a"},{"role":"assistant","content":"b"},`, "", like + ", but not this one: it has more than one turn"},
		{"auto", `"temperature":0,`, `{"role":"system","content":"a"},`, "", like},
		{"auto", `"temperature":0,"tools":[{"type":"function","function":{"name":"f"}}],`, ``, "", like + ", but not this one: it has tools"},
		{"auto", `"temperature":0,`, ``, "private", like + `, but not this one: provider far is outside "private"`},
	} {
		q := question{path: chatPath, header: map[string]string{"x-data-class": tc.class}, trace: true,
			body: []byte(`{"model":"` + tc.model + `",` + tc.more + `"messages":[` + tc.turns + `{"role":"user","content":"How do I sort a list?"}]}`)}
		d, route, err := q.ask(p, router.New(router.Options{}))
		if err != nil {
			t.Fatal(err)
		}
		e := explain(d, route, err)
		e.Cache = cached(d, route, q.env)
		if got := e.Cache.text(); got != tc.want {
			t.Errorf("%s %s%s: %s, want %s", tc.model, tc.more, tc.turns, got, tc.want)
		}
		if tc.want != "" && !strings.HasSuffix(e.text(), "\ncache       "+tc.want+"\n") {
			t.Errorf("the explanation ends otherwise: %s", e.text())
		}
	}
}
