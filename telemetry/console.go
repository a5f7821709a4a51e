package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/llm"
)

const rowFormat = "%-8s %4s  %-13s %6s  %-8s %-18s %3s %8s %8s %14s %11s"

// Header names the columns of Line.
func Header() string {
	return strings.TrimRight(fmt.Sprintf(rowFormat, "time", "stat", "class", "gain", "tier", "model", "att", "first", "total", "tokens", "cost"), " ")
}

// Line renders a record for a terminal, without its end of line: class, gain, tier, model, attempts, first token, tokens, cost, and the
// rule or what went wrong. Estimated tokens have a ~; an unknown cost is a dash.
func Line(r *Record) string {
	e := newEntry(r)
	return e.row()
}

// row aligns the entry under Header.
func (e *entry) row() string {
	gain, tokens, cost, first, status := "-", "-", "-", "-", "-"
	if e.class != "" {
		gain = fmt.Sprintf("%+.2f", e.gain)
	}
	switch e.usage {
	case llm.UsageReported:
		tokens = fmt.Sprintf("%d>%d", e.tokensIn, e.tokensOut)
	case llm.UsageEstimated:
		tokens = fmt.Sprintf("~%d>%d", e.tokensIn, e.tokensOut)
	}
	if e.priced && e.attempts > 0 {
		cost = fmt.Sprintf("$%.6f", e.cost)
	}
	if e.firstToken > 0 {
		first = Short(e.firstToken)
	}
	if e.status != 0 {
		status = strconv.Itoa(e.status)
	}
	s := fmt.Sprintf(rowFormat, e.end.Format(time.TimeOnly), status, dash(e.class), gain, dash(e.tier), dash(e.model),
		strconv.Itoa(e.attempts), first, Short(e.duration), tokens, cost)
	switch {
	case e.failure != "" && e.failure != e.outcome:
		s += "  " + e.outcome + ": " + e.failure
	case e.outcome != outcomeOK && e.outcome != "":
		s += "  " + e.outcome
	case e.rule != "":
		s += "  " + e.rule
	case e.path != "":
		s += "  " + e.path
	}
	if e.boundary != "" {
		s += "; bound: " + e.boundary
	}
	if e.carried != "" {
		s += "  [" + e.carried + "]"
	}
	return s
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// Short renders a duration for a column.
func Short(d time.Duration) string {
	switch ms := milliseconds(d); {
	case ms < 10:
		return fmt.Sprintf("%.1fms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0fms", ms)
	default:
		return fmt.Sprintf("%.2fs", ms/1000)
	}
}

// console is a log handler for people: exchanges as aligned rows, all else as text.
type console struct {
	out   *screen
	other slog.Handler
}

// screen is the terminal, shared by handlers that were derived from one.
type screen struct {
	mu     sync.Mutex
	w      io.Writer
	headed bool
}

// Write writes under the lock, so that rows and other lines do not mix.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// Console returns a log handler for a terminal: exchanges are rows under one header, everything else is slog's text with a short time.
// opts may be nil; its ReplaceAttr does not see exchanges.
func Console(w io.Writer, opts *slog.HandlerOptions) slog.Handler {
	var o slog.HandlerOptions
	if opts != nil {
		o = *opts
	}
	if o.ReplaceAttr == nil {
		o.ReplaceAttr = shortTime
	}
	s := &screen{w: w}
	return &console{out: s, other: slog.NewTextHandler(s, &o)}
}

func shortTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.String(slog.TimeKey, a.Value.Time().Format(time.TimeOnly))
	}
	return a
}

// Enabled reports whether the level is shown.
func (c *console) Enabled(ctx context.Context, l slog.Level) bool { return c.other.Enabled(ctx, l) }

// WithAttrs returns a handler that adds attributes to what is not an exchange.
func (c *console) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &console{out: c.out, other: c.other.WithAttrs(attrs)}
}

// WithGroup returns a handler that puts the attributes of what is not an exchange into a group.
func (c *console) WithGroup(name string) slog.Handler {
	return &console{out: c.out, other: c.other.WithGroup(name)}
}

// Handle writes a row or a line.
func (c *console) Handle(ctx context.Context, rec slog.Record) error {
	if rec.Message != lineMessage {
		return c.other.Handle(ctx, rec)
	}
	e := entry{end: rec.Time}
	rec.Attrs(func(a slog.Attr) bool {
		e.take(a)
		return true
	})
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	text := e.row() + "\n"
	if !c.out.headed {
		text, c.out.headed = Header()+"\n"+text, true
	}
	_, err := io.WriteString(c.out.w, text)
	return err
}

// take reads one attribute of an access line back: the console is a handler like any other and gets what all get.
func (e *entry) take(a slog.Attr) {
	switch a.Key {
	case lineClass:
		e.class = a.Value.String()
	case lineTier:
		e.tier = a.Value.String()
	case lineModel:
		e.model = a.Value.String()
	case lineOutcome:
		e.outcome = a.Value.String()
	case lineRule:
		e.rule = a.Value.String()
	case lineBoundary:
		e.boundary = a.Value.String()
	case linePath:
		e.path = a.Value.String()
	case lineError:
		e.failure = a.Value.String()
	case lineUsage:
		e.usage = usageKind(a.Value.String())
	case lineCarried:
		e.carried = a.Value.String()
	case lineGain:
		e.gain = number(a.Value)
	case lineFirstToken:
		e.firstToken = time.Duration(number(a.Value) * float64(time.Millisecond))
	case lineDuration:
		e.duration = time.Duration(number(a.Value) * float64(time.Millisecond))
	case lineCost:
		e.cost, e.priced = number(a.Value), true
	case lineStatus:
		e.status = int(number(a.Value))
	case lineAttempts:
		e.attempts = int(number(a.Value))
	case lineTokensIn:
		e.tokensIn = int(number(a.Value))
	case lineTokensOut:
		e.tokensOut = int(number(a.Value))
	}
}

func usageKind(name string) llm.UsageKind {
	for _, k := range []llm.UsageKind{llm.UsageReported, llm.UsageEstimated} {
		if k.String() == name {
			return k
		}
	}
	return llm.UsageNone
}

// number reads an attribute that is a number by its name; anything else, which another writer of such a line could send, is zero.
func number(v slog.Value) float64 {
	switch v.Kind() {
	case slog.KindFloat64:
		return v.Float64()
	case slog.KindInt64:
		return float64(v.Int64())
	}
	return 0
}
