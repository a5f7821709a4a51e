package policies

import (
	"net/url"
	"strings"
)

// oidc compiles the identity providers. They come after the tenants: a policy with one tenant need not say which.
func (c *compiler) oidc(n *node) {
	for _, o := range n.list() {
		id := OIDC{Issuer: o.at("issuer").str(""), Audience: o.at("audience").str("")}
		if u, err := url.Parse(id.Issuer); err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
			u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname()+":0")) {
			c.problem(o.at("issuer"), "an issuer is a URL such as https://login.example.com; http:// is for loopback")
		}
		switch t := o.at("tenant"); {
		case t != nil:
			id.Tenant = c.claim(t)
		case len(c.p.Tenants) == 1:
			id.DefaultTenant = sortedKeys(c.p.Tenants)[0]
		default:
			c.problemKey(o, "which tenant? Name the claim that says so: tenant: claims.org")
		}
		for _, l := range o.at("labels").each() {
			if id.Labels == nil {
				id.Labels = map[string][]string{}
			}
			id.Labels[l.name] = c.claim(l.value)
		}
		c.p.Auth.OIDC = append(c.p.Auth.OIDC, id)
	}
}

// claim reads claims.a.b.
func (c *compiler) claim(n *node) []string {
	path := strings.Split(n.text, ".")
	for _, name := range path {
		if name == "" || path[0] != "claims" || len(path) < 2 {
			c.problem(n, "a claim is written as claims.org, or claims.realm.team for one within another")
			return nil
		}
	}
	return path[1:]
}
