package providers

import (
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// limitRow names the headers of one dimension, in canonical form.
type limitRow struct{ dimension, limit, remaining, reset string }

// limitTable holds the rate-limit headers by family.
var limitTable = map[string][]limitRow{
	"openai": {
		{"requests", "X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"},
		{"tokens", "X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens"},
	},
	"azure": { // may say -1 or 0 where it does not know
		{"requests", "X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"},
		{"tokens", "X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens"},
	},
	"anthropic": {
		{"requests", "Anthropic-Ratelimit-Requests-Limit", "Anthropic-Ratelimit-Requests-Remaining", "Anthropic-Ratelimit-Requests-Reset"},
		{"tokens", "Anthropic-Ratelimit-Tokens-Limit", "Anthropic-Ratelimit-Tokens-Remaining", "Anthropic-Ratelimit-Tokens-Reset"},
		{"input-tokens", "Anthropic-Ratelimit-Input-Tokens-Limit", "Anthropic-Ratelimit-Input-Tokens-Remaining", "Anthropic-Ratelimit-Input-Tokens-Reset"},
		{"output-tokens", "Anthropic-Ratelimit-Output-Tokens-Limit", "Anthropic-Ratelimit-Output-Tokens-Remaining", "Anthropic-Ratelimit-Output-Tokens-Reset"},
	},
	"mistral": {
		{"requests", "X-Ratelimit-Limit-Req-Minute", "X-Ratelimit-Remaining-Req-Minute", ""},
		{"tokens", "X-Ratelimit-Limit-Tokens-Minute", "X-Ratelimit-Remaining-Tokens-Minute", ""},
	},
	"cerebras": {
		{"requests-day", "X-Ratelimit-Limit-Requests-Day", "X-Ratelimit-Remaining-Requests-Day", "X-Ratelimit-Reset-Requests-Day"},
		{"tokens", "X-Ratelimit-Limit-Tokens-Minute", "X-Ratelimit-Remaining-Tokens-Minute", "X-Ratelimit-Reset-Tokens-Minute"},
	},
	"together": {
		{"requests", "X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset"},
		{"tokens", "X-Tokenlimit-Limit", "X-Tokenlimit-Remaining", "X-Ratelimit-Reset"},
	},
	"fireworks": {
		{"requests", "X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"},
		{"input-tokens", "X-Ratelimit-Limit-Tokens-Prompt", "X-Ratelimit-Remaining-Tokens-Prompt", ""},
		{"output-tokens", "X-Ratelimit-Limit-Tokens-Generated", "X-Ratelimit-Remaining-Tokens-Generated", ""},
	},
}

// LimitHeaders names every header in which some provider says whether to ask again, how long to wait or what is left, in lower case and sorted.
func LimitHeaders() []string {
	found := map[string]bool{"retry-after": true, "retry-after-ms": true, "x-should-retry": true}
	for _, rows := range limitTable {
		for _, row := range rows {
			for _, name := range []string{row.limit, row.remaining, row.reset} {
				if name != "" {
					found[strings.ToLower(name)] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// exhausted returns when a limit that the headers say is used up is whole again. It allocates nothing when none is.
func exhausted(family string, h http.Header, now time.Time, requestsOnly bool) (time.Time, bool) {
	var latest time.Time
	for _, row := range limitTable[family] {
		if requestsOnly && row.dimension != "requests" {
			continue
		}
		if row.reset == "" || amount(h, row.remaining) != 0 || family == "azure" && amount(h, row.limit) <= 0 {
			continue
		}
		if at, ok := parseReset(first(h, row.reset), now); ok && at.After(latest) {
			latest = at
		}
	}
	return latest, latest.After(now)
}

// first is a header's first value; name is canonical.
func first(h http.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// amount is a header's number, -1 when there is none.
func amount(h http.Header, name string) int64 {
	s := strings.TrimSpace(first(h, name))
	if s == "" {
		return -1
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return max(n, -1)
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && f >= 0 && f < math.MaxInt64/2 {
		return int64(f)
	}
	return -1
}

// epoch is the least number that stands for a time since 1970 and not for a number of seconds to wait.
const epoch = 1_000_000_000

// parseReset reads a reset in any of the forms in use: a duration as 6m0s, seconds, Unix seconds or milliseconds, RFC 3339, an HTTP date.
func parseReset(s string, now time.Time) (time.Time, bool) {
	s = strings.TrimSpace(s)
	if s == "" || len(s) > 64 {
		return time.Time{}, false
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		switch {
		case math.IsNaN(f) || f < 0 || f > 1000*10*epoch:
			return time.Time{}, false
		case f >= 1000*epoch:
			return time.UnixMilli(int64(f)), true
		case f >= epoch:
			return time.Unix(int64(f), 0), true
		}
		return now.Add(time.Duration(math.Round(f*1e6)) * time.Microsecond), true
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(d), d >= 0
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, true
	}
	if t, err := http.ParseTime(s); err == nil {
		return t, true
	}
	return time.Time{}, false
}
