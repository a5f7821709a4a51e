package policies

import (
	"strings"
	"testing"
	"time"
)

func TestSemantic(t *testing.T) {
	load := func(cache, more string) (*Policy, Problems) {
		return LoadBytes("policy.yaml", []byte(`version: 1
providers:
  pool: {engine: vllm, endpoints: ["http://127.0.0.1:9"], region: eu}
  far: {dialect: openai, base_url: "https://us.example.com/v1", region: us}
models:
  small: {provider: pool, name: s, can: [chat]}
  mini: {provider: far, name: m, can: [embeddings]}
routes:
  auto: {rules: [{use: [small]}], cache: {`+cache+`}`+more+`}
`), Options{})
	}
	for _, tc := range []struct{ cache, more, want, notice string }{
		{"semantic: {model: mini, ttl: 15m}", "", "", ""},
		{"semantic: {model: small, ttl: 15m}", "", "can make no embeddings", ""},
		{"semantic: {model: nobody, ttl: 15m}", "", "no model is named", ""},
		{"semantic: {model: mini}", "", "ttl", ""},
		{"semantic: {model: mini, ttl: 15m, threshold: 1.1}", "", "threshold", ""},
		{"semantic: {model: mini, ttl: 15m}", ", residency: [eu]", "", `keeps the route from provider "far"`},
	} {
		p, problems := load(tc.cache, tc.more)
		if tc.want != "" {
			if len(problems) == 0 || !strings.Contains(problems.Error(), tc.want) {
				t.Errorf("%s: %v, want %s", tc.cache, problems, tc.want)
			}
			continue
		}
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if notices := Problems(p.Notices).Error(); (tc.notice == "") != (len(p.Notices) == 0) || !strings.Contains(notices, tc.notice) {
			t.Errorf("%s: noted: %v, want %q", tc.cache, p.Notices, tc.notice)
		}
		s := p.Routes[0].Cache.Semantic
		if s.Model.Key != "mini" || s.TTL != 15*time.Minute || s.Threshold != DefaultThreshold || s.Timeout != DefaultSemanticTimeout {
			t.Errorf("%+v", s)
		}
	}
}
