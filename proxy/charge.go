package proxy

import (
	"time"

	"github.com/sluice-gateway/sluice/ledger"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/telemetry"
)

// occupy counts the attempt in on the own GPUs that it will keep busy. A price in the policy stands over them.
func (x *Exchange) occupy(a *attempt, tokens int) {
	if p := a.provider; p.Own && p.GPUPerHour > 0 && a.plan.Model.Price == nil {
		a.share = x.g.meter.Begin(p.Name, p.GPUPerHour, tokens, a.sent)
	}
}

// price says what an attempt that is over has cost: by its model's price, or its share of the GPUs. Nobody pays for what reached no model.
func (x *Exchange) price(a *attempt) {
	micro, shared := a.share.End(a.rec.End)
	if a.rec.UsageKind == llm.UsageNone {
		return
	}
	c := ledger.CostOf(a.plan.Model.Price, a.rec.Usage)
	if shared {
		c = ledger.Cost{MicroUSD: micro, Known: true, Price: ledger.PriceGPU}
	}
	a.rec.MicroUSD, a.rec.Priced, a.rec.Price = c.MicroUSD, c.Known, c.Price
}

// cacheLookup is what the ledger calls the cache's part in a request for an embedding.
const cacheLookup = "lookup"

// keep writes the exchange into the ledger: a row an attempt, one that says that the answer came from the cache, one for the cache's embedding.
func (x *Exchange) keep() {
	l, r := x.g.ledger, &x.rec
	if l == nil {
		return
	}
	for i := range r.Attempts {
		l.Add(row(r, &r.Attempts[i], i+1))
	}
	if r.Embedding != nil {
		e := row(r, r.Embedding, len(r.Attempts)+1)
		e.Cache = cacheLookup
		l.Add(e)
	}
	if len(r.Attempts) == 0 && r.Cache == "hit" {
		l.Add(row(r, &telemetry.Attempt{Model: r.Model, Provider: r.Provider, Region: x.region(r.Provider), Start: r.Start, End: r.End}, 0))
	}
}

func (x *Exchange) region(provider string) string {
	if p := x.s.Policy.Providers[provider]; p != nil {
		return p.Region
	}
	return ""
}

// row projects an attempt.
func row(r *telemetry.Record, a *telemetry.Attempt, n int) ledger.Row {
	end := a.End
	if end.IsZero() {
		end = r.End
	}
	return ledger.Row{
		Time: end, Took: max(0, end.Sub(a.Start)).Truncate(time.Millisecond), Exchange: r.ID, Attempt: n, Tenant: r.Tenant, Key: r.Key, Route: r.Route,
		Model: a.Model, Provider: a.Provider, Region: a.Region, Cache: r.Cache, Status: a.Status, Class: string(a.Class),
		Kind: a.UsageKind, Usage: a.Usage, Cost: ledger.Cost{MicroUSD: a.MicroUSD, Known: a.Priced, Price: a.Price},
	}
}
