package policies

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The forms of a key's hash and id. An id stands in the key itself and in metrics.
var (
	hashForm = regexp.MustCompile(`^hmac-sha256:[0-9a-f]{64}$`)
	idForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
)

// Limits of the listener when the file gives none, in bytes.
const (
	defaultBody   = 32 << 20
	defaultUpload = 512 << 20
)

// hash checks a key's hash; two keys never share one.
func (c *compiler) hash(n *node, seen map[string]bool) string {
	if n == nil {
		return ""
	}
	switch {
	case !hashForm.MatchString(n.text):
		c.f.mask(n) // it may be the key itself
		c.problem(n, "a hash is hmac-sha256: and 64 lower-case hex digits, as `sluice keys new` prints it")
	case seen[n.text]:
		c.problem(n, "another key has the same hash")
	}
	seen[n.text] = true
	return n.text
}

func (c *compiler) id(n *node, seen map[string]bool) string {
	if n == nil {
		return ""
	}
	switch {
	case !idForm.MatchString(n.text):
		c.problem(n, "an id has letters, digits, - and _, at most 64, and begins with a letter or digit")
	case seen[n.text]:
		c.problem(n, "a key with the id %q is already there", n.text)
	}
	seen[n.text] = true
	return n.text
}

// tenants compiles who may ask.
func (c *compiler) tenants(n *node) {
	hashes := map[string]bool{}
	for _, e := range n.each() {
		if !idForm.MatchString(e.name) {
			c.problemKey(e.value, "the name of a tenant has letters, digits, - and _, at most 64, and begins with a letter or digit")
		}
		t := &Tenant{Name: e.name, Residency: c.regions(e.value.at("residency"))}
		t.resident = residency(t.Residency, c.p.Providers)
		t.Limits, t.Budget = c.limits(e.value.at("limits")), c.budget(e.value.at("budget"))
		ids := map[string]bool{}
		for _, k := range e.value.at("keys").list() {
			t.Keys = append(t.Keys, c.key(t, k, ids, hashes))
		}
		c.p.Tenants[e.name] = t
	}
}

func (c *compiler) key(t *Tenant, n *node, ids, hashes map[string]bool) *Key {
	k := &Key{Tenant: t, ID: c.id(n.at("id"), ids), Hash: c.hash(n.at("hash"), hashes), Limits: c.limits(n.at("limits")), Budget: c.budget(n.at("budget"))}
	if x := n.at("expires"); x != nil {
		k.Expires, _ = parseExpiry(x.text) // its form was checked with the file
	}
	if rs := n.at("routes"); rs != nil {
		k.Routes = map[string]bool{}
		for _, r := range rs.list() {
			if k.Routes[r.text] = true; !c.p.Scopes(r.text) {
				reference(c, r, "route", c.p.byName)
			}
		}
	}
	for _, m := range n.at("models").list() {
		if _, ok := reference(c, m, "model", c.p.Models); !ok {
			continue
		}
		if k.Models == nil {
			k.Models = map[string]bool{}
		}
		k.Models[m.text] = true
		if r := c.p.named(m.text); r != nil {
			c.p.Notices = append(c.p.Notices, c.f.problem(m.pos, m.path, "route %s answers to %q before the model does", r.Name, m.text))
		}
	}
	for _, l := range n.at("labels").each() {
		if k.Labels == nil {
			k.Labels = map[string]string{}
		}
		if k.Labels[l.name] = l.value.text; l.name == "criticality" && !slices.Contains(criticalities, l.value.text) && c.f.root.at("server").has("criticality") {
			c.problem(l.value, "a criticality is %s, not %q", oneOf(criticalities), l.value.text)
		}
	}
	return k
}

// criticalities are the classes of urgency, from what is shed last to what is shed first.
var criticalities = []string{"critical", "default", "sheddable", "batch"}

// auth compiles the gateway's own credentials.
func (c *compiler) auth(n *node) {
	ids, hashes := map[string]bool{}, map[string]bool{}
	for _, a := range n.at("admin").list() {
		c.p.Auth.Admin = append(c.p.Auth.Admin, AdminKey{ID: c.id(a.at("id"), ids), Role: a.at("role").str(""), Hash: c.hash(a.at("hash"), hashes)})
	}
	if s := n.at("pepper"); s != nil {
		c.p.Auth.Pepper = c.secret(s)
	}
	if s := n.at("previous_pepper"); s != nil {
		c.p.Auth.PreviousPepper = c.secret(s)
		if !n.has("pepper") {
			c.problemKey(s, "a previous pepper needs a pepper")
		}
	}
	c.oidc(n.at("oidc"))
	if n.has("pepper") {
		return
	}
	if a := n.at("admin"); a != nil && len(c.p.Auth.Admin) > 0 {
		c.problemKey(a, "keys need auth.pepper, the secret that they are hashed with")
		return
	}
	for _, t := range c.f.root.at("tenants").each() {
		if ks := t.value.at("keys"); ks != nil && len(ks.items) > 0 {
			c.problemKey(ks, "keys need auth.pepper, the secret that they are hashed with")
			return
		}
	}
}

// keys reports whether the policy declares a key for clients, or an issuer of tokens.
func (c *compiler) keys() bool {
	if len(c.p.Auth.OIDC) > 0 {
		return true
	}
	for _, t := range c.p.Tenants {
		if len(t.Keys) > 0 {
			return true
		}
	}
	return false
}

// server compiles where and how the gateway listens.
func (c *compiler) server(n *node) {
	s := &c.p.Server
	if n != nil {
		s.Pos = n.key
	}
	s.Listen, s.Admin = n.at("listen").str("127.0.0.1:8080"), n.at("admin").str("127.0.0.1:8081")
	okListen, okAdmin := c.listener(n.at("listen")), c.listener(n.at("admin"))
	open := okListen && !loopback(s.Listen)
	if okListen && okAdmin && s.Listen == s.Admin && !strings.HasSuffix(s.Listen, ":0") {
		at := n.at("admin")
		if at == nil {
			at = n.at("listen")
		}
		c.problem(at, "the admin listener needs an address of its own")
	}
	if okAdmin && !loopback(s.Admin) && len(c.p.Auth.Admin) == 0 && !c.f.root.at("auth").has("admin") {
		c.problem(n.at("admin"), "an admin listener outside of loopback needs auth.admin")
	}
	c.serverAuth(n, open, okAdmin && !loopback(s.Admin))
	c.strangers()
	if t := n.at("tls"); t != nil {
		c.tls(t)
	}
	s.BodyLimit, s.UploadLimit = n.at("body_limit").size(defaultBody), n.at("upload_limit").size(defaultUpload)
	s.Headers = "full"
	if open {
		s.Headers = "basic"
	}
	s.Headers = n.at("headers").str(s.Headers)
	for _, o := range n.at("cors").list() {
		u, err := url.Parse(o.text)
		if o.text != "*" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.User != nil) {
			c.problem(o, "an origin is written as https://app.example.com, without a path")
			continue
		}
		s.CORS = append(s.CORS, o.text)
	}
	s.Concurrent, s.Memory = n.at("concurrent").integer(0), n.at("memory").size(0)
	if h := n.at("criticality").at("header"); h != nil {
		if s.Criticality = http.CanonicalHeaderKey(h.text); !headerName(h.text) {
			c.problem(h, "%q is not the name of a header", h.text)
		}
	}
	s.EnvoyMode, s.EnvoyBinary = n.at("envoy").at("mode").str("filter"), n.at("envoy").at("binary").str("auto")
}

// serverAuth decides whether clients need a key. On loopback nobody needs one, unless the policy declares keys: then their scopes, labels and
// residencies would silently mean nothing.
func (c *compiler) serverAuth(n *node, openListen, openAdmin bool) {
	a := n.at("auth")
	if a == nil {
		c.p.Server.AuthNone = !openListen && !openAdmin && !c.keys()
		if !c.p.Server.AuthNone && !c.keys() && openListen {
			c.p.Notices = append(c.p.Notices, c.f.problem(n.at("listen").pos, n.at("listen").path, "keys are required outside of loopback and the policy declares none"))
		}
		return
	}
	c.p.Server.AuthNone = a.text == "none"
	if !c.p.Server.AuthNone {
		return
	}
	switch {
	case openListen:
		c.problem(a, "auth: none is for loopback, and listen is %s", c.p.Server.Listen)
	case openAdmin:
		c.problem(a, "auth: none is for loopback, and admin is %s", c.p.Server.Admin)
	case c.keys():
		c.notice(a, "the keys of the policy are not asked for")
	}
}

// strangers tells that what tenants are held to means nothing where nobody is asked who they are.
func (c *compiler) strangers() {
	if !c.p.Server.AuthNone || c.keys() {
		return
	}
	for _, e := range c.f.root.at("tenants").each() {
		for _, key := range []string{"limits", "budget", "residency"} {
			if v := e.value.at(key); v != nil {
				c.notice(v, "nobody is asked for a key, so no request is this tenant's: declare keys, or server.auth: required")
			}
		}
	}
}

func (c *compiler) tls(n *node) {
	for _, key := range []string{"cert", "key"} {
		if !n.has(key) {
			c.problemKey(n, "tls needs cert and key")
			return
		}
	}
	c.p.Server.TLSCert, c.p.Server.TLSKey = c.file(n.at("cert").str("")), c.file(n.at("key").str(""))
	if c.o.Offline {
		return
	}
	for _, key := range []string{"cert", "key"} {
		if f := n.at(key); f != nil {
			if _, err := c.o.ReadFile(c.file(f.text)); err != nil {
				c.problem(f, "file %s: %s", c.file(f.text), plainError(err))
			}
		}
	}
}

// listener checks an address to listen on; an absent one is the default's business.
func (c *compiler) listener(n *node) bool {
	if n == nil {
		return true
	}
	host, port, err := net.SplitHostPort(n.text)
	p, perr := strconv.Atoi(port)
	if err != nil || perr != nil || p < 0 || p > 65535 || strings.ContainsAny(host, "/ ") {
		c.problem(n, "must be an address such as 127.0.0.1:8080 or :8080")
		return false
	}
	return true
}

// loopback reports whether only this machine can reach the address.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// telemetry compiles where records go.
func (c *compiler) telemetry(n *node) {
	t := &c.p.Telemetry
	t.Content, t.AccessLog = n.at("content").str("off"), n.at("access_log").boolean(true)
	e := n.at("otlp").at("endpoint")
	if e == nil {
		return
	}
	t.OTLPEndpoint = e.text
	if e.kind == mapNode {
		name := e.at("env").str("")
		t.OTLPEndpoint, _ = c.o.Env(name)
		if t.OTLPEndpoint == "" {
			c.notice(e, "environment variable %s is not set: nothing is exported", name)
			return
		}
	}
	u, err := url.Parse(t.OTLPEndpoint)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || !portOK(u.Port()):
		c.problem(e, "an OTLP endpoint is a URL that begins with http:// or https://")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		if e.kind == scalarNode {
			c.f.mask(e)
		}
		c.problem(e, "an OTLP endpoint has no user, no query and no fragment")
	}
}
