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

// cacheClients keep a request in flight each: as many as the machine of record has processors, so that a latency is more than a place in a line.
const cacheClients = 2

// BenchmarkCache asks a gateway the same 32 requests of 1 KB again and again (hit), or ones that nobody has asked (miss): for a body of JSON from an upstream that
// answers at once, for one from an upstream that takes ten milliseconds, which is faster than any model, and for a stream of 500 events that are sent at once.
// Loader, gateway and upstream are processes of their own, and share the machine's processors.
func BenchmarkCache(b *testing.B) {
	gateway := openCached(b)
	for _, s := range []string{"450", "10ms", "sse500"} {
		for _, kind := range []string{"hit", "miss"} {
			b.Run(s+"/"+kind, func(b *testing.B) { askCache(b, gateway, s, kind == "hit") })
		}
	}
}

// openCached starts a gateway whose routes cache each shape.
func openCached(b *testing.B) *target {
	b.Helper()
	g := openGateways(b)
	var models, routes bytes.Buffer
	for _, s := range shapes {
		fmt.Fprintf(&models, "  up-%s: {provider: out, name: up-%[1]s}\n", s.name)
		fmt.Fprintf(&routes, "  cached-%s: {cache: {exact: {ttl: 1h, force: true}}, rules: [{use: [up-%[1]s]}]}\n", s.name)
	}
	return g.serve(b, "cache", func(listen, admin string) []byte {
		return fmt.Appendf(nil, cachePolicy, listen, admin, g.upstream, models.String(), routes.String())
	})
}

// askCache measures answers of a shape. Requests are numbered, so that those of two calls differ unless they are to hit.
func askCache(b *testing.B, gateway *target, shape string, hit bool) {
	pool := newTransport(cacheClients)
	defer pool.CloseIdleConnections()
	c, err := newClient(pool, gateway.base+"/v1/chat/completions", "cached-"+shape, 1<<10)
	if err != nil {
		b.Fatal(err)
	}
	warmed := closedLoop(b.Context(), c.call, 1, 0, len(c.bodies))
	if !hit {
		c.bodies = distinct(c.bodies[0], b.N)
	}
	b.ResetTimer()
	before, _ := cpu(gateway.proc.cmd.Process.Pid)
	t := closedLoop(b.Context(), c.call, cacheClients, 0, b.N)
	b.StopTimer()
	after, ok := cpu(gateway.proc.cmd.Process.Pid)
	for _, t := range []*tally{warmed, t} {
		if t.failed > 0 {
			b.Fatal(t.err)
		}
	}
	if ok {
		b.ReportMetric(micros(after-before)/float64(b.N), "cpu-µs")
	}
	b.ReportMetric(t.rate(), "answers/s")
	b.ReportMetric(float64(t.latency.quantile(0.5).Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(t.latency.quantile(0.99).Microseconds())/1000, "p99-ms")
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
