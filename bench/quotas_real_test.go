//go:build real

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/redis"
	"github.com/sluice-gateway/sluice/tenants"
)

// quotaPolicy has one tenant with one key. It wants the gateway's two addresses, the upstream's, the pepper's file, the key's hash, the tenant's quotas and the state.
const quotaPolicy = `version: 1
server: {listen: %q, admin: %q, auth: required}
providers:
  out: {dialect: openai, base_url: "%s/v1"}
models:
  m: {provider: out, name: up-450, price: {in: 1, out: 4}}
routes:
  auto: {rules: [{use: [m]}]}
auth: {pepper: {file: %q}}
tenants:
  acme: {keys: [{id: web, hash: %q}]%s}
%s`

// quotaBlock is how many times one gateway is asked before the next: what one does after its last answer meets the next one's first question only.
const quotaBlock = 25

// BenchmarkQuotas asks gateways in turn, one request at a time over loopback: one without limits and budgets (the floor), one that keeps them in memory, and one that
// keeps them in a Redis on loopback. Every gateway is a process of its own, and so are upstream and Redis: within one process a hop wakes nobody, and a trip out of it
// would be charged for all that then sleeps. It reports the floor's median, what the others add to it, and the median of a bare PING between the requests;
// and the processor time that the floor takes, and that limits and budgets in memory add.
func BenchmarkQuotas(b *testing.B) {
	q := openQuotas(b)
	ping := func() error {
		return q.rdb.Run(b.Context(), "bench", func(ctx context.Context, r redis.Commands) error { return r.Ping(ctx).Err() })
	}
	subjects := []struct {
		name string
		asked
		took []time.Duration
	}{
		{name: "floor", asked: q.gateway(b, "floor", "", "")},
		{name: "memory", asked: q.gateway(b, "memory", quotas, "")},
		{name: "redis", asked: q.gateway(b, "redis", quotas, fmt.Sprintf("state: {redis: {url: \"redis://%s\", timeout: 1s}}", q.addr))},
		{name: "ping", asked: asked{ask: ping, used: func() time.Duration { return 0 }}},
	}
	used := map[string]time.Duration{}
	for _, s := range subjects {
		used[s.name] = s.used()
	}
	for b.Loop() {
		for i := range subjects {
			s := &subjects[i]
			for range quotaBlock {
				began := time.Now()
				if err := s.ask(); err != nil {
					b.Fatalf("%s: %v", s.name, err)
				}
				s.took = append(s.took, time.Since(began))
			}
		}
	}
	medians := map[string]float64{}
	for _, s := range subjects {
		slices.Sort(s.took)
		medians[s.name] = micros(s.took[len(s.took)/2])
		used[s.name] = (s.used() - used[s.name]) / time.Duration(len(s.took))
	}
	b.ReportMetric(micros(used["floor"]), "floor-cpu-µs")
	b.ReportMetric(micros(used["memory"]-used["floor"]), "memory-adds-cpu-µs")
	b.ReportMetric(medians["floor"], "floor-p50-µs")
	b.ReportMetric(medians["memory"]-medians["floor"], "memory-adds-µs")
	b.ReportMetric(medians["redis"]-medians["floor"], "redis-adds-µs")
	b.ReportMetric(medians["ping"], "ping-p50-µs")
}

// quotas are far from what the benchmark uses.
const quotas = ", limits: {requests: 1M/m, tokens: 100M/m, concurrent: 1000}, budget: {usd: 1000000}"

// quotaBed is what the gateways of BenchmarkQuotas share.
type quotaBed struct {
	*gateways
	pepper    string
	key, hash string
	addr      string // of Redis
	rdb       *redis.Client
}

func openQuotas(b *testing.B) *quotaBed {
	b.Helper()
	g := openGateways(b)
	q := &quotaBed{gateways: g, pepper: filepath.Join(g.dir, "pepper")}
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	var err error
	_, q.addr = harness.Redis(b, "..")
	q.rdb, err = redis.Open(redis.Options{URL: "redis://" + q.addr, Timeout: time.Minute})
	must(err)
	b.Cleanup(func() { _ = q.rdb.Close() })
	q.key, err = tenants.NewKey("web")
	must(err)
	q.hash = tenants.Hash("pepper", q.key)
	must(os.WriteFile(q.pepper, []byte("pepper"), 0o600))
	return q
}

// asked is what is measured: ask asks it once, used is the processor time that it has used.
type asked struct {
	ask  func() error
	used func() time.Duration
}

// gateway starts one with these quotas and this state.
func (q *quotaBed) gateway(b *testing.B, name, quotas, state string) asked {
	b.Helper()
	p := q.serve(b, name, func(listen, admin string) []byte {
		return fmt.Appendf(nil, quotaPolicy, listen, admin, q.upstream.base, q.pepper, q.hash, quotas, state)
	})
	listen := strings.TrimPrefix(p.base, "http://")
	conn, err := net.Dial("tcp", listen)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	const body = `{"model":"auto","max_tokens":50,"messages":[{"role":"user","content":"Will it rain in Bern?"}]}`
	request := fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", listen, q.key, len(body), body)
	in := bufio.NewReader(conn)
	ask := func() error {
		if _, err := conn.Write(request); err != nil {
			return err
		}
		return readAnswer(in)
	}
	return asked{ask, func() time.Duration { used, _ := cpu(p.proc.cmd.Process.Pid); return used }}
}

// readAnswer reads an answer and forgets it. It does as little as can be done, since what a client pays for each header is in no gateway's hands.
func readAnswer(in *bufio.Reader) error {
	length := -1
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
			return fmt.Errorf("%s", line)
		}
		if len(bytes.TrimSpace(line)) == 0 {
			break
		}
		if text, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(text))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("an answer without a length")
	}
	_, err := in.Discard(length)
	return err
}
