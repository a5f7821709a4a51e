package policies

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// Cache says which answers of a route are recorded and given again.
type Cache struct {
	Exact   time.Duration // how long an answer to the same request holds; 0 = off
	Force   bool          // also where temperature is not 0
	Version string        // of what the route itself does to answers; a part of every entry's key
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
		c.semantic(s)
	}
	if k.Exact == 0 {
		return nil
	}
	return k
}

// semantic checks what a later version will look like requests up with.
func (c *compiler) semantic(n *node) {
	m := n.at("model")
	if m == nil {
		return
	}
	if model, ok := reference(c, m, "model", c.p.Models); ok && model.Can != nil && !model.Can["embeddings"] {
		c.problem(m, "model %q can make no embeddings: its `can` does not list them", m.text)
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
