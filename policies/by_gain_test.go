package policies

import (
	"math"
	"strings"
	"testing"
	"time"
)

const twoTiers = `version: 1
providers:
  pool: {engine: vllm, endpoints: [http://127.0.0.1:1]}
  out: {dialect: openai, base_url: http://127.0.0.1:2}
models:
  small: {provider: pool, name: s}
  large: {provider: out, name: l, price: {in: 5, out: 30}}
tiers: [{name: cheap, models: [small]}, {name: strong, models: [large]}]
routes:
  auto: {rules: [{use: by_gain}], by_gain: `

// An answer of 300 tokens to a prompt of 1,000 costs 0.014 USD outside and nothing at home.
func TestByGain(t *testing.T) {
	pace := func(small, large time.Duration, out int) func(*Model) ModelPace {
		return func(m *Model) ModelPace {
			if m.Key == "small" {
				return ModelPace{First: small, Out: out}
			}
			return ModelPace{First: large, Out: out}
		}
	}
	for _, c := range []struct {
		name, byGain string
		stakes       Stakes
		tier, by     string
		worth        float64
	}{
		{"below", "{above: 0.2}", Stakes{Gain: .2}, "cheap", "above", 0},
		{"above", "{above: 0.2}", Stakes{Gain: .21}, "strong", "above", 0},
		{"unknown gain, cheap preferred", "{}", Stakes{Gain: math.NaN()}, "cheap", "preference", 0},
		{"unknown gain, strong preferred", "{prefer: strong}", Stakes{Gain: math.NaN()}, "strong", "preference", 0},
		{"measured threshold", "{max_regret: 0.1, calibration: good.cal.json}", Stakes{Gain: .08}, "strong", "calibration", 0},
		{"measured threshold, at it", "{max_regret: 0.1, calibration: good.cal.json}", Stakes{Gain: .07}, "cheap", "calibration", 0},
		{"worth its price", "{quality_value: 0.1}", Stakes{Gain: .2, Tokens: 1000}, "strong", "value", .02 - .014},
		{"not worth it", "{quality_value: 0.05}", Stakes{Gain: .2, Tokens: 1000}, "cheap", "value", .01 - .014},
		{"a short answer is cheaper", "{quality_value: 0.05}", Stakes{Gain: .2, Tokens: 1000, Out: 10}, "strong", "value", .01 - .0053},
		{"long answers are dearer", "{quality_value: 0.1}", Stakes{Gain: .2, Tokens: 1000, Pace: pace(0, 0, 1000)}, "cheap", "value", .02 - .035},
		{"a slow pool is dear", "{quality_value: 0.1}", Stakes{Gain: .1, Tokens: 1000, Pace: pace(3*time.Second, 0, 300)}, "strong", "value", .01 - .014 + .01},
		{"a negative gain", "{quality_value: 1}", Stakes{Gain: -.1}, "cheap", "value", -.1 - .009},
	} {
		p := mustLoad(t, twoTiers+c.byGain+"}\n")
		r := p.Routes[0]
		_, d, _ := p.Plan(r, r.Rules[0], c.stakes, Bounds{Free: true}, Needs{}, nil, nil)
		if d.Tier != c.tier || d.Choice.By != c.by || math.Abs(d.Choice.Worth-c.worth) > 1e-12 {
			t.Errorf("%s: tier %s by %s, worth %g; want %s by %s, worth %g", c.name, d.Tier, d.Choice.By, d.Choice.Worth, c.tier, c.by, c.worth)
		}
	}
}

func TestUnpricedIsNotFree(t *testing.T) {
	p := mustLoad(t, strings.Replace(twoTiers, ", price: {in: 5, out: 30}", "", 1)+"{quality_value: 1, above: 0.3}}\n")
	r := p.Routes[0]
	_, d, _ := p.Plan(r, r.Rules[0], Stakes{Gain: .2, Tokens: 10}, Bounds{Free: true}, Needs{}, nil, nil)
	if d.Tier != "cheap" || d.Choice.By != "above" || d.Choice.Unpriced != "large" {
		t.Errorf("a model without a price was weighed: %+v", d)
	}
}

func TestCalibrations(t *testing.T) {
	for _, c := range []struct{ byGain, classifier, uncalibrated, problem, notice string }{
		{"{max_regret: 0.1, calibration: good.cal.json}", "abc", "", "", ""},
		{"{max_regret: 0.1, calibration: good.cal.json}", "", "", "", ""},
		{"{max_regret: 0.1}", "abc", "no calibration is named", "", ""},
		{"{max_regret: 0.1, calibration: none.json}", "abc", "none.json does not exist yet", "", "`sluice calibrate` makes it"},
		{"{max_regret: 0.1, calibration: other.cal.json}", "abc", "other.cal.json was made with the gains of another classifier", "", "is xyz"},
		{"{max_regret: 0.1, calibration: loose.cal.json}", "abc", "", "bounds the regret by 0.2, and max_regret promises 0.1", ""},
		{"{max_regret: 0.1, calibration: broken.cal.json}", "abc", "", "its threshold 3 is no gain", ""},
		{"{max_regret: 0.1, calibration: /etc/empty}", "abc", "", "is no calibration", ""},
	} {
		o := testOptions()
		o.Classifier = c.classifier
		if strings.Contains(c.notice, "xyz") {
			c.notice = "of classifier xyz, this one is abc"
		}
		p, ps := LoadBytes("policy.yaml", []byte(twoTiers+c.byGain+"}\n"), o)
		if c.problem != "" {
			if len(ps) != 1 || !strings.Contains(ps[0].Error(), c.problem) {
				t.Errorf("%s: problems %v, want one with %q", c.byGain, ps, c.problem)
			}
			continue
		}
		if len(ps) > 0 {
			t.Errorf("%s: %v", c.byGain, ps)
			continue
		}
		g := p.Routes[0].ByGain
		if g.Uncalibrated != c.uncalibrated || (g.Calibration == nil) != (c.uncalibrated != "") {
			t.Errorf("%s: uncalibrated %q, calibration %v", c.byGain, g.Uncalibrated, g.Calibration)
		}
		if (len(p.Notices) > 0) != (c.notice != "") || c.notice != "" && !strings.Contains(p.Notices[0].Error(), c.notice) {
			t.Errorf("%s: notices %v, want %q", c.byGain, p.Notices, c.notice)
		}
	}
}

// Another threshold is another policy: the version tells them apart, and a server that reads the files again puts it into force.
func TestCalibrationIsPartOfTheVersion(t *testing.T) {
	o := testOptions()
	src := []byte(twoTiers + "{calibration: good.cal.json}}\n")
	one, _ := LoadBytes("policy.yaml", src, o)
	read := o.ReadFile
	o.ReadFile = func(name string) ([]byte, error) {
		b, err := read(name)
		return []byte(strings.Replace(string(b), "0.07", "0.06", 1)), err
	}
	two, _ := LoadBytes("policy.yaml", src, o)
	if one == nil || two == nil || one.Version == two.Version || len(two.Version) != 16 {
		t.Errorf("versions do not differ: %v, %v", one, two)
	}
}
