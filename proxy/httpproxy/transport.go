package httpproxy

import (
	"net/http"

	"github.com/sluice-gateway/sluice/policies"
)

// RoundTripper reaches a provider as its exchanges do: same proxy, same certificates, same connections. Health checks use it.
func (h *Handler) RoundTripper(p *policies.Provider) http.RoundTripper { return h.transports.of(p) }

// Reloaded is told that a new policy is in force: what is remembered of providers of older ones is dropped.
func (h *Handler) Reloaded() { h.transports.forget() }
