package telemetry

import (
	"encoding/hex"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// The access line as JSON, byte for byte what slog's JSON handler makes of the entry's log record, without the record: a busy gateway
// spends more on one's boxed attributes than on all else that telemetry does for an exchange.

// appendJSON appends the line of the entry with its end of line.
func (e *entry) appendJSON(b []byte) []byte {
	b = append(b, '{')
	if !e.end.IsZero() {
		b = append(b, `"time":"`...)
		b = e.end.AppendFormat(b, time.RFC3339Nano)
		b = append(b, `",`...)
	}
	b = append(b, `"level":"`...)
	b = append(b, e.level().String()...)
	b = append(b, `","msg":"`+lineMessage+`","`+lineID+`":"`...)
	b = hex.AppendEncode(b, e.id[:])
	b = append(b, '"')
	b = appendText(b, lineRoute, e.route)
	b = appendText(b, linePath, e.path)
	b = appendText(b, lineRule, e.rule)
	b = appendText(b, lineBoundary, e.boundary)
	if e.class != "" {
		b = appendText(b, lineClass, e.class)
		b = appendFloat(b, lineGain, math.Round(e.gain*1000)/1000)
	}
	b = appendText(b, lineTier, e.tier)
	b = appendText(b, lineModel, e.model)
	b = appendText(b, lineProvider, e.provider)
	b = appendInt(b, lineAttempts, e.attempts)
	b = appendInt(b, lineStatus, e.status)
	b = appendQuoted(appendName(b, lineOutcome), e.outcome)
	b = appendText(b, lineError, e.failure)
	if e.firstToken > 0 {
		b = appendFloat(b, lineFirstToken, milliseconds(e.firstToken))
	}
	b = appendFloat(b, lineDuration, milliseconds(e.duration))
	b = appendInt(b, lineTokensIn, e.tokensIn)
	b = appendInt(b, lineTokensOut, e.tokensOut)
	b = appendQuoted(appendName(b, lineUsage), e.usage.String())
	if e.priced {
		b = appendFloat(b, lineCost, e.cost)
	}
	b = strconv.AppendBool(appendName(b, lineStream), e.stream)
	b = appendText(b, lineTenant, e.tenant)
	b = appendText(b, lineKey, e.key)
	b = appendText(b, linePolicy, e.policy)
	b = appendText(b, lineCache, e.cache)
	b = appendText(b, lineCarried, e.carried)
	if e.rescued {
		b = strconv.AppendBool(appendName(b, lineRescued), true)
	}
	return append(b, "}\n"...)
}

// appendName begins a member; names need no escapes.
func appendName(b []byte, name string) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	return append(b, `":`...)
}

// appendText appends a member, unless it is empty.
func appendText(b []byte, name, v string) []byte {
	if v == "" {
		return b
	}
	return appendQuoted(appendName(b, name), v)
}

func appendInt(b []byte, name string, v int) []byte {
	return strconv.AppendInt(appendName(b, name), int64(v), 10)
}

// appendFloat appends a number as encoding/json does.
func appendFloat(b []byte, name string, v float64) []byte {
	b = appendName(b, name)
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return appendQuoted(b, "!ERROR:json: unsupported value: "+strconv.FormatFloat(v, 'g', -1, 64))
	}
	a := math.Abs(v)
	if a == 0 || a >= 1e-6 && a < 1e21 {
		return strconv.AppendFloat(b, v, 'f', -1, 64)
	}
	b = strconv.AppendFloat(b, v, 'e', -1, 64)
	if n := len(b); b[n-4] == 'e' && b[n-3] == '-' && b[n-2] == '0' { // e-09 is e-9
		b = append(b[:n-2], b[n-1])
	}
	return b
}

// appendQuoted appends a string as slog does: what is not UTF-8 is replaced, and the two separators that JavaScript trips over are escaped.
func appendQuoted(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		r, n := rune(c), 1
		if c >= utf8.RuneSelf {
			if r, n = utf8.DecodeRuneInString(s[i:]); (r != utf8.RuneError || n > 1) && r != 0x2028 && r != 0x2029 {
				i += n
				continue
			}
		}
		b = append(b, s[done:i]...)
		switch r {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			b = append(b, '\\', 'u', digits[r>>12], digits[r>>8&0xF], digits[r>>4&0xF], digits[r&0xF])
		}
		i += n
		done = i
	}
	b = append(b, s[done:]...)
	return append(b, '"')
}
