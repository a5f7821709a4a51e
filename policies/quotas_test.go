package policies

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestPeriod(t *testing.T) {
	in := func(name string) *time.Location {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		return zone
	}
	berlin, santiago, amman := in("Europe/Berlin"), in("America/Santiago"), in("Asia/Amman")
	budgets := map[string]*Budget{}
	for _, tc := range []struct {
		per       string
		zone      *time.Location
		now       string
		name, end string
	}{
		{"day", time.UTC, "2026-11-28T23:59:59Z", "d20261128", "2026-11-29T00:00:00Z"},
		{"day", berlin, "2026-11-28T23:30:00Z", "d20261129", "2026-11-29T23:00:00Z"},
		{"day", berlin, "2026-03-29T12:00:00Z", "d20260329", "2026-03-29T22:00:00Z"},    // of 23 hours
		{"day", berlin, "2026-10-25T12:00:00Z", "d20261025", "2026-10-25T23:00:00Z"},    // of 25
		{"week", time.UTC, "2026-11-29T12:00:00Z", "w20261123", "2026-11-30T00:00:00Z"}, // a Sunday
		{"week", time.UTC, "2026-11-30T00:00:00Z", "w20261130", "2026-12-07T00:00:00Z"},
		{"week", time.UTC, "2026-01-01T00:00:00Z", "w20251229", "2026-01-05T00:00:00Z"},
		{"month", time.UTC, "2026-12-31T23:59:59Z", "m202612", "2027-01-01T00:00:00Z"},
		{"month", berlin, "2026-12-31T23:00:00Z", "m202701", "2027-01-31T23:00:00Z"},
		{"month", time.UTC, "2028-02-29T00:00:00Z", "m202802", "2028-03-01T00:00:00Z"},
		{"day", santiago, "2026-09-06T03:59:59Z", "d20260905", "2026-09-06T04:00:00Z"},
		{"day", santiago, "2026-09-06T04:00:00Z", "d20260906", "2026-09-07T03:00:00Z"}, // begins at one o'clock: there is no midnight
		{"day", santiago, "2026-09-07T02:59:59Z", "d20260906", "2026-09-07T03:00:00Z"},
		{"day", amman, "2021-10-28T20:59:59Z", "d20211028", "2021-10-28T21:00:00Z"},
		{"day", amman, "2021-10-28T21:30:00Z", "d20211029", "2021-10-29T22:00:00Z"}, // has two midnights, of which the first begins it
		{"week", in("America/Havana"), "2026-03-08T12:00:00Z", "w20260302", "2026-03-09T04:00:00Z"},
		{"month", in("Asia/Beirut"), "2026-03-29T12:00:00Z", "m202603", "2026-03-31T21:00:00Z"},
	} {
		now, err := time.Parse(time.RFC3339, tc.now)
		if err != nil {
			t.Fatal(err)
		}
		of := tc.per + tc.zone.String()
		if budgets[of] == nil { // one remembers the period that it told last
			budgets[of] = &Budget{Per: tc.per, Zone: tc.zone}
		}
		name, end := budgets[of].Period(now)
		if got := end.UTC().Format(time.RFC3339); name != tc.name || got != tc.end {
			t.Errorf("%s of %s in %s: %s until %s, want %s until %s", tc.per, tc.now, tc.zone, name, got, tc.name, tc.end)
		}
	}
}

// quotaPolicy is a policy with one route, to whose sections a test adds.
func quotaPolicy(route, tenant string) string {
	return strings.NewReplacer("ROUTE", route, "TENANT", tenant).Replace(`version: 1
providers:
  ext: {dialect: openai, base_url: "http://ext.test/v1"}
models:
  big: {provider: ext, name: big}
routes:
  auto: {rules: [{use: [big]}] ROUTE}
tenants:
  acme: {TENANT}
`)
}

func TestQuotas(t *testing.T) {
	p, ps := LoadBytes("policy.yaml", []byte(quotaPolicy(", limits: {requests: 600/m, tokens: 200k/h, concurrent: 5}", "budget: {usd: 1.25, per: week, zone: Europe/Berlin, on_exceed: warn}")), testOptions())
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	if got, want := *p.Routes[0].Limits, (Limits{Rate{600, time.Minute}, Rate{200_000, time.Hour}, 5}); got != want {
		t.Errorf("limits %+v", got)
	}
	b := p.Tenants["acme"].Budget
	if b.MicroUSD != 1_250_000 || b.Per != "week" || b.Zone.String() != "Europe/Berlin" || b.OnExceed != OnWarn || b.UnknownPrice != OnRefuse {
		t.Errorf("budget %+v", b)
	}
	if p.Routes[0].Budget != nil || p.Tenants["acme"].Limits != nil {
		t.Error("absent sections are there")
	}
	if len(p.Notices) != 1 || !strings.Contains(p.Notices[0].Message, "nobody is asked for a key") {
		t.Errorf("notices %v", p.Notices)
	}
}

func TestQuotasRefused(t *testing.T) {
	for _, tc := range []struct{ route, tenant, want string }{
		{", limits: {requests: 0/s}", "", "at least one"},
		{", limits: {requests: 5/w}", "", "must be a rate"},
		{", limits: {concurrent: 0}", "", "at least 1"},
		{"", "budget: {usd: 5, zone: Mars/Olympus}", "no time zone"},
		{"", "budget: {usd: 5, zone: Local}", "no time zone"},
		{"", "budget: {usd: 5, on_exceed: lowest_tier}", "no tiers"},
		{"", "budget: {usd: -1}", "at least 0"},
		{"", "budget: {per: day}", "missing"},
	} {
		_, ps := LoadBytes("policy.yaml", []byte(quotaPolicy(tc.route, tc.tenant)), testOptions())
		if len(ps) != 1 || !strings.Contains(ps[0].Message, tc.want) {
			t.Errorf("%s %s: %v", tc.route, tc.tenant, ps)
		}
	}
}

func TestParseQuotas(t *testing.T) {
	l, b, err := ParseQuotas([]byte(`{"limits":{"requests":"600/m","tokens":"200k/h","concurrent":5},"budget":{"usd":1.25,"per":"day","on_exceed":"lowest_tier"}}`), true)
	if err != nil || *l != (Limits{Rate{600, time.Minute}, Rate{200_000, time.Hour}, 5}) || b.MicroUSD != 1_250_000 || b.Per != "day" || b.OnExceed != OnLowestTier || b.UnknownPrice != OnRefuse {
		t.Errorf("%+v %+v %v", l, b, err)
	}
	for text, want := range map[string]string{
		`{}`: "", `{"limits":null,"budget":null}`: "",
		`[]`: "must be maps", `"x"`: "must be maps", `{"limits":[]}`: "limits", `{"limits":{"requests":"600"}}`: "limits.requests must be a rate", `{"limits":{"requests":"0/s"}}`: "limits.requests must let",
		`{"limits":{"rpm":"1/s"}}`: "limits", `{"budget":{"per":"day"}}`: "budget", `{"budget":{"usd":1,"zone":"Mars/Olympus"}}`: "budget.zone", `{"budget":{"usd":1,"on_exceed":"lowest_tier"}}`: "no tiers",
		`{"limits":{"concurrent":1}}}`: " ",
	} {
		l, b, err := ParseQuotas([]byte(text), false)
		if want == "" && (err != nil || l != nil || b != nil) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v %v %v, want %q", text, l, b, err, want)
		}
	}
}

// Limits and budgets are written as they are read.
func TestQuotasWritten(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []*Limits{nil, {}, {Requests: Rate{600, time.Minute}, Tokens: Rate{200_000, time.Hour}, Concurrent: 5}, {Tokens: Rate{1, 24 * time.Hour}}, {Requests: Rate{3, time.Second}}} {
		for _, b := range []*Budget{nil, {MicroUSD: 1, Per: "day", Zone: time.UTC, OnExceed: OnLowestTier, UnknownPrice: OnWarn}, {MicroUSD: 1_234_567_890_123, Per: "week", Zone: zone, OnExceed: OnRefuse, UnknownPrice: OnRefuse}} {
			text, err := json.Marshal(map[string]any{"limits": l, "budget": b})
			if err != nil {
				t.Fatal(err)
			}
			gotL, gotB, err := ParseQuotas(text, true)
			if d := cmp.Diff(l, gotL) + cmp.Diff(b, gotB, cmpopts.IgnoreUnexported(Budget{}), cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })); err != nil || d != "" {
				t.Errorf("%s: %v\n%s", text, err, d)
			}
		}
	}
}

func FuzzParseQuotas(f *testing.F) {
	f.Add([]byte(`{"limits":{"requests":"600/m","tokens":"200k/h","concurrent":5},"budget":{"usd":1.25,"per":"day","zone":"UTC"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if l, b, err := ParseQuotas(text, true); err != nil && (l != nil || b != nil) {
			t.Error("half of it is read")
		}
	})
}
