package admin

import (
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/tenants"
)

// endpoint is one method of one path, and the smallest role that may use it.
type endpoint struct {
	method, path string
	role         tenants.Role
	handle       http.HandlerFunc
}

// endpoints is all that the listener answers beside the two health checks.
func (s *server) endpoints() []endpoint {
	return []endpoint{
		{"GET", "/metrics", tenants.Viewer, s.o.Metrics.ServeHTTP},
		{"GET", "/admin/status", tenants.Viewer, s.status},
		{"GET", "/admin/openapi.json", tenants.Viewer, s.openapi},
		{"GET", "/admin/keys", tenants.Viewer, s.keys},
		{"POST", "/admin/keys", tenants.Admin, s.makeKey},
		{"DELETE", "/admin/keys/{tenant}/{id}", tenants.Admin, s.revokeKey},
		{"POST", "/admin/keys/{tenant}/{id}/rotate", tenants.Admin, s.rotateKey},
		{"GET", "/admin/budgets", tenants.Viewer, s.budgets},
		{"GET", "/admin/usage", tenants.Viewer, s.usage},
		{"POST", "/admin/cache/purge", tenants.Operator, s.purge},
		{"POST", "/admin/drain", tenants.Operator, s.drain},
		{"GET", "/debug/pprof/", tenants.Admin, pprof.Index},
		{"GET", "/debug/pprof/cmdline", tenants.Admin, pprof.Cmdline},
		{"GET", "/debug/pprof/profile", tenants.Admin, pprof.Profile},
		{"GET", "/debug/pprof/symbol", tenants.Admin, pprof.Symbol},
		{"GET", "/debug/pprof/trace", tenants.Admin, pprof.Trace},
	}
}

// register puts the endpoints on the mux: a path once, whatever number of methods it takes.
func (s *server) register(mux *http.ServeMux) {
	byPath := map[string][]endpoint{}
	for _, e := range s.endpoints() {
		byPath[e.path] = append(byPath[e.path], e)
	}
	for path, es := range byPath {
		mux.Handle(path, s.choose(es))
	}
	mux.Handle("/", s.needs(tenants.Viewer, s.unknown))
}

// choose answers a path by the request's method; any other than the path's gets a 405, from those who may know.
func (s *server) choose(es []endpoint) http.Handler {
	var allow []string
	byMethod := map[string]http.Handler{}
	for _, e := range es {
		allow = append(allow, e.method)
		byMethod[e.method] = s.audited(e, s.needs(e.role, e.handle))
	}
	if get := byMethod[http.MethodGet]; get != nil {
		byMethod[http.MethodHead] = get
	}
	slices.Sort(allow)
	takes := strings.Join(allow, ", ")
	refuse := s.needs(tenants.Viewer, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", takes)
		fail(w, http.StatusMethodNotAllowed, "method_not_allowed", "This path takes "+takes+".")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := byMethod[r.Method]
		if h == nil {
			h = refuse
		}
		h.ServeHTTP(w, r)
	})
}
