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
	r := p.For(u.Input)
	usd := float64(rest(u.Input, u.Cached+u.CacheWrite))*r.In + float64(u.Cached)*r.Cached + float64(u.CacheWrite)*r.Written
	usd += float64(rest(u.Output, u.Reasoning))*r.Out + float64(u.Reasoning)*r.Reasoning
	return Cost{MicroUSD: int64(math.Round(usd + p.Request*1e6)), Known: true, Price: p.Row}
}

// rest is a count of tokens without a part of them. What is more than the whole is no part of it: the provider counts it beside.
func rest(whole, part int) int {
	if part > whole {
		return whole
	}
	return whole - part
}
