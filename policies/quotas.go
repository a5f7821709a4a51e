package policies

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Limits bound how much may be asked for, by a tenant, a key or through a route.
type Limits struct {
	Requests   Rate // zero = no limit
	Tokens     Rate // zero = no limit; estimated at admission, corrected at the end
	Concurrent int  // exchanges at once; 0 = no limit
}

// Rate is a count in a window. The whole count may come at once.
type Rate struct {
	Count  int
	Window time.Duration
}

// What happens where a budget is used up, or a price is not known.
const (
	OnRefuse     = "refuse"
	OnLowestTier = "lowest_tier"
	OnWarn       = "warn"
)

// Budget is what may be spent in a period of the calendar.
type Budget struct {
	MicroUSD     int64  // a period
	Per          string // day, week (from Monday) or month
	Zone         *time.Location
	OnExceed     string // refuse, lowest_tier or warn
	UnknownPrice string // refuse, lowest_tier or warn

	last atomic.Pointer[period] // the calendar's answer, which holds for long
}

// period is one of a budget's: from begin to before end.
type period struct {
	name       string
	begin, end time.Time
}

// Period returns the calendar period that holds now: its name, which sorts and never comes again, and its end.
func (b *Budget) Period(now time.Time) (name string, end time.Time) {
	p := b.last.Load()
	if p == nil || now.Before(p.begin) || !now.Before(p.end) {
		p = b.periodAt(now)
		b.last.Store(p)
	}
	return p.name, p.end
}

func (b *Budget) periodAt(now time.Time) *period {
	y, m, d := now.In(b.Zone).Date()
	day := time.Date(y, m, d, 0, 0, 0, 0, time.UTC) // of the calendar, whose days all have a midnight
	layout, first, next := "m200601", day.AddDate(0, 0, 1-d), day.AddDate(0, 1, 1-d)
	switch b.Per {
	case "day":
		layout, first, next = "d20060102", day, day.AddDate(0, 0, 1)
	case "week":
		monday := day.AddDate(0, 0, -(int(day.Weekday())+6)%7)
		layout, first, next = "w20060102", monday, monday.AddDate(0, 0, 7)
	}
	return &period{first.Format(layout), dawn(first, b.Zone), dawn(next, b.Zone)}
}

// dawn is the first instant of a day of the calendar in a zone. Where clocks go forward at midnight the day has none; where they go back to it, it has two.
func dawn(day time.Time, zone *time.Location) time.Time {
	t := time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, zone)
	began, ends := t.ZoneBounds()
	if t.Day() != day.Day() {
		return ends
	}
	if _, offset := t.Zone(); !began.IsZero() {
		_, before := began.Add(-time.Second).Zone()
		if first := t.Add(time.Duration(offset-before) * time.Second); first.Before(began) && first.Day() == day.Day() {
			return first
		}
	}
	return t
}

// limits compiles a section of limits; nil when it is absent.
func (c *compiler) limits(n *node) *Limits {
	if n == nil {
		return nil
	}
	return &Limits{Requests: c.rate(n.at("requests")), Tokens: c.rate(n.at("tokens")), Concurrent: n.at("concurrent").integer(0)}
}

var windows = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}

// rate reads a count in a window, whose form was checked with the file.
func (c *compiler) rate(n *node) Rate {
	if n == nil {
		return Rate{}
	}
	count, per, _ := strings.Cut(n.text, "/")
	k, _ := parseTokens(count)
	if k < 1 {
		c.problem(n, "must let at least one through")
	}
	return Rate{k, windows[per]}
}

// budget compiles a section of money; nil when it is absent.
func (c *compiler) budget(n *node) *Budget {
	if n == nil {
		return nil
	}
	b := &Budget{
		MicroUSD:     int64(math.Round(n.at("usd").number(0) * 1e6)),
		Per:          n.at("per").str("month"),
		OnExceed:     n.at("on_exceed").str(OnRefuse),
		UnknownPrice: n.at("unknown_price").str(OnRefuse),
	}
	var err error
	zone := n.at("zone")
	if b.Zone, err = time.LoadLocation(zone.str("UTC")); err != nil || zone.str("") == "Local" {
		c.problem(zone, "no time zone is named %q; names are such as UTC or Europe/Berlin", zone.text)
		b.Zone = time.UTC
	}
	for _, key := range []string{"on_exceed", "unknown_price"} {
		if v := n.at(key); v.str("") == OnLowestTier && len(c.p.Tiers) == 0 {
			c.problem(v, "there is no lowest tier: the policy has no tiers")
		}
	}
	return b
}

// ParseQuotas reads {limits, budget} as they stand in a policy; either may be absent or null. They belong to a key that is kept elsewhere. tiers says whether its
// policy has any. The error names what is wrong in the policy's words, and holds nothing else of the text.
func ParseQuotas(text []byte, tiers bool) (*Limits, *Budget, error) {
	f := &File{Name: "quotas", lines: []string{""}}
	doc, ps := f.syntax(text)
	if len(ps) > 0 {
		return nil, nil, quotaError(ps)
	}
	t := &treeBuilder{file: f}
	f.root = t.build(doc, "", Position{1, 1}, 0)
	if f.root == nil || f.root.kind != mapNode || len(t.problems) > 0 {
		return nil, nil, quotaError(t.problems)
	}
	f.root.entries = slices.DeleteFunc(f.root.entries, func(e entry) bool { return e.value.kind == nullNode })
	check := &checker{file: f}
	check.check(record(opt("limits", limitsShape(), "rates"), opt("budget", budgetShape(), "money")), f.root)
	if len(check.problems) > 0 {
		return nil, nil, quotaError(check.problems)
	}
	c := &compiler{f: f, p: &Policy{}}
	if tiers {
		c.p.Tiers = []*Tier{{}}
	}
	limits, budget := c.limits(f.root.at("limits")), c.budget(f.root.at("budget"))
	if len(c.problems) > 0 {
		return nil, nil, quotaError(c.problems)
	}
	return limits, budget, nil
}

// MarshalJSON writes the limits as they stand in a policy.
func (l *Limits) MarshalJSON() ([]byte, error) {
	m := map[string]any{}
	for name, r := range map[string]Rate{"requests": l.Requests, "tokens": l.Tokens} {
		for unit, window := range windows {
			if window == r.Window {
				m[name] = fmt.Sprintf("%d/%s", r.Count, unit)
			}
		}
	}
	if l.Concurrent > 0 {
		m["concurrent"] = l.Concurrent
	}
	return json.Marshal(m)
}

// MarshalJSON writes the budget as it stands in a policy.
func (b *Budget) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"usd": float64(b.MicroUSD) / 1e6, "per": b.Per, "zone": b.Zone.String(), "on_exceed": b.OnExceed, "unknown_price": b.UnknownPrice})
}

// quotaError is the first problem without its place: there is no file.
func quotaError(ps Problems) error {
	if len(ps) == 0 {
		return errors.New("limits and budget must be maps")
	}
	return fmt.Errorf("%s %s", ps[0].Path, ps[0].Message)
}
