package policies

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// Cache says which answers of a route are recorded and given again.
type Cache struct {
	Exact    time.Duration // how long an answer to the same request holds; 0 = off
	Force    bool          // also where temperature is not 0
	Semantic *Semantic     // nil = off
	Version  string        // of what the route itself does to answers; a part of every entry's key
}

// Semantic says which answers are given again to requests that only mean the same.
type Semantic struct {
	Model     *Model        // an embedding model
	Threshold float64       // cosine from which two texts may mean the same
	TTL       time.Duration // how long an answer holds
	Ask       *Route        // the route by which the model is asked; it has the residency of the one that it serves
}

// cache compiles a route's recorded answers; nil = none.
func (c *compiler) cache(r *Route, n *node) *Cache {
	if n == nil {
		return nil
	}
	k := &Cache{Version: fmt.Sprint(r.MaxTokens)}
	if e := n.at("exact"); e != nil {
		if e.kind == mapNode {
			k.Exact, k.Force = e.at("ttl").duration(0), e.at("force").boolean(false)
		} else {
			k.Exact = e.duration(0)
		}
	}
	if s := n.at("semantic"); s != nil {
		k.Semantic = c.semantic(r, s)
	}
	if k.Exact == 0 && k.Semantic == nil {
		return nil
	}
	return k
}

func (c *compiler) semantic(r *Route, n *node) *Semantic {
	m := n.at("model")
	if m == nil {
		return nil
	}
	model, ok := reference(c, m, "model", c.p.Models)
	if !ok {
		return nil
	}
	if model.Can != nil && !model.Can["embeddings"] {
		c.problem(m, "model %q can make no embeddings: its `can` does not list them", m.text)
	}
	ask := c.blank(r.Name)
	ask.Direct, ask.Fallback, ask.Residency, ask.resident = true, nil, r.Residency, r.resident
	ask.Rules = []*Rule{{Name: "semantic cache", Models: []*Model{model}}}
	ask.Attempts.PerModel, ask.Attempts.Total = 1, 1
	return &Semantic{Model: model, Threshold: n.at("threshold").number(1), TTL: n.at("ttl").duration(0), Ask: ask}
}

// Identity names what answers under a model's name: an edit that puts another model or another server there changes it.
func (m *Model) Identity() string { return m.identity }

func (m *Model) identify() {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %q %q", m.Provider.Name, m.Provider.Engine, m.Provider.Preset, m.Provider.Dialect, m.Name)
	if !m.Provider.Own {
		for _, u := range m.Provider.Endpoints {
			fmt.Fprintf(h, " %q", u)
		}
	}
	m.identity = hex.EncodeToString(h.Sum(nil)[:8])
}
