package proxy

import (
	"context"
	"time"

	"github.com/sluice-gateway/sluice/cache"
)

// Purge forgets recorded answers: those of a tenant, a route, a model, or all. The error says that gateways which share the store were not told.
func (g *Gateway) Purge(ctx context.Context, f cache.Filter) error {
	return g.cache.Purge(ctx, f, time.Now())
}

// Cached returns what the cache has seen and holds.
func (g *Gateway) Cached() cache.Counts { return g.cache.Counts() }

// Close ends what the gateway does in the background. No exchange may be open.
func (g *Gateway) Close() { g.cache.Close() }
