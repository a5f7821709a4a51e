package policies

// later deals with what the language has and this version does not do yet: what would be unsafe to ignore (boundaries, limits, budgets, proofs)
// is refused, the rest is reported as inert.
func (c *compiler) later(root *node) {
	refuse := func(n *node, key, why string) {
		if v := n.at(key); v != nil {
			c.problemKey(v, "this version cannot honour %s, and ignoring it would be unsafe: %s", key, why)
		}
	}
	inert := func(n *node, key, effect string) {
		if v := n.at(key); v != nil {
			c.notice(v, "no effect in this version: %s", effect)
		}
	}
	for _, e := range root.at("providers").each() {
		c.laterProvider(e.value, inert)
	}
	for _, e := range root.at("routes").each() {
		c.laterRoute(e.value, inert)
	}
	if o := root.at("auth").at("oidc"); o != nil && len(o.items) > 0 {
		refuse(root.at("auth"), "oidc", "no token of the issuer would be checked")
	}
	if root.at("telemetry").at("content").str("off") != "off" {
		inert(root.at("telemetry"), "content", "no content is recorded")
	}
}

func (c *compiler) laterProvider(n *node, inert func(n *node, key, why string)) {
	if on := n.at("on_cancel"); on != nil && on.text != "cancel" {
		inert(n, "on_cancel", "the upstream is cancelled when a client leaves")
	}
}

func (c *compiler) laterRoute(n *node, inert func(n *node, key, why string)) {
	inert(n, "cache", "nothing is recorded")
	if n.at("keepalive").str("off") != "off" {
		inert(n, "keepalive", "no comments of its own are sent")
	}
	inert(n, "lossy", "there is one dialect, and it carries every field")
	if n.at("content").str("off") != "off" {
		inert(n, "content", "no content is recorded")
	}
}
