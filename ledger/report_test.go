package ledger

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/llm"
)

// booked is a ledger of a few rows of every kind.
func booked(t *testing.T) *Ledger {
	t.Helper()
	l := mustOpen(t, t.TempDir())
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	at := func(hours int) time.Time { return begin.Add(time.Duration(hours) * time.Hour) }
	l.Add(
		Row{Time: at(1), Exchange: [16]byte{1}, Attempt: 1, Tenant: "acme", Key: "web", Route: "auto", Model: "gpt", Provider: "out", Status: 500, Class: "transient"},
		Row{Time: at(1), Exchange: [16]byte{1}, Attempt: 2, Tenant: "acme", Key: "web", Route: "auto", Model: "gpt", Provider: "out", Status: 200, Cache: "miss",
			Kind: llm.UsageReported, Usage: llm.Usage{Input: 100, Output: 20, Cached: 40, Reasoning: 5}, Cost: Cost{900, true, "policy"}},
		Row{Time: at(2), Exchange: [16]byte{2}, Tenant: "acme", Key: "web", Route: "auto", Model: "gpt", Provider: "out", Cache: "hit"},
		Row{Time: at(3), Exchange: [16]byte{3}, Attempt: 1, Tenant: "other", Key: "x", Route: "auto", Model: "unpriced", Provider: "out", Status: 200,
			Kind: llm.UsageEstimated, Usage: llm.Usage{Input: 10, Output: 1}},
		Row{Time: at(13), Took: time.Hour, Exchange: [16]byte{4}, Attempt: 1, Tenant: "acme", Key: "job", Route: "auto", Model: "small", Provider: "pool", Region: "eu", Status: 200,
			Kind: llm.UsageReported, Usage: llm.Usage{Input: 7, Output: 3}, Cost: Cost{2e6, true, PriceGPU}},
	)
	return l
}

func TestReport(t *testing.T) {
	l := booked(t)
	for _, tc := range []struct {
		name, by, since, format string
		raw, full               bool
		want                    string
	}{
		{"all", "", "", "", false, false, `tenant,key,route,model,provider,usage,attempts,tokens_in,tokens_out,tokens_cached,micro_usd
acme,job,auto,small,pool,reported,1,7,3,0,2000000
acme,web,auto,gpt,out,none,1,0,0,0,0
acme,web,auto,gpt,out,reported,1,100,20,40,900
other,x,auto,unpriced,out,estimated,1,10,1,0,
`},
		{"by tenant", "tenant", "", "jsonl", false, false, `{"tenant":"acme","attempts":3,"tokens_in":107,"tokens_out":23,"tokens_cached":40,"micro_usd":2000900}
{"tenant":"other","attempts":1,"tokens_in":10,"tokens_out":1,"tokens_cached":0,"micro_usd":null}
`},
		{"by day", "day,usage", "2026-11-22T15:00:00Z", "csv", false, false, `day,usage,attempts,tokens_in,tokens_out,tokens_cached,micro_usd
2026-11-22,estimated,1,10,1,0,
2026-11-23,reported,1,7,3,0,2000000
`},
		{"since a day", "tenant", "2026-11-23", "csv", false, false, `tenant,attempts,tokens_in,tokens_out,tokens_cached,micro_usd
acme,1,7,3,0,2000000
`},
		{"the last day", "tenant", "1d", "csv", false, false, `tenant,attempts,tokens_in,tokens_out,tokens_cached,micro_usd
acme,3,107,23,40,2000900
other,1,10,1,0,
`},
		{"the hours of GPUs", "provider", "12h", "csv", false, true, `provider,attempts,tokens_in,tokens_out,tokens_cached,micro_usd,full_micro_usd
pool,1,7,3,0,2000000,48000000
`},
		{"rows", "", "2026-11-22T14:00:00Z", "csv", true, false, `time,exchange,attempt,tenant,key,route,model,provider,region,usage,tokens_in,tokens_out,tokens_cached,tokens_written,tokens_reasoning,micro_usd,price,cache,status,class,milliseconds
2026-11-22T14:00:00Z,02000000000000000000000000000000,0,acme,web,auto,gpt,out,,none,0,0,0,0,0,,,hit,0,,0
2026-11-22T15:00:00Z,03000000000000000000000000000000,1,other,x,auto,unpriced,out,,estimated,10,1,0,0,0,,,,200,,0
2026-11-23T01:00:00Z,04000000000000000000000000000000,1,acme,job,auto,small,pool,eu,reported,7,3,0,0,0,2000000,gpu,,200,,3600000
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q, err := ParseQuery(tc.by, tc.since, tc.format, tc.raw, begin.Add(24*time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			if tc.full {
				q.GPU = map[string]float64{"pool": 4}
			}
			var b strings.Builder
			if err := l.Report(&b, q); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, b.String()); d != "" {
				t.Errorf("report (-want +got):\n%s", d)
			}
		})
	}
}

func TestParseQuery(t *testing.T) {
	for _, tc := range []struct{ by, since, format, wrong string }{
		{"", "", "", ""},
		{"tenant, key,route,model,provider,usage,day", "24h", "jsonl", ""},
		{"tenant,", "", "", "by must be"},
		{"tenant,tenant", "", "", "twice"},
		{"colour", "", "", `not "colour"`},
		{"", "7d", "", ""},
		{"", "2026-11-22", "", ""},
		{"", "yesterday", "", "since must be"},
		{"", "-7d", "", "since must be"},
		{"", "1e3d", "", "since must be"},
		{"", "-1h", "", "since must be"},
		{"", "", "xml", "format must be"},
	} {
		_, err := ParseQuery(tc.by, tc.since, tc.format, false, begin)
		if (err == nil) != (tc.wrong == "") || err != nil && !strings.Contains(err.Error(), tc.wrong) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}
