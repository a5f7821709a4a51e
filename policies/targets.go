package policies

import (
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// providers compiles who can answer.
func (c *compiler) providers(n *node) {
	for _, e := range n.each() {
		if what, taken := kinds[e.name]; taken {
			c.problemKey(e.value, "the name %s is taken: it stands for every %s", e.name, what)
			continue
		}
		c.provider(e.name, e.value)
	}
	if n != nil && len(n.entries) == 0 {
		c.problemKey(n, "at least one provider is needed")
	}
}

func (c *compiler) provider(name string, n *node) {
	p := &Provider{
		Name: name, Engine: n.at("engine").str(""), Preset: n.at("preset").str(""), Dialect: n.at("dialect").str(""),
		Region: n.at("region").str(""), Concurrent: n.at("concurrent").integer(0), Cancel: "cancel",
		TraceContext: n.at("trace_context").boolean(false), Auth: AuthForm{Header: "Authorization", Prefix: "Bearer "}, Pos: n.key,
	}
	before := len(c.problems)
	kinds := 0
	for _, k := range []string{"engine", "preset", "dialect"} {
		if n.has(k) {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		c.problemKey(n, "a provider has exactly one of engine (an own pool), preset (a known provider) and dialect (any other)")
	case n.has("engine"):
		c.pool(p, n)
	case n.has("preset"):
		c.preset(p, n)
	default:
		c.external(p, n)
	}
	c.credentials(p, n)
	c.conduct(p, n)
	p.keeping(n, c.o.Presets[p.Preset])
	if len(c.problems) == before || kinds == 1 {
		c.p.Providers[name] = p
	}
}

// pool compiles an own pool.
func (c *compiler) pool(p *Provider, n *node) {
	p.Own = true
	p.Dialect = "openai"
	for _, key := range []string{"base_url"} {
		if b := n.at(key); b != nil {
			c.problemKey(b, "an own pool has endpoints, not %s", key)
		}
	}
	if !n.has("endpoints") {
		c.problemKey(n, "an own pool needs endpoints")
	}
	seen := map[string]bool{}
	for _, e := range n.at("endpoints").list() {
		u := c.url(e, true)
		if u == nil {
			continue
		}
		if seen[u.String()] {
			c.problem(e, "endpoint %s is listed twice", u)
			continue
		}
		seen[u.String()] = true
		p.Endpoints = append(p.Endpoints, u)
	}
	if g := n.at("gpu"); g != nil {
		p.GPUPerHour = g.at("usd_per_hour").number(0) * float64(g.at("count").integer(1))
	}
}

// preset compiles a provider of the table.
func (c *compiler) preset(p *Provider, n *node) {
	c.externalOnly(n)
	k := n.at("preset")
	if k == nil {
		return
	}
	t, ok := c.o.Presets[k.text]
	if !ok {
		c.problem(k, "no preset is named %q%s", k.text, meant(k.text, sortedKeys(c.o.Presets)))
		return
	}
	p.Dialect = t.Dialect
	if t.Auth.Header != "" {
		p.Auth = t.Auth
	}
	if b := n.at("base_url"); b != nil {
		if u := c.url(b, false); u != nil {
			p.Endpoints = []*url.URL{u}
		}
	} else if !n.has("base_url") {
		if strings.Contains(t.BaseURL, "{") || t.BaseURL == "" {
			c.problemKey(n, "preset %s needs a base_url of your own, such as %s", k.text, t.BaseURL)
		} else if u, err := url.Parse(t.BaseURL); err == nil {
			p.Endpoints = []*url.URL{u}
		} else {
			c.problem(k, "preset %s has a broken base URL", k.text)
		}
	}
	if t.NeedsKey && (!n.has("keys") || n.at("keys") != nil && len(n.at("keys").items) == 0) {
		hint := ""
		if t.KeyEnv != "" {
			hint = ": keys: [{env: " + t.KeyEnv + "}]"
		}
		c.problemKey(n, "preset %s needs a key%s", k.text, hint)
	}
}

// external compiles a provider that is known by its dialect only.
func (c *compiler) external(p *Provider, n *node) {
	c.externalOnly(n)
	if !n.has("base_url") {
		c.problemKey(n, "a provider with a dialect needs a base_url")
	}
	if b := n.at("base_url"); b != nil {
		if u := c.url(b, false); u != nil {
			p.Endpoints = []*url.URL{u}
		}
	}
}

func (c *compiler) externalOnly(n *node) {
	for _, key := range []string{"endpoints", "gpu"} {
		if b := n.at(key); b != nil {
			c.problemKey(b, "%s belongs to an own pool (engine); an external provider has a base_url", key)
		}
	}
}

// credentials compiles how a provider is authenticated against.
func (c *compiler) credentials(p *Provider, n *node) {
	if a := n.at("auth"); a != nil {
		if h := a.at("header"); h != nil {
			name := http.CanonicalHeaderKey(h.text)
			switch {
			case !headerName(h.text):
				c.problem(h, "%q is not the name of a header", h.text)
			case slices.Contains([]string{"Host", "Content-Length", "Content-Type", "Transfer-Encoding", "Connection", "Cookie"}, name):
				c.problem(h, "header %s cannot take a credential", name)
			}
			p.Auth = AuthForm{Header: name, Prefix: a.at("prefix").str(""), Extra: p.Auth.Extra}
			if name == "Authorization" && !a.has("prefix") {
				p.Auth.Prefix = "Bearer "
			}
		}
	}
	for _, k := range n.at("keys").list() {
		p.Keys = append(p.Keys, c.secret(k))
	}
}

// conduct compiles what is common to all providers.
func (c *compiler) conduct(p *Provider, n *node) {
	switch on := n.at("on_cancel"); {
	case on == nil:
	case on.kind == mapNode:
		p.Cancel, p.DrainTokens = "drain", on.at("drain").tokens(0)
	default:
		p.Cancel = on.text
	}
	if q := n.at("queue"); q != nil {
		p.QueueMax, p.QueueWait = q.at("max").integer(0), q.at("wait").duration(0)
		if !n.has("concurrent") {
			c.problemKey(q, "a queue needs concurrent: without a limit nothing waits")
		}
	}
	if f := n.at("ca"); f != nil {
		p.CA = c.file(f.text)
		if !c.o.Offline {
			if pem, err := c.o.ReadFile(p.CA); err != nil {
				c.problem(f, "certificates %s: %s", p.CA, plainError(err))
			} else if !x509.NewCertPool().AppendCertsFromPEM(pem) {
				c.problem(f, "%s holds no PEM certificate", p.CA)
			}
		}
	}
	if x := n.at("proxy"); x != nil {
		p.Proxy = c.address(x)
	}
}

// url reads an API's base URL. An own endpoint always ends in /v1; another base URL gets one only when it has no path at all.
func (c *compiler) url(n *node, own bool) *url.URL {
	u := c.address(n)
	if u == nil {
		return nil
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if u.Path == "" || own && !strings.HasSuffix(u.Path, "/v1") {
		u.Path += "/v1"
	}
	u.RawPath = ""
	return u
}

// address reads an http or https URL without anything that a base URL has not.
func (c *compiler) address(n *node) *url.URL {
	if i := strings.IndexAny(n.text, "{}"); i >= 0 {
		c.problem(n, "the placeholder in %q must be replaced", n.text)
		return nil
	}
	u, err := url.Parse(n.text)
	switch {
	case err != nil || u.Host == "" && u.Scheme != "" && u.Opaque == "":
		c.problem(n, "must be a URL such as https://host/v1")
	case u.Scheme != "http" && u.Scheme != "https":
		c.problem(n, "must be a URL that begins with http:// or https://")
	case u.User != nil:
		c.f.mask(n)
		c.problem(n, "a URL must not hold a credential")
	case u.Hostname() == "" || !portOK(u.Port()):
		c.problem(n, "must be a URL such as https://host/v1")
	case u.RawQuery != "" || u.Fragment != "":
		c.f.mask(n)
		c.problem(n, "a base URL has no query and no fragment")
	default:
		return u
	}
	return nil
}

func portOK(port string) bool {
	if port == "" {
		return true
	}
	_, err := net.LookupPort("tcp", port)
	return err == nil && strings.Trim(port, "0123456789") == ""
}

// headerName reports whether the text is the name of a header.
func headerName(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	}) < 0
}

// models compiles what can be called.
func (c *compiler) models(n *node) {
	for _, e := range n.each() {
		m := &Model{Key: e.name, Name: e.value.at("name").str(""), Context: e.value.at("context").tokens(0)}
		if strings.Contains(e.name, "*") {
			c.problemKey(e.value, "the name of a model holds no *")
		}
		if pn := e.value.at("provider"); pn != nil {
			p, ok := reference(c, pn, "provider", c.p.Providers)
			if ok {
				m.Provider = p
				m.identify()
			}
		}
		if can := e.value.at("can"); can != nil {
			m.Can = map[string]bool{}
			for _, a := range can.strings() {
				m.Can[a] = true
			}
		}
		m.Price = c.price(m, e.value.at("price"))
		c.p.Models[e.name] = m
	}
}

// tiers compiles the models by strength.
func (c *compiler) tiers(n *node) {
	for _, item := range n.list() {
		nm := item.at("name")
		if nm == nil {
			continue
		}
		if nm.text == "by_gain" {
			c.problem(nm, "the name by_gain is taken")
			continue
		}
		if c.p.tier(nm.text) != nil {
			c.problem(nm, "a tier named %q is already there", nm.text)
			continue
		}
		t := &Tier{Name: nm.text, Rank: len(c.p.Tiers)}
		c.p.Tiers = append(c.p.Tiers, t)
		t.Models = c.modelList(item.at("models"))
		for _, m := range t.Models {
			if m.Tier == "" {
				m.Tier = t.Name
			}
		}
	}
}

// modelList resolves a list of models.
func (c *compiler) modelList(n *node) []*Model {
	out := []*Model{}
	for _, i := range n.list() {
		m, ok := reference(c, i, "model", c.p.Models)
		switch {
		case !ok:
		case slices.Contains(out, m):
			c.problem(i, "model %q is listed twice", i.text)
		default:
			out = append(out, m)
		}
	}
	return out
}

// boundaries compiles the hard limits. Everything wrong with one is a problem: none is ever left out.
func (c *compiler) boundaries(n *node) {
	names := map[string]bool{}
	for _, item := range n.list() {
		b := &Boundary{Name: item.at("name").str(""), When: c.expr(item.at("when")), Only: map[string]bool{}, Pos: item.pos}
		if names[b.Name] && b.Name != "" {
			c.problem(item.at("name"), "a boundary named %q is already there", b.Name)
		}
		names[b.Name] = true
		set := bound{name: b.Name, allowed: map[string]bool{}}
		only := item.at("only")
		b.Own = only.str("") == "own"
		c.kind(only.str(""), b, &set)
		for _, i := range only.list() {
			if i.text == "own" {
				b.Own = true
				continue
			}
			if c.kind(i.text, b, &set) {
				continue
			}
			if _, ok := reference(c, i, "provider", c.p.Providers); ok {
				b.Only[i.text], set.allowed[i.text] = true, true
			}
		}
		own := false
		for name, p := range c.p.Providers {
			if b.Own && p.Own {
				set.allowed[name], own = true, true
			}
		}
		if b.Own && !own {
			c.notice(only, "there is no own pool: nothing is eligible while this boundary holds")
		}
		c.p.Boundaries = append(c.p.Boundaries, b)
		c.p.bounds = append(c.p.bounds, set)
	}
}

// passthrough compiles the paths without a model.
func (c *compiler) passthrough(n *node) {
	for _, e := range n.each() {
		path := strings.TrimRight(e.name, "/")
		switch {
		case !strings.HasPrefix(e.name, "/") || strings.ContainsAny(e.name, "?#*% ") || strings.Contains(e.name, "//") || strings.Contains(e.name, "/.") || path == "":
			c.problemKey(e.value, "must be a path such as /v1/files")
		case slices.Contains([]string{"/v1", "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/models"}, path):
			c.problemKey(e.value, "%s is Sluice's own", path)
		case !strings.HasPrefix(path, "/v1/"):
			c.problemKey(e.value, "must lie under /v1/: no other path is served")
		}
		if p, ok := reference(c, e.value, "provider", c.p.Providers); ok {
			c.p.Passthrough = append(c.p.Passthrough, Passthrough{Path: path, Provider: p})
		}
	}
	slices.SortStableFunc(c.p.Passthrough, func(a, b Passthrough) int { return len(b.Path) - len(a.Path) })
}

// defaultTimeouts are the contract's.
var defaultTimeouts = Timeouts{
	Connect: 2 * time.Second, Headers: 30 * time.Second, FirstToken: 30 * time.Second, Idle: 30 * time.Second,
	Answer: 5 * time.Minute, Total: 10 * time.Minute,
}

// DefaultTimeouts returns the contract's limits, for paths that belong to no route.
func DefaultTimeouts() Timeouts { return defaultTimeouts }
