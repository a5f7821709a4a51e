package policies

import (
	"math"
	"strings"
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
}

// Period returns the calendar period that holds now: its name, which sorts and never comes again, and its end.
func (b *Budget) Period(now time.Time) (name string, end time.Time) {
	t := now.In(b.Zone)
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, b.Zone)
	switch b.Per {
	case "day":
		return "d" + day.Format("20060102"), day.AddDate(0, 0, 1)
	case "week":
		monday := day.AddDate(0, 0, -(int(day.Weekday())+6)%7)
		return "w" + monday.Format("20060102"), monday.AddDate(0, 0, 7)
	}
	return "m" + day.Format("200601"), time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, b.Zone)
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
