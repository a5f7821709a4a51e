package telemetry

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/sluice-gateway/sluice/llm"
)

// instruments are the metrics that records and events feed.
type instruments struct {
	tokens     metric.Int64Histogram
	duration   metric.Float64Histogram
	first      metric.Float64Histogram
	exchanges  metric.Int64Counter
	attempts   metric.Int64Counter
	rescues    metric.Int64Counter
	estimated  metric.Int64Counter
	cost       metric.Int64Counter
	panics     metric.Int64Counter
	reloads    metric.Int64Counter
	lastReload metric.Int64Gauge
	degraded   metric.Int64Gauge
	dropped    metric.Int64Counter
	failed     metric.Int64Counter
	ledgerLost metric.Int64Counter
	cached     metric.Int64Counter

	byExchange cache[exchangeKey]
	byRescue   cache[rescueKey]
	byAttempt  cache[attemptKey]
	byCall     cache[callKey]
	byModel    cache[modelKey]
	byCache    cache[cacheKey]
}

func newInstruments(m metric.Meter) (*instruments, error) {
	var errs []error
	counter := func(name, unit, text string) metric.Int64Counter {
		c, err := m.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(text))
		errs = append(errs, err)
		return c
	}
	gauge := func(name, text string) metric.Int64Gauge {
		g, err := m.Int64Gauge(name, metric.WithDescription(text))
		errs = append(errs, err)
		return g
	}
	seconds := func(name, text string) metric.Float64Histogram {
		h, err := m.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(text), metric.WithExplicitBucketBoundaries(secondsBuckets...))
		errs = append(errs, err)
		return h
	}
	tokens, err := m.Int64Histogram(metricTokens, metric.WithUnit("{token}"),
		metric.WithDescription("Tokens that providers reported, one measurement an attempt and token type."), metric.WithExplicitBucketBoundaries(tokenBuckets...))
	errs = append(errs, err)
	i := &instruments{
		tokens:     tokens,
		duration:   seconds(metricDuration, "Logical calls to models, from the first attempt's start to the last one's end."),
		first:      seconds(metricFirst, "From the first attempt's start to the first real event, streams only."),
		exchanges:  counter(metricExchanges, "{exchange}", "Exchanges that ended, by route and outcome."),
		attempts:   counter(metricAttempts, "{attempt}", "Requests to upstreams, by the class of their failure; class ok is success."),
		rescues:    counter(metricRescues, "{stream}", "Streams that broke and were to be carried on, by route and result: ok, failed or left by the client."),
		estimated:  counter(metricEstimated, "{token}", "Estimated tokens of attempts whose provider reported none."),
		cost:       counter(metricCost, "micro_usd", "Cost of attempts at the policy's prices, in millionths of a dollar."),
		panics:     counter(metricPanics, "{panic}", "Panics that were recovered."),
		reloads:    counter(metricReloads, "{reload}", "Loads of the policy, by result."),
		lastReload: gauge(metricLastReload, "1 when the last load of the policy succeeded, else 0."),
		degraded:   gauge(metricDegraded, "1 while the shared state is not used for this, else 0."),
		dropped:    counter(metricDropped, "{item}", "Access lines dropped because their sink was slow."),
		failed:     counter(metricFailed, "{export}", "Exports that a telemetry sink refused."),
		ledgerLost: counter(metricLedgerLost, "{row}", "Rows of the ledger that were lost because the disk did not take them."),
		cached:     counter(metricCache, "{exchange}", "Exchanges on routes with a cache, by what it did: hit, miss, bypass."),
		byExchange: cache[exchangeKey]{set: exchangeKey.set},
		byRescue:   cache[rescueKey]{set: rescueKey.set},
		byAttempt:  cache[attemptKey]{set: attemptKey.set},
		byCall:     cache[callKey]{set: callKey.set},
		byModel:    cache[modelKey]{set: modelKey.set},
		byCache:    cache[cacheKey]{set: cacheKey.set},
	}
	return i, errors.Join(errs...)
}

// measure feeds the metrics from a record. ctx holds the span that exemplars point to, if any.
func (i *instruments) measure(ctx context.Context, r *Record) {
	i.exchanges.Add(ctx, 1, i.byExchange.of(exchangeKey{r.Route, r.Outcome}).add...)
	if r.Cache != "" {
		i.cached.Add(ctx, 1, i.byCache.of(cacheKey{r.Route, r.Cache}).add...)
	}
	for a := range r.Requests {
		op := r.Op
		if a == r.Embedding {
			op = llm.OpEmbeddings
		}
		i.attempt(ctx, op, a)
	}
	if result := r.rescue(); result != "" {
		i.rescues.Add(ctx, 1, i.byRescue.of(rescueKey{r.Route, result}).add...)
	}
	if r.RequestModel == "" || len(r.Attempts) == 0 {
		return
	}
	start, end := r.callTimes()
	key := callKey{op: r.Op, provider: r.system(), model: r.RequestModel, answered: r.Model, failure: r.failure()}
	i.duration.Record(ctx, seconds(start, end), i.byCall.of(key).record...)
	if r.Stream && r.FirstToken.After(start) {
		key.failure = ""
		i.first.Record(ctx, seconds(start, r.FirstToken), i.byCall.of(key).record...)
	}
}

// attempt counts one attempt. Tokens are counted where they were spent, so that after a fail-over the sum over providers is right.
func (i *instruments) attempt(ctx context.Context, op llm.Op, a *Attempt) {
	class := a.Class
	if class == llm.ClassNone {
		class = "ok"
	}
	i.attempts.Add(ctx, 1, i.byAttempt.of(attemptKey{a.Provider, a.Model, class}).add...)
	if a.MicroUSD > 0 {
		i.cost.Add(ctx, a.MicroUSD, i.byModel.of(modelKey{a.Provider, a.Model, ""}).add...)
	}
	switch a.UsageKind {
	case llm.UsageReported:
		key := callKey{op: op, provider: a.system(), model: a.Model, token: "input"}
		i.tokens.Record(ctx, int64(a.Usage.Input), i.byCall.of(key).record...)
		if op != llm.OpEmbeddings {
			key.token = "output"
			i.tokens.Record(ctx, int64(a.Usage.Output), i.byCall.of(key).record...)
		}
	case llm.UsageEstimated:
		i.estimated.Add(ctx, int64(a.Usage.Input), i.byModel.of(modelKey{a.Provider, a.Model, "input"}).add...)
		i.estimated.Add(ctx, int64(a.Usage.Output), i.byModel.of(modelKey{a.Provider, a.Model, "output"}).add...)
	}
}

type exchangeKey struct{ route, outcome string }

func (k exchangeKey) set() attribute.Set {
	return attribute.NewSet(labelRoute.String(k.route), labelOutcome.String(k.outcome))
}

type rescueKey struct{ route, result string }

func (k rescueKey) set() attribute.Set {
	return attribute.NewSet(labelRoute.String(k.route), labelResult.String(k.result))
}

// rescue is what became of a stream that broke and was to be carried on; "" = none broke, or nobody was asked.
func (r *Record) rescue() string {
	n := len(r.Attempts)
	switch {
	case n == 0 || r.Attempts[n-1].Rescue == "":
		return ""
	case r.Outcome == outcomeOK:
		return "ok"
	case r.Outcome == outcomeGone:
		return "left"
	}
	return "failed"
}

type cacheKey struct{ route, result string }

func (k cacheKey) set() attribute.Set {
	return attribute.NewSet(labelRoute.String(k.route), labelResult.String(k.result))
}

type attemptKey struct {
	provider, model string
	class           llm.Class
}

func (k attemptKey) set() attribute.Set {
	return attribute.NewSet(labelProvider.String(k.provider), labelModel.String(k.model), labelClass.String(string(k.class)))
}

type modelKey struct{ provider, model, token string }

func (k modelKey) set() attribute.Set {
	kv := []attribute.KeyValue{labelProvider.String(k.provider), labelModel.String(k.model)}
	if k.token != "" {
		kv = append(kv, labelType.String(k.token))
	}
	return attribute.NewSet(kv...)
}

type callKey struct {
	op              llm.Op
	provider, model string
	answered        string // the policy's name of the model that answered: an upstream's own name is no label
	token, failure  string
}

func (k callKey) set() attribute.Set {
	kv := []attribute.KeyValue{attrOperation.String(k.op.String()), attrProvider.String(k.provider), attrRequestModel.String(k.model)}
	if k.answered != "" {
		kv = append(kv, attrResponseModel.String(k.answered))
	}
	if k.token != "" {
		kv = append(kv, attrTokenType.String(k.token))
	}
	if k.failure != "" {
		kv = append(kv, attrErrorType.String(k.failure))
	}
	return attribute.NewSet(kv...)
}

// options are one series' attributes in the two forms that instruments take.
type options struct {
	add    []metric.AddOption
	record []metric.RecordOption
}

// cache keeps the attribute sets of series, since building one costs more than measuring. Reading takes no lock. Keys are configured names;
// should reloads bring ever new ones, the cache starts afresh.
type cache[K comparable] struct {
	set  func(K) attribute.Set
	seen atomic.Pointer[map[K]*options]
	mu   sync.Mutex
}

// maxCached is far above what one policy can name.
const maxCached = 1 << 14

func (c *cache[K]) of(key K) *options {
	if m := c.seen.Load(); m != nil {
		if o, ok := (*m)[key]; ok {
			return o
		}
	}
	return c.grow(key)
}

func (c *cache[K]) grow(key K) *options {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := map[K]*options{}
	if m := c.seen.Load(); m != nil {
		if o, ok := (*m)[key]; ok {
			return o
		}
		if len(*m) < maxCached {
			next = maps.Clone(*m)
		}
	}
	with := metric.WithAttributeSet(c.set(key))
	o := &options{add: []metric.AddOption{with}, record: []metric.RecordOption{with}}
	next[key] = o
	c.seen.Store(&next)
	return o
}

// seconds between two times, never negative.
func seconds(from, to time.Time) float64 { return max(0, to.Sub(from).Seconds()) }
