package policies

import "path/filepath"

// State is where a gateway keeps what outlives it.
type State struct {
	Path string // folder of the embedded store, absolute or as the policy's own name is; "" = the folder of the listen address
}

// state compiles where state lives.
func (c *compiler) state(n *node) {
	if path := n.at("path").str(""); path != "" {
		if !filepath.IsAbs(path) {
			path = filepath.Join(c.dir, path)
		}
		c.p.State.Path = path
	}
}
