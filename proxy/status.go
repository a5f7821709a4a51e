package proxy

import (
	"time"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers"
)

// Resting returns the provider's credentials that rest until a reset, for the status page.
func (g *Gateway) Resting(p *policies.Provider) []providers.Rest {
	return g.creds.Resting(p, time.Now())
}
