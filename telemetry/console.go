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
)

// row is what a terminal shows of an exchange.
type row struct {
	at                       time.Time
	status, attempts         int64
	class, tier, model       string
	outcome, rule, usage     string
	gain, first, total, cost float64 // first and total in ms
	in, out                  int64
	priced                   bool
}

const rowFormat = "%-8s %4s  %-13s %6s  %-8s %-18s %3s %8s %8s %14s %11s"

// Header names the columns of Line.
func Header() string {
	return strings.TrimRight(fmt.Sprintf(rowFormat, "time", "stat", "class", "gain", "tier", "model", "att", "first", "total", "tokens", "cost"), " ")
}

// Line renders a record for a terminal, without its end of line: class, gain, tier, model, attempts, first token, tokens, cost, and the
// rule or what went wrong. Estimated tokens have a ~; an unknown cost is a dash.
func Line(r *Record) string {
	w := row{
		at: r.End, status: int64(r.Status), attempts: int64(len(r.Attempts)), class: r.Class, tier: r.Tier, model: r.Model, outcome: r.Outcome,
		rule: r.Rule, usage: r.UsageKind.String(), gain: r.Gain, total: milliseconds(r.Start, r.End), cost: float64(r.MicroUSD) / 1e6,
		in: int64(r.Usage.Input), out: int64(r.Usage.Output), priced: r.PriceKnown,
	}
	if r.FirstToken.After(r.Start) {
		w.first = milliseconds(r.Start, r.FirstToken)
	}
	return w.String()
}

// String aligns the row under Header.
func (w row) String() string {
	gain, tokens, cost, first := "-", "-", "-", "-"
	if w.class != "" {
		gain = fmt.Sprintf("%+.2f", w.gain)
	}
	if w.usage != "none" && w.usage != "" {
		tokens = fmt.Sprintf("%d>%d", w.in, w.out)
		if w.usage == "estimated" {
			tokens = "~" + tokens
		}
	}
	if w.priced && w.attempts > 0 {
		cost = fmt.Sprintf("$%.6f", w.cost)
	}
	if w.first > 0 {
		first = span(w.first)
	}
	status := "-"
	if w.status != 0 {
		status = strconv.FormatInt(w.status, 10)
	}
	s := fmt.Sprintf(rowFormat, w.at.Format(time.TimeOnly), status, dash(w.class), gain, dash(w.tier), dash(w.model),
		strconv.FormatInt(w.attempts, 10), first, span(w.total), tokens, cost)
	switch {
	case w.outcome != outcomeOK && w.outcome != "":
		s += "  " + w.outcome
	case w.rule != "":
		s += "  " + w.rule
	}
	return s
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// span renders milliseconds short enough for a column.
func span(ms float64) string {
	switch {
	case ms < 10:
		return fmt.Sprintf("%.1fms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0fms", ms)
	}
	return fmt.Sprintf("%.2fs", ms/1000)
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
	w := row{at: rec.Time}
	rec.Attrs(func(a slog.Attr) bool {
		w.take(a)
		return true
	})
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	text := w.String() + "\n"
	if !c.out.headed {
		text, c.out.headed = Header()+"\n"+text, true
	}
	_, err := io.WriteString(c.out.w, text)
	return err
}

// take reads one attribute of an access line.
func (w *row) take(a slog.Attr) {
	switch a.Key {
	case lineClass:
		w.class = a.Value.String()
	case lineTier:
		w.tier = a.Value.String()
	case lineModel:
		w.model = a.Value.String()
	case lineOutcome:
		w.outcome = a.Value.String()
	case lineRule:
		w.rule = a.Value.String()
	case lineUsage:
		w.usage = a.Value.String()
	case lineGain:
		w.gain = number(a.Value)
	case lineFirstToken:
		w.first = number(a.Value)
	case lineDuration:
		w.total = number(a.Value)
	case lineCost:
		w.cost, w.priced = number(a.Value), true
	case lineStatus:
		w.status = int64(number(a.Value))
	case lineAttempts:
		w.attempts = int64(number(a.Value))
	case lineTokensIn:
		w.in = int64(number(a.Value))
	case lineTokensOut:
		w.out = int64(number(a.Value))
	}
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
