package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/policies"
)

// widened lists every difference between two policies by which a tenant, a route or a boundary may reach more than before.
func widened(old, new *policies.Policy) []string {
	lines := widerReach(old, new)
	lines = append(lines, widerBoundaries(old, new)...)
	lines = append(lines, movedProviders(old, new)...)
	if new.Server.AuthNone && !old.Server.AuthNone {
		lines = append(lines, "server.auth: no key is asked for any more")
	}
	return lines
}

// widerReach compares what can be reached whatever the request says.
func widerReach(old, new *policies.Policy) []string {
	before := map[[2]string]*reach{}
	for _, l := range reachable(old) {
		before[[2]string{l.tenant, l.route}] = l
	}
	var lines []string
	for _, l := range reachable(new) {
		was := before[[2]string{l.tenant, l.route}]
		if was == nil && len(l.providers) > 0 {
			lines = append(lines, "new: "+l.text())
			continue
		}
		for _, pr := range l.providers {
			if was.causes[pr.Name] == nil {
				lines = append(lines, fmt.Sprintf("%s %s: can now reach %s (%s)", l.tenant, l.route, pr.Name, strings.Join(l.causes[pr.Name], ", ")))
			}
		}
	}
	return lines
}

// widerBoundaries compares boundaries by name. A changed condition cannot be proved to hold as often as before, so it is always listed.
func widerBoundaries(old, new *policies.Policy) []string {
	now := map[string]*policies.Boundary{}
	for _, b := range new.Boundaries {
		now[b.Name] = b
	}
	var lines []string
	for _, was := range old.Boundaries {
		b := now[was.Name]
		if b == nil {
			lines = append(lines, fmt.Sprintf("boundary %q: removed", was.Name))
			continue
		}
		before := inside(old, was)
		for _, name := range inside(new, b) {
			if !slices.Contains(before, name) {
				lines = append(lines, fmt.Sprintf("boundary %q: now lets through %s", was.Name, name))
			}
		}
		switch a, b := condition(was), condition(b); {
		case a == b, b == "": // without a condition it always holds
		case a == "":
			lines = append(lines, fmt.Sprintf("boundary %q: held always, holds now only when %s", was.Name, b))
		default:
			lines = append(lines, fmt.Sprintf("boundary %q: held when %s, holds now when %s", was.Name, a, b))
		}
	}
	return lines
}

// inside returns the providers that a boundary leaves, sorted.
func inside(p *policies.Policy, b *policies.Boundary) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(p.Providers)) {
		if b.Own && p.Providers[name].Own || b.Only[name] {
			names = append(names, name)
		}
	}
	return names
}

func condition(b *policies.Boundary) string {
	if b.When == nil {
		return ""
	}
	return b.When.String()
}

// movedProviders finds providers that kept their name and became somebody else, whom every boundary that names them now lets through.
func movedProviders(old, new *policies.Policy) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(new.Providers)) {
		was, is := old.Providers[name], new.Providers[name]
		if was == nil {
			continue
		}
		if was.Own != is.Own && !is.Own {
			lines = append(lines, fmt.Sprintf("provider %q: was own, is external", name))
		}
		if was.Region != is.Region && is.Region != "" {
			lines = append(lines, fmt.Sprintf("provider %q: region was %q, is %q", name, was.Region, is.Region))
		}
		before := hosts(was)
		for _, h := range hosts(is) {
			if !slices.Contains(before, h) {
				lines = append(lines, fmt.Sprintf("provider %q: now at %s", name, h))
			}
		}
	}
	return lines
}

func hosts(p *policies.Provider) []string {
	var out []string
	for _, u := range p.Endpoints {
		out = append(out, u.Scheme+"://"+u.Host+u.Path)
	}
	return out
}
