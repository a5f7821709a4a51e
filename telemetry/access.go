package telemetry

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/llm"
)

// lineMessage is the message of access lines: the console knows them by it.
const lineMessage = "exchange"

// Attributes of the access line: this list is the whole of what a line may hold.
const (
	lineID         = "id"
	lineRoute      = "route"
	lineRule       = "rule"
	lineBoundary   = "boundary" // those that held
	linePath       = "path"     // where no route answered
	lineError      = "error"    // the code that the client saw
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
	lineCarried    = "carried"
	lineRescued    = "rescued"
)

// entry is what the access line takes from a record: a value, so that queueing one costs no allocation and the record may be reused.
type entry struct {
	id                                    [16]byte
	end                                   time.Time
	route, rule, class, tier              string
	boundary, path, failure               string
	model, provider, outcome              string
	tenant, key, policy, cache, carried   string  // carried is empty where there is one carrier only
	gain, cost                            float64 // cost in USD
	firstToken, duration                  time.Duration
	attempts, status, tokensIn, tokensOut int
	usage                                 llm.UsageKind
	priced, stream, rescued               bool
}

func newEntry(r *Record) entry {
	e := entry{
		id: r.ID, end: r.End, route: r.Route, rule: r.Rule, class: r.Class, tier: r.Tier, model: r.Model, provider: r.Provider, outcome: r.Outcome,
		tenant: r.Tenant, key: r.Key, policy: r.Policy, cache: r.Cache, gain: r.Gain, cost: float64(r.MicroUSD) / 1e6, duration: r.End.Sub(r.Start),
		attempts: len(r.Attempts), status: r.Status, tokensIn: r.Usage.Input, tokensOut: r.Usage.Output, usage: r.UsageKind,
		priced: r.PriceKnown, stream: r.Stream, rescued: r.Rescued,
	}
	if r.Plane == "envoy" {
		e.carried = r.Carried
	}
	e.boundary = strings.Join(r.Boundaries, ", ")
	if r.Route == "" {
		e.path = r.Path
	}
	if r.Outcome != outcomeOK {
		e.failure = r.failure()
	}
	if r.FirstToken.After(r.Start) {
		e.firstToken = r.FirstToken.Sub(r.Start)
	}
	return e
}

func (e *entry) level() slog.Level {
	if e.status >= http.StatusInternalServerError {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// record writes the entry as a log record. Attributes that say nothing are left out.
func (e *entry) record() slog.Record {
	var buf [24]slog.Attr
	l := append(buf[:0], slog.String(lineID, hex.EncodeToString(e.id[:])))
	text := func(key, v string) {
		if v != "" {
			l = append(l, slog.String(key, v))
		}
	}
	text(lineRoute, e.route)
	text(linePath, e.path)
	text(lineRule, e.rule)
	text(lineBoundary, e.boundary)
	if e.class != "" {
		l = append(l, slog.String(lineClass, e.class), slog.Float64(lineGain, math.Round(e.gain*1000)/1000))
	}
	text(lineTier, e.tier)
	text(lineModel, e.model)
	text(lineProvider, e.provider)
	l = append(l, slog.Int(lineAttempts, e.attempts), slog.Int(lineStatus, e.status), slog.String(lineOutcome, e.outcome))
	text(lineError, e.failure)
	if e.firstToken > 0 {
		l = append(l, slog.Float64(lineFirstToken, milliseconds(e.firstToken)))
	}
	l = append(l, slog.Float64(lineDuration, milliseconds(e.duration)), slog.Int(lineTokensIn, e.tokensIn),
		slog.Int(lineTokensOut, e.tokensOut), slog.String(lineUsage, e.usage.String()))
	if e.priced {
		l = append(l, slog.Float64(lineCost, e.cost))
	}
	l = append(l, slog.Bool(lineStream, e.stream))
	text(lineTenant, e.tenant)
	text(lineKey, e.key)
	text(linePolicy, e.policy)
	text(lineCache, e.cache)
	text(lineCarried, e.carried)
	if e.rescued {
		l = append(l, slog.Bool(lineRescued, true))
	}
	rec := slog.NewRecord(e.end, e.level(), lineMessage, 0)
	rec.AddAttrs(l...)
	return rec
}

// milliseconds of a duration, to the microsecond, never negative.
func milliseconds(d time.Duration) float64 { return float64(max(0, d).Microseconds()) / 1000 }

// linePause is how long a line may wait for others: lines written together cost one wake of the writer, not one each.
const linePause = 20 * time.Millisecond

// lines is the queue between exchanges and the log's sink.
type lines struct {
	handler slog.Handler // takes the lines as records, where out is nil
	out     io.Writer    // takes them as JSON
	dropped func()
	timer   *time.Timer // fires linePause after the first line that waits
	stop    chan struct{}
	done    chan struct{} // closed when the last line is written
	once    sync.Once

	mu      sync.Mutex
	waiting []entry
	spare   []entry
	text    []byte // run's: of lines that are written together
}

// newLines starts the queue. Lines go to out as JSON, to the handler where out is nil.
func newLines(h slog.Handler, out io.Writer, dropped func()) *lines {
	l := &lines{handler: h, out: out, dropped: dropped, timer: time.NewTimer(time.Hour), stop: make(chan struct{}), done: make(chan struct{})}
	l.timer.Stop()
	go l.run()
	return l
}

// put queues the line of a record, or drops it when the sink is behind. What makes text of it has time, and is quicker with many lines at once.
func (l *lines) put(r *Record) {
	e := newEntry(r)
	l.mu.Lock()
	n := len(l.waiting)
	if n < lineQueue {
		l.waiting = append(l.waiting, e)
	}
	l.mu.Unlock()
	switch n {
	case 0:
		l.timer.Reset(linePause)
	case lineQueue:
		l.dropped()
	}
}

func (l *lines) run() {
	defer close(l.done)
	for {
		select {
		case <-l.timer.C:
			l.flush()
		case <-l.stop:
			l.flush()
			return
		}
	}
}

// flush writes the lines that wait.
func (l *lines) flush() {
	l.mu.Lock()
	all := l.waiting
	l.waiting, l.spare = l.spare, nil
	l.mu.Unlock()
	l.text = l.text[:0]
	for i := range all {
		if l.out == nil {
			l.write(&all[i])
		} else {
			l.text = all[i].appendJSON(l.text)
		}
	}
	if len(l.text) > 0 {
		if _, err := l.out.Write(l.text); err != nil {
			for range all {
				l.dropped()
			}
		}
	}
	clear(all)
	l.mu.Lock()
	l.spare = all[:0]
	l.mu.Unlock()
}

// write hands a line to the sink. There is nobody to tell that the log cannot be written, so the line counts as dropped.
func (l *lines) write(e *entry) {
	ctx := context.Background()
	if !l.handler.Enabled(ctx, e.level()) {
		return
	}
	if err := l.handler.Handle(ctx, e.record()); err != nil {
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
