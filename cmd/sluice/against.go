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

// widerReach compares what can be reached whatever the request says: by each tenant, by each key where that is not said yet, and by keys that are to be made.
func widerReach(old, new *policies.Policy) []string {
	said := map[[3]string]bool{} // by tenant, route and provider; on no route: at all
	lines := widerLines(reachable(old), reachable(new), func(tenant, route, provider string) bool {
		said[[3]string{tenant, route, provider}], said[[3]string{tenant, "", provider}] = true, true
		return true
	})
	for _, name := range askingTenants(new) {
		keys := declared(old, name)
		for _, k := range declared(new, name) {
			i := slices.IndexFunc(keys, func(o *policies.Key) bool { return o.ID == k.ID })
			if i < 0 {
				continue
			}
			was, one := keys[i], name+"/"+k.ID
			lines = append(lines, widerLines(reachOf(old, one, []asker{{tenant: was.Tenant, key: was}}), reachOf(new, one, []asker{{tenant: k.Tenant, key: k}}),
				func(_, route, provider string) bool { return !said[[3]string{name, route, provider}] })...)
		}
		before, known := madeReach(old, name), old.Tenants[name] != nil
		for _, provider := range madeReach(new, name) {
			if known && !said[[3]string{name, "", provider}] && !slices.Contains(before, provider) {
				lines = append(lines, fmt.Sprintf("%s: a key made through the admin listener can now reach %s", name, provider))
			}
		}
	}
	return lines
}

// declared returns a tenant's keys where keys are asked for.
func declared(p *policies.Policy, tenant string) []*policies.Key {
	t := p.Tenants[tenant]
	if t == nil || p.Server.AuthNone {
		return nil
	}
	return t.Keys
}

// widerLines lists what lines reach that they did not reach before, where tell says that it is to be told.
func widerLines(old, new []*reach, tell func(tenant, route, provider string) bool) []string {
	before := map[[2]string]*reach{}
	for _, l := range old {
		before[[2]string{l.tenant, l.route}] = l
	}
	var lines []string
	for _, l := range new {
		was := before[[2]string{l.tenant, l.route}]
		more := slices.DeleteFunc(slices.Clone(l.providers), func(pr *policies.Provider) bool {
			return was != nil && was.causes[pr.Name] != nil || !tell(l.tenant, l.route, pr.Name)
		})
		if was == nil && len(more) > 0 {
			lines = append(lines, "new: "+l.text())
			continue
		}
		for _, pr := range more {
			lines = append(lines, fmt.Sprintf("%s %s: can now reach %s (%s)", l.tenant, l.route, pr.Name, strings.Join(l.causes[pr.Name], ", ")))
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
		if p := is.Proxy; p != nil && (was.Proxy == nil || *was.Proxy != *p) {
			lines = append(lines, fmt.Sprintf("provider %q: now by way of %s", name, p.Redacted()))
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
