package telemetry

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"time"
)

// lineMessage is the message of access lines: the console knows them by it.
const lineMessage = "exchange"

// Attributes of the access line: this list is the whole of what a line may hold.
const (
	lineID         = "id"
	lineRoute      = "route"
	lineRule       = "rule"
	lineClass      = "class"
	lineGain       = "gain"
	lineTier       = "tier"
	lineModel      = "model"
	lineProvider   = "provider"
	lineAttempts   = "attempts"
	lineStatus     = "status"
	lineOutcome    = "outcome"
	lineFirstToken = "first_token_ms"
	lineDuration   = "duration_ms"
	lineTokensIn   = "tokens_in"
	lineTokensOut  = "tokens_out"
	lineUsage      = "usage"
	lineCost       = "cost_usd"
	lineStream     = "stream"
	lineTenant     = "tenant"
	lineKey        = "key"
	linePolicy     = "policy"
	lineCache      = "cache"
)

// line writes a record as a log record. Attributes that say nothing are left out.
func line(r *Record) slog.Record {
	level := slog.LevelInfo
	if r.Status >= http.StatusInternalServerError {
		level = slog.LevelWarn
	}
	var buf [24]slog.Attr
	l := append(buf[:0], slog.String(lineID, hex.EncodeToString(r.ID[:])))
	text := func(key, v string) {
		if v != "" {
			l = append(l, slog.String(key, v))
		}
	}
	text(lineRoute, r.Route)
	text(lineRule, r.Rule)
	if r.Class != "" {
		l = append(l, slog.String(lineClass, r.Class), slog.Float64(lineGain, rounded(r.Gain, 1000)))
	}
	text(lineTier, r.Tier)
	text(lineModel, r.Model)
	text(lineProvider, r.Provider)
	l = append(l, slog.Int(lineAttempts, len(r.Attempts)), slog.Int(lineStatus, r.Status), slog.String(lineOutcome, r.Outcome))
	if r.FirstToken.After(r.Start) {
		l = append(l, slog.Float64(lineFirstToken, milliseconds(r.Start, r.FirstToken)))
	}
	l = append(l, slog.Float64(lineDuration, milliseconds(r.Start, r.End)), slog.Int(lineTokensIn, r.Usage.Input),
		slog.Int(lineTokensOut, r.Usage.Output), slog.String(lineUsage, r.UsageKind.String()))
	if r.PriceKnown {
		l = append(l, slog.Float64(lineCost, float64(r.MicroUSD)/1e6))
	}
	l = append(l, slog.Bool(lineStream, r.Stream))
	text(lineTenant, r.Tenant)
	text(lineKey, r.Key)
	text(linePolicy, r.Policy)
	text(lineCache, r.Cache)
	rec := slog.NewRecord(r.End, level, lineMessage, 0)
	rec.AddAttrs(l...)
	return rec
}

func milliseconds(from, to time.Time) float64 {
	return rounded(float64(max(0, to.Sub(from)))/float64(time.Millisecond), 1000)
}

func rounded(v, places float64) float64 { return math.Round(v*places) / places }

// lines is the queue between exchanges and the log's sink.
type lines struct {
	handler slog.Handler
	dropped func()
	queue   chan slog.Record
	stop    chan struct{} // closed once: no more lines
	done    chan struct{} // closed when the last line is written
	once    sync.Once
}

func newLines(h slog.Handler, dropped func()) *lines {
	l := &lines{handler: h, dropped: dropped, queue: make(chan slog.Record, lineQueue), stop: make(chan struct{}), done: make(chan struct{})}
	go l.run()
	return l
}

// put queues the line of a record, or drops it when the sink is behind.
func (l *lines) put(r *Record) {
	level := slog.LevelInfo
	if r.Status >= http.StatusInternalServerError {
		level = slog.LevelWarn
	}
	if !l.handler.Enabled(context.Background(), level) {
		return
	}
	select {
	case l.queue <- line(r):
	default:
		l.dropped()
	}
}

func (l *lines) run() {
	defer close(l.done)
	for {
		select {
		case rec := <-l.queue:
			l.write(rec)
		case <-l.stop:
			l.drain()
			return
		}
	}
}

func (l *lines) drain() {
	for {
		select {
		case rec := <-l.queue:
			l.write(rec)
		default:
			return
		}
	}
}

// write hands a line to the sink. There is nobody to tell that the log cannot be written, so the line counts as dropped.
func (l *lines) write(rec slog.Record) {
	if err := l.handler.Handle(context.Background(), rec); err != nil {
		l.dropped()
	}
}

// close writes what waits, until ctx ends.
func (l *lines) close(ctx context.Context) error {
	l.once.Do(func() { close(l.stop) })
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("access log: %w", ctx.Err())
	}
}
