package policies

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

var (
	errDuration = errors.New(`must be a duration such as 500ms, 2s or 10m`)
	errTokens   = errors.New(`must be a count of tokens such as 1024, 32k or 1M (k = 1,000)`)
	errSize     = errors.New(`must be a size in bytes such as 512, 64k, 32M or 1G (k = 1,024)`)
	errInteger  = errors.New("must be a whole number")
	errNumber   = errors.New("must be a number")
	errBoolean  = errors.New("must be true or false (or on, off)")
	errNegative = errors.New("must not be negative")
	errTooLarge = errors.New("is too large")
)

// longest is more than anything here may take; sums of a few of it stay far from where a Duration, or Envoy's, overflows.
const longest = 10_000 * time.Hour

// parseDuration reads a duration as Go writes it.
func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, errDuration
	}
	if d < 0 {
		return 0, errNegative
	}
	if d > longest {
		return 0, errTooLarge
	}
	return d, nil
}

// parseTokens reads a count of tokens; k and M are thousands and millions.
func parseTokens(s string) (int, error) {
	n, err := scaled(s, map[byte]float64{'k': 1e3, 'K': 1e3, 'M': 1e6, 'm': 1e6}, errTokens)
	return int(n), err
}

// parseSize reads a size in bytes; k, M and G are powers of 1,024.
func parseSize(s string) (int64, error) {
	return scaled(s, map[byte]float64{'k': 1 << 10, 'K': 1 << 10, 'M': 1 << 20, 'm': 1 << 20, 'G': 1 << 30, 'g': 1 << 30}, errSize)
}

func scaled(s string, units map[byte]float64, wrong error) (int64, error) {
	factor, digits := 1.0, s
	if s != "" {
		if f, ok := units[s[len(s)-1]]; ok {
			factor, digits = f, s[:len(s)-1]
		}
	}
	if digits == "" || strings.Trim(digits, "0123456789.") != "" {
		if strings.HasPrefix(digits, "-") {
			return 0, errNegative
		}
		return 0, wrong
	}
	x, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return 0, wrong
	}
	if x *= factor; x > 1<<53 {
		return 0, errTooLarge
	}
	if x != math.Trunc(x) {
		return 0, wrong
	}
	return int64(x), nil
}

func parseInteger(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, errInteger
	}
	return n, nil
}

func parseNumber(s string) (float64, error) {
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
		return 0, errNumber
	}
	return x, nil
}

func parseBoolean(s string) (bool, error) {
	switch s {
	case "true", "on":
		return true, nil
	case "false", "off":
		return false, nil
	}
	return false, errBoolean
}

// ParseExpiry reads what a key's expires says: a date, whose end in UTC is meant, or an RFC 3339 time.
func ParseExpiry(s string) (time.Time, error) { return parseExpiry(s) }

// parseExpiry reads a date, whose end in UTC is meant, or an RFC 3339 time.
func parseExpiry(s string) (time.Time, error) {
	if d, err := time.Parse(time.DateOnly, s); err == nil {
		return d.AddDate(0, 0, 1), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("must be a date such as 2027-01-31 or a time such as 2027-01-31T12:00:00Z")
	}
	return t, nil
}

// The readers below give a node's value, or the default when it is absent. The check against the language has already refused what they
// could not read.

func (n *node) str(def string) string {
	if n == nil || n.bad || n.kind != scalarNode {
		return def
	}
	return n.text
}

func (n *node) duration(def time.Duration) time.Duration { return value(n, def, parseDuration) }
func (n *node) tokens(def int) int                       { return value(n, def, parseTokens) }
func (n *node) size(def int64) int64                     { return value(n, def, parseSize) }
func (n *node) integer(def int) int                      { return value(n, def, parseInteger) }
func (n *node) number(def float64) float64               { return value(n, def, parseNumber) }
func (n *node) boolean(def bool) bool                    { return value(n, def, parseBoolean) }

func (n *node) strings() []string {
	var out []string
	for _, i := range n.list() {
		out = append(out, i.text)
	}
	return out
}

func value[T any](n *node, def T, parse func(string) (T, error)) T {
	if n == nil || n.bad || n.kind != scalarNode {
		return def
	}
	v, err := parse(n.text)
	if err != nil {
		return def
	}
	return v
}
