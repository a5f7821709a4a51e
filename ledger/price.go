package ledger

import (
	"math"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
)

// PriceGPU is the price row of an own pool that is paid by the hour.
const PriceGPU = "gpu"

// CostOf is what a usage costs at a price: unknown where there is no price. One USD per million tokens is one millionth of a dollar a token.
func CostOf(p *policies.Price, u llm.Usage) Cost {
	if p == nil {
		return Cost{}
	}
	beside := rest(u.Input, u.Cached+u.CacheWrite)
	r := p.For(beside + u.Cached + u.CacheWrite)
	usd := float64(beside)*r.In + float64(u.Cached)*r.Cached + float64(u.CacheWrite)*r.Written
	usd += float64(rest(u.Output, u.Reasoning))*r.Out + float64(u.Reasoning)*r.Reasoning
	return Cost{MicroUSD: int64(math.Round(usd + p.Request*1e6)), Known: true, Price: p.Row}
}

// MostOf is what a prompt and an answer of so many tokens, or of fewer, cost at most in micro-dollars, whichever of the tokens are cached, written or thought.
func MostOf(p *policies.Price, in, out int) int64 {
	usd, rates := 0.0, p.For(0)
	for i := 0; ; i++ {
		n := in
		if i < len(p.Tiers) {
			n = min(in, p.Tiers[i].Above)
		}
		usd = max(usd, float64(n)*max(rates.In, rates.Cached, rates.Written)+float64(out)*max(rates.Out, rates.Reasoning))
		if n == in {
			return int64(math.Round(usd + p.Request*1e6))
		}
		rates = p.Tiers[i]
	}
}

// rest is a count of tokens without a part of them. What is more than the whole is no part of it: the provider counts it beside.
func rest(whole, part int) int {
	if part > whole {
		return whole
	}
	return whole - part
}
