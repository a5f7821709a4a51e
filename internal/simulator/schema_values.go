package simulator

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// formats are instances of the formats that structured output allows.
var formats = map[string]string{
	"date-time": "2026-01-01T00:00:00Z", "date": "2026-01-01", "time": "00:00:00Z", "duration": "P1D", "email": "simulated@example.com",
	"hostname": "simulated.example.com", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1", "uuid": "00000000-0000-4000-8000-000000000000",
	"uri": "https://example.com/simulated",
}

func sizeOf(s object, word string) (int, error) {
	n, _ := s[word].(float64)
	if n < 0 || n > maxSize {
		return 0, fmt.Errorf("%s must be from 0 to %d", word, maxSize)
	}
	return int(math.Ceil(n)), nil
}

func (m *instancer) string(s object) (any, error) {
	low, err := sizeOf(s, "minLength")
	if err != nil {
		return nil, err
	}
	if err := m.spend(low); err != nil {
		return nil, err
	}
	text := "simulated"
	if format, ok := s["format"].(string); ok && formats[format] != "" {
		text = formats[format]
	}
	pattern, hasPattern := s["pattern"].(string)
	if hasPattern {
		if text, err = m.matching(pattern, low); err != nil {
			return nil, err
		}
	}
	if missing := low - utf8.RuneCountInString(text); missing > 0 {
		text += strings.Repeat("x", missing)
	}
	if high, ok := s["maxLength"].(float64); ok && float64(utf8.RuneCountInString(text)) > high {
		if hasPattern || s["format"] != nil || high < float64(low) {
			return nil, errors.New("maxLength is too short")
		}
		text = string([]rune(text)[:max(0, int(high))])
	}
	if hasPattern {
		// matching compiled it already.
		if ok, _ := regexp.MatchString(pattern, text); !ok {
			return nil, fmt.Errorf("pattern %q is not simulated", pattern)
		}
	}
	return text, nil
}

// numberOf is the allowed number nearest to zero that the bounds and multipleOf give.
func numberOf(s object, integer bool) (any, error) {
	step, _ := s["multipleOf"].(float64)
	if integer && step == 0 || step < 0 {
		step = 1
	}
	low, high := math.Inf(-1), math.Inf(1)
	tight := func(word string, bound *float64, pick func(a, b float64) float64, outward float64) {
		if v, ok := s[word].(float64); ok {
			if nudge := step; outward != 0 && nudge == 0 {
				v += outward * max(math.Abs(v), 1) / 1024
			} else if outward != 0 && math.Mod(v, step) == 0 {
				v += outward * nudge
			}
			*bound = pick(*bound, v)
		}
	}
	tight("minimum", &low, math.Max, 0)
	tight("exclusiveMinimum", &low, math.Max, 1)
	tight("maximum", &high, math.Min, 0)
	tight("exclusiveMaximum", &high, math.Min, -1)
	n := min(max(0, low), high)
	if step > 0 {
		if n > 0 {
			n = math.Ceil(n/step) * step
		} else {
			n = math.Floor(n/step) * step
		}
	}
	if n < low || n > high || integer && n != math.Trunc(n) || math.IsNaN(n) || math.IsInf(n, 0) {
		return nil, errors.New("no number is within the bounds")
	}
	return n, nil
}

// matching makes a text that a regular expression matches, of at least low letters where its repetitions can give them.
func (m *instancer) matching(pattern string, low int) (string, error) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "", fmt.Errorf("pattern: %w", err)
	}
	var b strings.Builder
	if err := m.write(&b, re, low); err != nil {
		return "", err
	}
	return b.String(), nil
}

// write appends a text for one node of an expression. Open repetitions run up to low times, so that a minimum length is met.
func (m *instancer) write(b *strings.Builder, re *syntax.Regexp, low int) error {
	if err := m.spend(1 + len(re.Rune)); err != nil {
		return err
	}
	times, subs := 1, re.Sub
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		if len(re.Rune) == 0 {
			return errors.New("pattern matches nothing")
		}
		b.WriteRune(printable(re.Rune))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('x')
	case syntax.OpStar, syntax.OpPlus:
		times = max(low, map[syntax.Op]int{syntax.OpPlus: 1}[re.Op])
	case syntax.OpQuest:
		times = 0
	case syntax.OpRepeat:
		times = max(re.Min, min(low, re.Max))
		if re.Max < 0 {
			times = max(re.Min, low)
		}
	case syntax.OpAlternate:
		subs = subs[:1]
	}
	for range times {
		for _, sub := range subs {
			if err := m.write(b, sub, low); err != nil {
				return err
			}
		}
	}
	return nil
}

// printable picks a rune of a class, a visible one where the class's ranges begin or pass there.
func printable(ranges []rune) rune {
	for _, want := range "aA0x-_ " {
		for i := 0; i+1 < len(ranges); i += 2 {
			if ranges[i] <= want && want <= ranges[i+1] {
				return want
			}
		}
	}
	return ranges[0]
}
