package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// protocols of OTEL_EXPORTER_OTLP_PROTOCOL that Sluice speaks.
const (
	protocolGRPC = "grpc"
	protocolHTTP = "http/protobuf"
)

// collector is where OTLP goes.
type collector struct {
	grpc bool
	tls  bool
	host string // host:port
	path string // of HTTP, before /v1/traces and /v1/metrics
}

// parseCollector reads an endpoint: host:port, http://, https://, grpc:// or grpcs://. A grpc scheme decides the protocol, then protocol
// (the value of OTEL_EXPORTER_OTLP_PROTOCOL), then the port (4317 gRPC, 4318 HTTP), then the scheme. A bare host:port is plain text.
func parseCollector(endpoint, protocol string) (collector, error) {
	raw := endpoint
	if !strings.Contains(raw, "://") {
		raw = "//" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return collector{}, fmt.Errorf("otlp endpoint %q: want host:port or a URL without user, query and fragment", redactUser(endpoint))
	}
	c := collector{tls: u.Scheme == "https" || u.Scheme == "grpcs", path: strings.TrimRight(u.Path, "/")}
	switch u.Scheme {
	case "grpc", "grpcs":
		c.grpc = true
	case "", "http", "https":
		switch {
		case protocol == protocolGRPC:
			c.grpc = true
		case protocol == protocolHTTP:
		case protocol != "":
			return collector{}, fmt.Errorf("otlp protocol %q: want %s or %s", protocol, protocolGRPC, protocolHTTP)
		case u.Port() == "4317":
			c.grpc = true
		case u.Port() != "4318":
			c.grpc = u.Scheme == ""
		}
	default:
		return collector{}, fmt.Errorf("otlp endpoint: unknown scheme %q: want http, https, grpc or grpcs", u.Scheme)
	}
	if c.grpc && c.path != "" {
		return collector{}, fmt.Errorf("otlp endpoint %q: gRPC takes no path", endpoint)
	}
	c.host = u.Host
	if u.Port() == "" {
		c.host = net.JoinHostPort(u.Hostname(), c.defaultPort())
	}
	return c, nil
}

// TracesURL is where an endpoint's spans go, as Options.OTLPEndpoint and the environment's protocol have it: grpc(s)://host:port, or
// http(s)://host:port/path. It is for whoever else sends spans there.
func TracesURL(endpoint string) (*url.URL, error) {
	c, err := parseCollector(endpoint, os.Getenv(protocolOf))
	if err != nil {
		return nil, err
	}
	if !c.grpc {
		return url.Parse(c.url("/v1/traces"))
	}
	u := &url.URL{Scheme: "grpc", Host: c.host}
	if c.tls {
		u.Scheme = "grpcs"
	}
	return u, nil
}

// redactUser keeps credentials that somebody wrote into an endpoint out of the message that refuses them.
func redactUser(s string) string {
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		return "***" + s[at:]
	}
	return s
}

func (c collector) defaultPort() string {
	switch {
	case c.grpc:
		return "4317"
	case c.tls && c.path != "":
		return "443"
	}
	return "4318"
}

func (c collector) url(suffix string) string {
	if c.tls {
		return "https://" + c.host + c.path + suffix
	}
	return "http://" + c.host + c.path + suffix
}

func (c collector) spans(ctx context.Context) (sdktrace.SpanExporter, error) {
	if c.grpc {
		return otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(c.url("")))
	}
	return otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(c.url("/v1/traces")))
}

func (c collector) metrics(ctx context.Context) (metric.Exporter, error) {
	if c.grpc {
		return otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpointURL(c.url("")))
	}
	return otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpointURL(c.url("/v1/metrics")))
}

// failures counts what a sink refused and says so at most once a minute. It stands between the exporters and the SDK's global error handler,
// which would print every failure.
type failures struct {
	logger *slog.Logger
	count  func(signal string)
	last   atomic.Int64 // Unix nanoseconds of the last line
}

func (f *failures) note(signal string, err error) {
	f.count(signal)
	now, last := time.Now().UnixNano(), f.last.Load()
	if now-last < int64(time.Minute) || !f.last.CompareAndSwap(last, now) {
		return
	}
	f.logger.Warn("telemetry export failed", "signal", signal, "error", err)
}

// spanExporter tells failures instead of returning them.
type spanExporter struct {
	sdktrace.SpanExporter
	failed *failures
}

// ExportSpans exports a batch; a batch that fails is dropped and counted.
func (e *spanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := e.SpanExporter.ExportSpans(ctx, spans); err != nil {
		e.failed.note("spans", err)
	}
	return nil
}

// metricExporter tells failures instead of returning them.
type metricExporter struct {
	metric.Exporter
	failed *failures
}

// Export exports a collection; cumulative counts that fail to go out go with the next one.
func (e *metricExporter) Export(ctx context.Context, data *metricdata.ResourceMetrics) error {
	if err := e.Exporter.Export(ctx, data); err != nil {
		e.failed.note("metrics", err)
	}
	return nil
}
