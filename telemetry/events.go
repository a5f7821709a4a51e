package telemetry

import (
	"context"
	"fmt"
	"runtime"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// BreakerState is one breaker at the moment of a scrape. Names are configured ones.
type BreakerState struct {
	Provider string
	Model    string
	Target   string // what else tells breakers of one model apart: a pool's endpoint, or a credential's position; "" = nothing
	State    int64  // 0 closed, 1 half-open, 2 open
}

// EndpointState is one endpoint of a pool at the moment of a scrape.
type EndpointState struct {
	Provider string
	Endpoint string // host:port
	Healthy  bool
	InFlight int64 // requests
	Tokens   int64 // of the requests in flight, as estimated
}

// RetryState is one target's account of retries at the moment of a scrape.
type RetryState struct {
	Provider string
	Model    string
	Tokens   int64 // left
}

// Sources are asked at every scrape and push for what is so now; a nil one is not asked. They must be quick and safe for concurrent calls.
type Sources struct {
	InFlight  func() int64                        // exchanges begun and not ended
	Breakers  func(yield func(BreakerState) bool) // an iter.Seq
	Endpoints func(yield func(EndpointState) bool)
	Retries   func(yield func(RetryState) bool)
}

// Observe registers the sources of the gauges. Call it once.
func (s *Sink) Observe(src Sources) error {
	if err := s.observeInFlight(src.InFlight); err != nil {
		return fmt.Errorf("gauge of exchanges: %w", err)
	}
	if err := s.observeBreakers(src.Breakers); err != nil {
		return fmt.Errorf("gauge of breakers: %w", err)
	}
	if err := s.observeRetries(src.Retries); err != nil {
		return fmt.Errorf("gauge of retries: %w", err)
	}
	if err := s.observeEndpoints(src.Endpoints); err != nil {
		return fmt.Errorf("gauges of pools: %w", err)
	}
	return nil
}

func (s *Sink) gauge(name, text string) (metric.Int64ObservableGauge, error) {
	return s.meter.Int64ObservableGauge(name, metric.WithDescription(text))
}

func (s *Sink) observeInFlight(read func() int64) error {
	if read == nil {
		return nil
	}
	g, err := s.gauge(metricInFlight, "Exchanges begun and not yet ended.")
	if err != nil {
		return err
	}
	_, err = s.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(g, read())
		return nil
	}, g)
	return err
}

func (s *Sink) observeBreakers(read func(func(BreakerState) bool)) error {
	if read == nil {
		return nil
	}
	g, err := s.gauge(metricBreaker, "0 closed, 1 half-open, 2 open.")
	if err != nil {
		return err
	}
	_, err = s.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for b := range read {
			kv := []attribute.KeyValue{labelProvider.String(b.Provider), labelModel.String(b.Model)}
			if b.Target != "" {
				kv = append(kv, labelTarget.String(b.Target))
			}
			o.ObserveInt64(g, b.State, metric.WithAttributes(kv...))
		}
		return nil
	}, g)
	return err
}

func (s *Sink) observeRetries(read func(func(RetryState) bool)) error {
	if read == nil {
		return nil
	}
	g, err := s.gauge(metricRetries, "Tokens for retries that a target has left of 500; one that is not there has all.")
	if err != nil {
		return err
	}
	_, err = s.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for r := range read {
			o.ObserveInt64(g, r.Tokens, metric.WithAttributes(labelProvider.String(r.Provider), labelModel.String(r.Model)))
		}
		return nil
	}, g)
	return err
}

func (s *Sink) observeEndpoints(read func(func(EndpointState) bool)) error {
	if read == nil {
		return nil
	}
	up, err := s.gauge(metricPoolUp, "1 while the endpoint of a pool is healthy, else 0.")
	if err != nil {
		return err
	}
	load, err := s.gauge(metricPoolLoad, "Requests in flight at an endpoint of a pool.")
	if err != nil {
		return err
	}
	tokens, err := s.gauge(metricPoolTokens, "Estimated tokens of the requests in flight at an endpoint of a pool.")
	if err != nil {
		return err
	}
	_, err = s.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for e := range read {
			with := metric.WithAttributeSet(attribute.NewSet(labelProvider.String(e.Provider), labelEndpoint.String(e.Endpoint)))
			o.ObserveInt64(up, truth(e.Healthy), with)
			o.ObserveInt64(load, e.InFlight, with)
			o.ObserveInt64(tokens, e.Tokens, with)
		}
		return nil
	}, up, load, tokens)
	return err
}

// startEvents shows the counters of events at zero, so that an alert on their increase sees the first one.
func (s *Sink) startEvents(version string) error {
	ctx := context.Background()
	s.metrics.panics.Add(ctx, 0)
	s.metrics.ledgerLost.Add(ctx, 0)
	for _, result := range []string{"ok", "error"} {
		s.metrics.reloads.Add(ctx, 0, metric.WithAttributes(labelResult.String(result)))
	}
	g, err := s.gauge(metricBuild, "Always 1; the labels say what runs.")
	if err != nil {
		return fmt.Errorf("gauge of the build: %w", err)
	}
	built := metric.WithAttributes(labelVersion.String(version), labelGo.String(runtime.Version()))
	_, err = s.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s.tally.flush() // callbacks are run before anything is read
		o.ObserveInt64(g, 1, built)
		return nil
	}, g)
	return err
}

// Reload counts a load of the policy, the first one included.
func (s *Sink) Reload(ok bool) {
	result := "error"
	if ok {
		result = "ok"
	}
	s.metrics.reloads.Add(context.Background(), 1, metric.WithAttributes(labelResult.String(result)))
	s.metrics.lastReload.Record(context.Background(), truth(ok))
}

// Panic counts a recovered panic.
func (s *Sink) Panic() { s.metrics.panics.Add(context.Background(), 1) }

// LedgerLost counts rows of the ledger that were lost.
func (s *Sink) LedgerLost(rows int) { s.metrics.ledgerLost.Add(context.Background(), int64(rows)) }

// StateDegraded says that use (limits, budget, cache) goes on without the shared state.
func (s *Sink) StateDegraded(use string) { s.setDegraded(use, 1) }

// StateRestored takes StateDegraded back.
func (s *Sink) StateRestored(use string) { s.setDegraded(use, 0) }

func (s *Sink) setDegraded(use string, v int64) {
	s.metrics.degraded.Record(context.Background(), v, metric.WithAttributes(labelUse.String(use)))
}

func (s *Sink) exportFailed(signal string) {
	s.metrics.failed.Add(context.Background(), 1, metric.WithAttributes(labelSignal.String(signal)))
}

func (s *Sink) lineDropped() {
	s.metrics.dropped.Add(context.Background(), 1, droppedLine...)
}

// droppedLine is ready made: lines are dropped when there is no time.
var droppedLine = []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(labelSignal.String("access_log")))}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
