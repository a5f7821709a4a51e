package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/router"
)

// cacheFacts are what the route's cache would do with the request. Times are as the policy writes them.
type cacheFacts struct {
	Exact    string         `json:"exact,omitempty"` // how long an answer to the same request holds
	Force    bool           `json:"force,omitempty"`
	Semantic *semanticFacts `json:"semantic,omitempty"`
}

type semanticFacts struct {
	Model     string  `json:"model"`
	Provider  string  `json:"provider"`
	Threshold float64 `json:"threshold"`
	TTL       string  `json:"ttl"`
	Timeout   string  `json:"timeout"`
	Bypass    string  `json:"bypass,omitempty"` // why no like question is looked up; absent: one is
}

// cached says what the cache of the route does; env is the request's, nil when it was not read.
func cached(d *router.Decision, route *policies.Route, env *llm.Envelope) *cacheFacts {
	c := route.Cache
	if c == nil || env == nil {
		return nil
	}
	f := &cacheFacts{Force: c.Force}
	if c.Exact > 0 {
		f.Exact = c.Exact.String()
	}
	s := c.Semantic
	if s == nil {
		return f
	}
	f.Semantic = &semanticFacts{Model: s.Model.Key, Provider: s.Model.Provider.Name, Threshold: s.Threshold, TTL: s.TTL.String(), Timeout: s.Timeout.String()}
	_, why := proxy.Likable(env)
	if f.Semantic.Bypass = cmp.Or(why, proxy.Repeatable(c, env)); f.Semantic.Bypass == "" && !d.Bounds.Allows(s.Model.Provider) {
		f.Semantic.Bypass = "provider " + s.Model.Provider.Name + ` is outside "` + strings.Join(d.Bounds.Names, `", "`) + `"`
	}
	return f
}

// text is one line, empty where the route has no cache.
func (f *cacheFacts) text() string {
	if f == nil {
		return ""
	}
	var parts []string
	if f.Exact != "" {
		parts = append(parts, "the same request for "+f.Exact)
	}
	if s := f.Semantic; s != nil {
		like := fmt.Sprintf("a like question (%s at %s, from %g) for %s", s.Model, s.Provider, s.Threshold, s.TTL)
		if s.Bypass != "" {
			like += ", but not this one: " + s.Bypass
		}
		parts = append(parts, like)
	}
	return strings.Join(parts, "; ")
}
