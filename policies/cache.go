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

// Semantic says when an answer to a like question is given again.
type Semantic struct {
	Model     *Model        // makes the embeddings
	Threshold float64       // smallest cosine of two questions that may be alike
	TTL       time.Duration // how long an answer holds
	Timeout   time.Duration // of one embedding; what takes longer is a miss
}

// Defaults of the semantic cache; docs/cache.md says what the threshold was measured with.
const (
	DefaultThreshold       = 0.85
	DefaultSemanticTimeout = 200 * time.Millisecond
)

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

// semantic compiles the look-up of like questions; nil = it names no model that could serve it.
func (c *compiler) semantic(r *Route, n *node) *Semantic {
	m := n.at("model")
	if m == nil {
		return nil
	}
	model, ok := reference(c, m, "model", c.p.Models)
	switch {
	case !ok || model.Provider == nil:
		return nil
	case model.Can != nil && !model.Can["embeddings"]:
		c.problem(m, "model %q can make no embeddings: its `can` does not list them", m.text)
		return nil
	case !c.p.mayReach(r, model.Provider):
		c.notice(m, "no question is looked up: a boundary or the residency keeps the route from provider %q", model.Provider.Name)
	}
	return &Semantic{
		Model: model, Threshold: n.at("threshold").number(DefaultThreshold),
		TTL: n.at("ttl").duration(0), Timeout: n.at("timeout").duration(DefaultSemanticTimeout),
	}
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
