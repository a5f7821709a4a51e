package policies

// kinds are the words that a boundary's only may hold beside names of providers.
var kinds = map[string]string{
	"own":         "own pool",
	"zdr":         "provider that keeps nothing",
	"no_training": "provider that does not train on what it is asked",
}

// keeping compiles what a provider does with what it is asked: own pools keep nothing, presets do as they document, and the policy knows better
// what an account has agreed to. What nobody knows counts as kept and trained on.
func (p *Provider) keeping(n *node, preset Preset) {
	p.ZDR = n.at("zdr").boolean(p.Own || preset.ZDR)
	p.Untrained = !n.at("trains").boolean(!(p.Own || p.ZDR || preset.Untrained))
}

// kind puts every provider of a kind into a boundary; false = the word is none of one. Own pools are told apart when the boundary is looked at.
func (c *compiler) kind(word string, b *Boundary, set *bound) bool {
	is := map[string]func(*Provider) bool{
		"zdr":         func(p *Provider) bool { return p.ZDR },
		"no_training": func(p *Provider) bool { return p.Untrained },
	}[word]
	if is == nil {
		return false
	}
	for name, p := range c.p.Providers {
		if is(p) {
			b.Only[name], set.allowed[name] = true, true
		}
	}
	return true
}
