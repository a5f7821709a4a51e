package admin

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/cache"
	"github.com/sluice-gateway/sluice/policies"
)

// purge forgets recorded answers: of a tenant, a route, a model, of all that match what the body names. An empty body names everything.
func (s *server) purge(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Tenant string `json:"tenant"`
		Route  string `json:"route"`
		Model  string `json:"model"`
	}
	if !read(w, r, &body) { // a misspelt tenant must not purge them all
		return
	}
	noteTarget(r, s.purged(body.Tenant, body.Route, body.Model))
	f := cache.Filter{Tenant: body.Tenant, Route: body.Route, Model: body.Model}
	if err := s.o.Gateway.Purge(r.Context(), f); err != nil {
		fail(w, http.StatusServiceUnavailable, "state_unavailable", "Purged here; the gateways that share the state could not be told.")
		return
	}
	write(w, http.StatusOK, struct {
		Purged bool `json:"purged"`
	}{true})
}

// purged names what a purge is of, for the audit log. A name that the policy does not have is not repeated.
func (s *server) purged(tenant, route, model string) string {
	p, text := s.o.Gateway.Snapshot().Policy, ""
	add := func(what, name string, known bool) {
		if name == "" {
			return
		}
		if !known {
			name = "?"
		}
		text += " " + what + "=" + name
	}
	add("tenant", tenant, p.Tenants[tenant] != nil)
	add("route", route, slices.ContainsFunc(p.Routes, func(r *policies.Route) bool { return r.Name == route }))
	add("model", model, p.Models[model] != nil)
	return cmp.Or(strings.TrimPrefix(text, " "), "everything")
}
