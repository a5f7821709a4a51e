package policies

// later reports what the language has and this version does not do yet.
func (c *compiler) later(root *node) {
	inert := func(n *node, key, effect string) {
		if v := n.at(key); v != nil {
			c.notice(v, "no effect in this version: %s", effect)
		}
	}
	for _, e := range root.at("routes").each() {
		c.laterRoute(e.value, inert)
	}
	if root.at("telemetry").at("content").str("off") != "off" {
		inert(root.at("telemetry"), "content", "no content is recorded")
	}
}

func (c *compiler) laterRoute(n *node, inert func(n *node, key, why string)) {
	inert(n, "lossy", "there is one dialect, and it carries every field")
	if n.at("content").str("off") != "off" {
		inert(n, "content", "no content is recorded")
	}
}
