package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel/attribute"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	scope      = "github.com/sluice-gateway/sluice/telemetry"
	spanQueue  = 8192 // spans that may wait for the collector
	lineQueue  = 2048 // access lines that may wait for the log's sink
	maxSeries  = 10000
	protocolOf = "OTEL_EXPORTER_OTLP_PROTOCOL"
)

// Options say where records go. The zero value feeds Prometheus only.
type Options struct {
	ServiceVersion string
	OTLPEndpoint   string       // host:port, http://, https://, grpc:// or grpcs://; "" = no OTLP
	AccessLog      bool         // one line an exchange
	Logger         *slog.Logger // of access lines and failing exports; nil = slog.Default()
	Lines          io.Writer    // takes the access lines instead of Logger, as Logger's JSON handler would write them, many at a time

	SpanProcessor sdktrace.SpanProcessor // replaces the OTLP one; for tests
	Reader        sdkmetric.Reader       // beside Prometheus; replaces the OTLP one; for tests
}

// Sink takes records and events. Its methods may be called from any number of goroutines and never wait for whoever reads.
type Sink struct {
	metrics  *instruments
	tally    *tally // feeds them records
	meter    metric.Meter
	readers  *sdkmetric.MeterProvider
	tracer   trace.Tracer // nil = nobody wants spans
	spans    *sdktrace.TracerProvider
	lines    *lines // nil = no access log
	registry *prometheus.Registry
}

// New makes a sink. The collector need not be there: it is dialled in the background. The error says what is wrong with the options.
func New(ctx context.Context, o Options) (*Sink, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s := &Sink{registry: prometheus.NewRegistry()}
	failed := &failures{logger: o.Logger, count: s.exportFailed}
	if o.OTLPEndpoint != "" {
		if err := o.collect(ctx, failed); err != nil {
			return nil, err
		}
	}
	res, err := resource.New(ctx, resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "sluice"), attribute.String("service.version", o.ServiceVersion)), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("telemetry resource: %w", err)
	}
	if err := s.startMetrics(o, res); err != nil {
		return nil, err
	}
	if o.SpanProcessor != nil {
		s.spans = sdktrace.NewTracerProvider(sdktrace.WithResource(res), sdktrace.WithIDGenerator(recordIDs{}),
			sdktrace.WithSampler(sdktrace.AlwaysSample()), sdktrace.WithSpanProcessor(o.SpanProcessor))
		s.tracer = s.spans.Tracer(scope, trace.WithInstrumentationVersion(o.ServiceVersion))
	}
	if o.AccessLog {
		s.lines = newLines(o.Logger.Handler(), o.Lines, s.lineDropped)
	}
	return s, nil
}

// collect fills the processor and the reader that tests have not given with ones that speak to the collector.
func (o *Options) collect(ctx context.Context, failed *failures) error {
	c, err := parseCollector(o.OTLPEndpoint, os.Getenv(protocolOf))
	if err != nil {
		return err
	}
	if o.SpanProcessor == nil {
		e, err := c.spans(ctx)
		if err != nil {
			return fmt.Errorf("otlp spans: %w", err)
		}
		o.SpanProcessor = sdktrace.NewBatchSpanProcessor(&spanExporter{e, failed}, sdktrace.WithMaxQueueSize(spanQueue))
	}
	if o.Reader == nil {
		e, err := c.metrics(ctx)
		if err != nil {
			return fmt.Errorf("otlp metrics: %w", err)
		}
		o.Reader = sdkmetric.NewPeriodicReader(&metricExporter{e, failed})
	}
	return nil
}

// startMetrics sets up the one source of metrics and its readers: Prometheus always, OTLP where wanted.
func (s *Sink) startMetrics(o Options, res *resource.Resource) error {
	err := errors.Join(s.registry.Register(collectors.NewGoCollector()), s.registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})))
	if err != nil {
		return fmt.Errorf("runtime metrics: %w", err)
	}
	// Plain names as dashboards know them: no labels of the scope, no target_info.
	pull, err := promexporter.New(promexporter.WithRegisterer(s.registry), promexporter.WithoutScopeInfo(), promexporter.WithoutTargetInfo(),
		promexporter.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes))
	if err != nil {
		return fmt.Errorf("prometheus exporter: %w", err)
	}
	options := []sdkmetric.Option{sdkmetric.WithResource(res), sdkmetric.WithReader(pull), sdkmetric.WithCardinalityLimit(maxSeries)}
	if o.Reader != nil {
		options = append(options, sdkmetric.WithReader(o.Reader))
	}
	s.readers = sdkmetric.NewMeterProvider(options...)
	s.meter = s.readers.Meter(scope)
	if s.metrics, err = newInstruments(s.meter); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	s.tally = newTally(s.metrics)
	return s.startEvents(o.ServiceVersion)
}

// Emit projects a record on spans, metrics and the access line. Call it once an exchange, when nobody changes the record any more; the
// record may be reused afterwards. It never waits.
func (s *Sink) Emit(r *Record) {
	ctx := context.Background()
	if s.tracer != nil && r.Trace.Sampled {
		ctx = s.trace(ctx, r)
	}
	s.tally.put(ctx, r)
	if s.lines != nil {
		s.lines.put(r)
	}
}

// Handler serves the metrics to Prometheus, in OpenMetrics with exemplars where the scraper asks for that.
func (s *Sink) Handler() http.Handler {
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// Shutdown sends what waits, to all sinks at once, and stops. A dead sink holds it until ctx ends. Records emitted later are lost.
func (s *Sink) Shutdown(ctx context.Context) error {
	var wg sync.WaitGroup
	var errs [3]error
	s.tally.timer.Stop()
	wg.Go(func() { errs[0] = s.readers.Shutdown(ctx) })
	if s.spans != nil {
		wg.Go(func() { errs[1] = s.spans.Shutdown(ctx) })
	}
	if s.lines != nil {
		wg.Go(func() { errs[2] = s.lines.close(ctx) })
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}
