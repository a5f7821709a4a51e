package proxy

import (
	"net/http"
	"slices"

	"github.com/sluice-gateway/sluice/policies"
)

// preflight answers a browser's OPTIONS; nil when the request is none.
func preflight(p *policies.Policy, h *Head) *Reply {
	if h.Method != http.MethodOptions || h.Header.Get("Access-Control-Request-Method") == "" {
		return nil
	}
	fields := corsFields(p, h)
	if fields == nil {
		return nil
	}
	fields = append(fields,
		Field{"Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS"},
		Field{"Access-Control-Max-Age", "600"})
	if asked := h.Header.Get("Access-Control-Request-Headers"); asked != "" && len(asked) <= 1024 {
		fields = append(fields, Field{"Access-Control-Allow-Headers", asked})
	}
	return &Reply{Status: http.StatusNoContent, Header: fields}
}

// corsFields returns the headers that let the page of an allowed origin read an answer; nil for any other.
func corsFields(p *policies.Policy, h *Head) []Field {
	origin := h.Header.Get("Origin")
	if origin == "" || !slices.Contains(p.Server.CORS, origin) && !slices.Contains(p.Server.CORS, "*") {
		return nil
	}
	return []Field{
		{"Access-Control-Allow-Origin", origin},
		{"Access-Control-Expose-Headers", "x-request-id, x-sluice-request-id, x-sluice-route, x-sluice-model, x-sluice-provider, x-sluice-tier, x-sluice-attempts, x-sluice-cache, x-sluice-reason, x-sluice-warnings, retry-after"},
		{"Vary", "Origin"},
	}
}
