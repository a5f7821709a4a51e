package policies

import (
	"strings"
	"testing"
)

func TestRetention(t *testing.T) {
	o := testOptions()
	o.Presets = map[string]Preset{"says": {Name: "says", BaseURL: "https://a.test/v1", Untrained: true}, "keeps": {Name: "keeps", BaseURL: "https://b.test/v1"}}
	src := `version: 1
providers:
  pool: {engine: vllm, endpoints: ["http://127.0.0.1:9"]}
  says: {preset: says}
  keeps: {preset: keeps}
  agreed: {preset: keeps, zdr: true}
  sold: {preset: says, trains: true}
models: {m: {provider: pool, name: m}}
boundaries:
  - {name: nothing kept, when: 'req.path == "a"', only: zdr}
  - {name: nothing learnt, when: 'req.path == "b"', only: no_training}
  - {name: either, when: 'req.path == "c"', only: [zdr, keeps]}
routes: {auto: {rules: [{use: [m]}]}}
`
	p, ps := LoadBytes("policy.yaml", []byte(src), o)
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	for path, want := range map[string]string{"a": "agreed pool", "b": "agreed pool says", "c": "agreed keeps pool"} {
		b, _ := p.Bound(&Facts{Req: Req{Path: path}}, nil, nil, false)
		var got []string
		for _, name := range sortedKeys(p.Providers) {
			if b.Allows(p.Providers[name]) {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s lets through %v, want %s", b.Names, got, want)
		}
	}
	if _, ps := LoadBytes("policy.yaml", []byte(strings.ReplaceAll(src, "agreed:", "zdr:")), o); len(ps) != 1 || !strings.Contains(ps[0].Message, "is taken") {
		t.Error(ps)
	}
}
