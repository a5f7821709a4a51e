package main

import (
	"bytes"
	"fmt"
	"testing"
)

// cachePolicy is one gateway with a cache. It wants its two addresses and the upstream's.
const cachePolicy = `version: 1
server: {listen: %q, admin: %q}
providers:
  out: {dialect: openai, base_url: "%s/v1"}
models:
%sroutes:
%s`

// cacheClients keep a request in flight each: as many as the machine of record has processors, which they share with the gateway and the upstream.
const cacheClients = 2

// BenchmarkCache asks a gateway the same 32 requests of 1 KB again and again (hit), ones that nobody has asked (miss), or the upstream without a gateway (direct), which
// is the most that any cache could bring: for a body of JSON from an upstream that answers at once, for one from an upstream that takes ten milliseconds, which is
// faster than any model, and for a stream of 500 events that are sent at once. Loader, gateway and upstream are processes of their own.
func BenchmarkCache(b *testing.B) {
	gateway, upstream := openCached(b)
	for _, s := range []string{"450", "10ms", "sse500"} {
		b.Run(s+"/direct", func(b *testing.B) { askCache(b, upstream, "up-"+s, true) })
		for _, kind := range []string{"hit", "miss"} {
			b.Run(s+"/"+kind, func(b *testing.B) { askCache(b, gateway, "cached-"+s, kind == "hit") })
		}
	}
}

// openCached starts an upstream and a gateway whose routes cache each shape.
func openCached(b *testing.B) (gateway, upstream *target) {
	b.Helper()
	g := openGateways(b)
	var models, routes bytes.Buffer
	for _, s := range shapes {
		fmt.Fprintf(&models, "  up-%s: {provider: out, name: up-%[1]s}\n", s.name)
		fmt.Fprintf(&routes, "  cached-%s: {cache: {exact: {ttl: 1h, force: true}}, rules: [{use: [up-%[1]s]}]}\n", s.name)
	}
	gateway = g.serve(b, "cache", func(listen, admin string) []byte {
		return fmt.Appendf(nil, cachePolicy, listen, admin, g.upstream.base, models.String(), routes.String())
	})
	return gateway, g.upstream
}

// askCache measures answers of a model: a quarter as many for one client, alone on the machine, and then b.N for all clients. Requests are numbered, so that those of
// two calls differ unless they are to hit.
func askCache(b *testing.B, from *target, model string, hit bool) {
	pool := newTransport(cacheClients)
	defer pool.CloseIdleConnections()
	c, err := newClient(pool, from.base+"/v1/chat/completions", model, 1<<10)
	if err != nil {
		b.Fatal(err)
	}
	ask := func(clients, n int) *tally {
		t := closedLoop(b.Context(), c.call, clients, 0, n)
		if t.failed > 0 {
			b.Fatal(t.err)
		}
		return t
	}
	ask(1, len(c.bodies))
	first := c.bodies[0]
	fresh := func(n int) {
		if !hit {
			c.bodies = distinct(first, n)
		}
	}
	few := (b.N + 3) / 4
	fresh(few)
	alone := ask(1, few)
	fresh(b.N)
	b.ResetTimer()
	before, _ := cpu(from.proc.cmd.Process.Pid)
	t := ask(cacheClients, b.N)
	b.StopTimer()
	if after, ok := cpu(from.proc.cmd.Process.Pid); ok {
		b.ReportMetric(micros(after-before)/float64(b.N), "cpu-µs")
	}
	b.ReportMetric(t.rate(), "answers/s")
	for name, t := range map[string]*tally{"alone-": alone, "": t} {
		b.ReportMetric(millis(t.latency.quantile(0.5)), name+"p50-ms")
		b.ReportMetric(millis(t.latency.quantile(0.99)), name+"p99-ms")
	}
}

// numbered counts the requests that nobody has asked.
var numbered int

// distinct are n requests that nobody has asked: body, each with another seed.
func distinct(body []byte, n int) [][]byte {
	bodies := make([][]byte, n)
	for i := range bodies {
		numbered++
		bodies[i] = fmt.Appendf(nil, `{"seed":%d,%s`, numbered, body[1:])
	}
	return bodies
}
