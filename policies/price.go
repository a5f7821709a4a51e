package policies

// Price is what a model costs: in USD per million tokens, and USD a request. Every rate is set: where a source says nothing of cached or written
// tokens they cost what others of the prompt do, and reasoning costs what the answer does.
type Price struct {
	In, Out, Cached, Written, Reasoning float64
	Request                             float64
	Tiers                               []PriceTier // by Above, ascending
	Row                                 string      // where it comes from: policy, or the catalogue's name of the row
}

// PriceTier is what the whole request costs when its prompt is longer than Above tokens.
type PriceTier struct {
	Above                               int
	In, Out, Cached, Written, Reasoning float64
}

// For returns the rates that hold for a prompt of so many tokens.
func (p *Price) For(prompt int) PriceTier {
	rates := PriceTier{In: p.In, Out: p.Out, Cached: p.Cached, Written: p.Written, Reasoning: p.Reasoning}
	for _, t := range p.Tiers {
		if prompt > t.Above {
			rates = t
		}
	}
	return rates
}

// price compiles a model's price: the policy's own, else the catalogue's.
func (c *compiler) price(m *Model, n *node) *Price {
	if n == nil {
		if c.o.Prices == nil || m.Provider == nil || m.Provider.Preset == "" {
			return nil
		}
		return c.o.Prices(m.Provider.Preset, m.Name)
	}
	base := rates(n)
	p := &Price{In: base.In, Out: base.Out, Cached: base.Cached, Written: base.Written, Reasoning: base.Reasoning, Request: n.at("request").number(0), Row: "policy"}
	for _, t := range n.at("tiers").list() {
		tier := rates(t)
		tier.Above = t.at("above").tokens(0)
		if k := len(p.Tiers); k > 0 && tier.Above <= p.Tiers[k-1].Above {
			c.problem(t, "tiers stand by above, from small to large")
		}
		p.Tiers = append(p.Tiers, tier)
	}
	return p
}

func rates(n *node) PriceTier {
	t := PriceTier{In: n.at("in").number(0), Out: n.at("out").number(0)}
	t.Cached, t.Written, t.Reasoning = n.at("cached").number(t.In), n.at("written").number(t.In), n.at("reasoning").number(t.Out)
	return t
}
