package policies

import (
	"slices"
	"strings"
)

// Route returns the route that answers to what a client wrote in "model", for the key (nil: nobody is asked for one). A route's own name comes
// first, then the first route in the file's order whose match holds, then a model's own name where the key lists it. A route outside the
// key's scope is as unknown as one that does not exist.
func (p *Policy) Route(model string, key *Key) (*Route, bool) {
	if r := p.named(model); r != nil {
		if key != nil && key.Routes != nil && !key.Routes[r.Name] {
			return nil, false
		}
		return r, true
	}
	if key != nil && key.Models[model] {
		r, ok := p.direct[model]
		return r, ok
	}
	return nil, false
}

// named returns the route of the file that answers to the name.
func (p *Policy) named(model string) *Route {
	if r, ok := p.byName[model]; ok {
		return r
	}
	for _, r := range p.Routes {
		for _, m := range r.Matches {
			if matches(m, model) {
				return r
			}
		}
	}
	return nil
}

// matches reports whether the name fits the pattern, in which * stands for any run of characters.
func matches(pattern, name string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	if !strings.HasPrefix(name, head) {
		return false
	}
	name = name[len(head):]
	for {
		piece, more, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(name, rest)
		}
		i := strings.Index(name, piece)
		if i < 0 {
			return false
		}
		name, rest = name[i+len(piece):], more
	}
}

// Listed returns what GET /v1/models shows the key (nil: nobody is asked for one): the names of routes, the literal names of their match and the
// models that the key may call by their own name. Patterns are not listed.
func (p *Policy) Listed(key *Key) []string {
	var out []string
	add := func(name string) {
		if _, ok := p.Route(name, key); ok && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for _, r := range p.Routes {
		add(r.Name)
		for _, m := range r.Matches {
			if !strings.Contains(m, "*") {
				add(m)
			}
		}
	}
	if key != nil {
		for _, m := range sortedKeys(key.Models) {
			add(m)
		}
	}
	return out
}

// PassthroughFor reports whether a path without a model is given to a provider, and returns it; nil where the path is outside the scope of the key (nil:
// nobody is asked for one). The longest path wins; it must end where a segment ends.
func (p *Policy) PassthroughFor(path string, key *Key) (pr *Provider, ok bool) {
	for _, t := range p.Passthrough {
		if path == t.Path || strings.HasPrefix(path, t.Path) && (strings.HasSuffix(t.Path, "/") || path[len(t.Path)] == '/') {
			if key != nil && key.Routes != nil && !key.Routes[t.Path] {
				return nil, true
			}
			return t.Provider, true
		}
	}
	return nil, false
}

// Scopes reports whether a key's list of routes may hold the name: a route's, or a passthrough path.
func (p *Policy) Scopes(name string) bool {
	return p.byName[name] != nil || slices.ContainsFunc(p.Passthrough, func(t Passthrough) bool { return t.Path == name })
}
