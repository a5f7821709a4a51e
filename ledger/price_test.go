package ledger

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers"
)

func TestCostOf(t *testing.T) {
	price := &policies.Price{In: 2, Out: 10, Cached: 0.2, Written: 2.5, Reasoning: 12, Request: 0.001, Row: "policy",
		Tiers: []policies.PriceTier{{Above: 1000, In: 4, Out: 20, Cached: 0.4, Written: 5, Reasoning: 24}}}
	for _, tc := range []struct {
		name  string
		price *policies.Price
		usage llm.Usage
		want  int64
	}{
		{"nothing used costs the request", price, llm.Usage{}, 1000},
		{"prompt and answer", price, llm.Usage{Input: 100, Output: 10}, 1000 + 200 + 100},
		{"cached and written are of the prompt", price, llm.Usage{Input: 100, Cached: 50, CacheWrite: 20}, 1000 + 60 + 10 + 50},
		{"reasoning is of the answer", price, llm.Usage{Output: 10, Reasoning: 4}, 1000 + 60 + 48},
		{"cached beside the prompt", price, llm.Usage{Input: 10, Cached: 900}, 1000 + 20 + 180},
		{"the tier of a prompt that is counted beside", price, llm.Usage{Input: 10, Cached: 991}, 1000 + 40 + 396},
		{"reasoning beside the answer", price, llm.Usage{Output: 1, Reasoning: 4}, 1000 + 10 + 48},
		{"at the tier's edge", price, llm.Usage{Input: 1000}, 1000 + 2000},
		{"beyond it the whole request", price, llm.Usage{Input: 1001, Output: 1}, 1000 + 4004 + 20},
		{"a fraction is rounded", &policies.Price{In: 0.05, Cached: 0.05}, llm.Usage{Input: 11}, 1},
	} {
		if c := CostOf(tc.price, tc.usage); !c.Known || c.MicroUSD != tc.want || c.Price != tc.price.Row {
			t.Errorf("%s: %+v, want %d", tc.name, c, tc.want)
		}
	}
	if c := CostOf(nil, llm.Usage{Input: 5}); c.Known || c != (Cost{}) {
		t.Errorf("without a price: %+v", c)
	}
}

// TestMostOf draws prices, whose tiers may be cheaper, and usages: what was used within a bound costs at most what the bound does.
func TestMostOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := func(name string) float64 { return float64(rapid.IntRange(0, 9).Draw(t, name)) } // whole, so that sums are exact
		tier := func(above int) policies.PriceTier {
			return policies.PriceTier{Above: above, In: rate("in"), Out: rate("out"), Cached: rate("cached"), Written: rate("written"), Reasoning: rate("reasoning")}
		}
		base := tier(0)
		p := &policies.Price{In: base.In, Out: base.Out, Cached: base.Cached, Written: base.Written, Reasoning: base.Reasoning, Request: rate("request")}
		above := 0
		for range rapid.IntRange(0, 3).Draw(t, "tiers") {
			above += rapid.IntRange(1, 40).Draw(t, "above")
			p.Tiers = append(p.Tiers, tier(above))
		}
		in, out := rapid.IntRange(0, 100).Draw(t, "most in"), rapid.IntRange(0, 100).Draw(t, "most out")
		u := llm.Usage{Input: rapid.IntRange(0, in).Draw(t, "input"), Output: rapid.IntRange(0, out).Draw(t, "output")}
		u.Cached = rapid.IntRange(0, u.Input).Draw(t, "cached tokens")
		u.CacheWrite = rapid.IntRange(0, u.Input-u.Cached).Draw(t, "written tokens")
		u.Reasoning = rapid.IntRange(0, u.Output).Draw(t, "reasoning tokens")
		if most, cost := MostOf(p, in, out), CostOf(p, u).MicroUSD; cost > most {
			t.Fatalf("%+v costs %d at %+v, and %d and %d tokens cost %d at most", u, cost, p, in, out, most)
		}
	})
	p := &policies.Price{In: 3, Cached: 1, Written: 2, Out: 8, Request: 1, Tiers: []policies.PriceTier{{Above: 50, In: 1, Out: 2, Reasoning: 9}}}
	for _, tc := range []struct {
		in, out int
		want    int64
	}{{0, 0, 1e6}, {50, 1, 1e6 + 150 + 8}, {100, 1, 1e6 + 150 + 8}, {200, 1, 1e6 + 200 + 9}} { // no more than need be, either
		if got := MostOf(p, tc.in, tc.out); got != tc.want {
			t.Errorf("%+v: %d", tc, got)
		}
	}
}

// TestCatalogue holds the embedded file to its form, and to facts that other sources have.
func TestCatalogue(t *testing.T) {
	all, err := catalogue()
	if err != nil {
		t.Fatal(err)
	}
	presets := providers.Presets()
	for name, p := range all {
		preset, _, _ := strings.Cut(name, ":")
		if _, ok := presets[preset]; !ok {
			t.Errorf("%s is of no preset", name)
		}
		if p.In < 0 || p.Out < 0 || p.In+p.Out == 0 || p.In > 1000 {
			t.Errorf("%s costs %+v", name, p)
		}
	}
	for _, tc := range []struct {
		preset, model   string
		in, out, cached float64
	}{
		{"openai", "gpt-4o", 2.5, 10, 1.25},
		{"openai", "gpt-5.5", 5, 30, 0.5},
		{"anthropic", "claude-sonnet-5", 2, 10, 0.2},
		{"gemini", "gemini-3.5-flash", 1.5, 9, 0.15},
	} {
		p := Catalogue(tc.preset, tc.model)
		if p == nil || p.In != tc.in || p.Out != tc.out || p.Cached != tc.cached || !strings.HasPrefix(p.Row, "models.dev 20") {
			t.Errorf("%+v: %+v", tc, p)
		}
	}
	if p := Catalogue("openai", "gpt-5.5"); p == nil || p.For(300_000).In != 10 || p.For(1000).In != 5 {
		t.Errorf("tiers: %+v", p)
	}
	if p := Catalogue("openai", "no such model"); p != nil {
		t.Errorf("a price from nowhere: %+v", p)
	}
}

func TestParseCatalogueFails(t *testing.T) {
	const head = "# x, y\npreset,model,above,in,out,cached,written,reasoning\n"
	for _, src := range []string{head + "a,b,,x,1,,,\n", head + "a,b,1\n", head + "a,b,100,1,1,,,\n", head + "\"a"} {
		if all, err := parseCatalogue([]byte(src)); err == nil {
			t.Errorf("%q: %v", src, all)
		}
	}
}

func FuzzParseCatalogue(f *testing.F) {
	f.Add([]byte("# m 2026, MIT\npreset,model,above,in,out,cached,written,reasoning\na,b,,1,2,,,\na,b,100,2,4,1,,\n"))
	f.Fuzz(func(_ *testing.T, src []byte) { _, _ = parseCatalogue(src) })
}

// TestMeter draws attempts that overlap as they like: what they bear adds up to the time in which there was any.
func TestMeter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m Meter
		now, hour := begin, rapid.Float64Range(0.1, 100).Draw(t, "usd an hour")
		var open []Share
		busy, total, ended := time.Duration(0), int64(0), 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			d := time.Duration(rapid.IntRange(0, 100_000).Draw(t, "ms")) * time.Millisecond
			if now = now.Add(d); len(open) > 0 {
				busy += d
			}
			if len(open) == 0 || rapid.Bool().Draw(t, "begin") {
				open = append(open, m.Begin("pool", hour, rapid.IntRange(0, 5000).Draw(t, "tokens"), now))
				continue
			}
			i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
			micro, ok := open[i].End(now)
			if again, twice := open[i].End(now); !ok || micro < 0 || twice || again != 0 {
				t.Fatalf("%d %v, again %d %v", micro, ok, again, twice)
			}
			total, ended = total+micro, ended+1
			open = append(open[:i], open[i+1:]...)
		}
		for i := range open {
			micro, _ := open[i].End(now)
			total, ended = total+micro, ended+1
		}
		if want := hour * 1e6 * busy.Hours(); math.Abs(float64(total)-want) > float64(ended)+want*1e-9 {
			t.Fatalf("%d micro-dollars for %v at %v USD an hour: want %v", total, busy, hour, want)
		}
	})
	if micro, ok := (&Share{}).End(begin); micro != 0 || ok {
		t.Error("nobody's share costs something")
	}
}

func TestNeurons(t *testing.T) {
	if usd := USDOf(1000); usd != 0.011 {
		t.Errorf("1,000 neurons are %v USD", usd)
	}
	if n := NeuronsOf(0.11); math.Abs(n-10000) > 1e-6 {
		t.Errorf("0.11 USD are %v neurons", n)
	}
}
