package xds

import (
	_ "embed"
	"fmt"
	"net"
	"slices"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluice-gateway/sluice/internal/wire"
	"github.com/sluice-gateway/sluice/policies"
)

// hcmName is the filter that every listener of HTTP has.
const hcmName = "envoy.filters.network.http_connection_manager"

// listener makes the one listener. Nothing in it depends on routes and providers: its change would cut open streams.
func (b *builder) listener() {
	at := b.p.Server.Pos
	to, err := b.listen()
	if err != nil {
		b.fail(at, "listen: %w", err)
		return
	}
	chain := &listenerv3.FilterChain{Filters: []*listenerv3.Filter{{
		Name: hcmName, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: b.any(b.manager())},
	}}}
	if b.p.Server.TLSCert != "" {
		chain.TransportSocket = b.tlsSocket(&tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsParams: minTLS(), AlpnProtocols: []string{"h2", "http/1.1"},
			TlsCertificates: []*tlsv3.TlsCertificate{{CertificateChain: file(b.p.Server.TLSCert), PrivateKey: file(b.p.Server.TLSKey)}},
		}})
	}
	b.resource(&b.out.Listeners, wire.Listener, &listenerv3.Listener{
		Name: wire.Listener, Address: to, FilterChains: []*listenerv3.FilterChain{chain},
		PerConnectionBufferLimitBytes: number(64 << 10),
	}, at)
}

// listen turns Go's way to write a listener's address into Envoy's, which takes no names.
func (b *builder) listen() (*corev3.Address, error) {
	at := b.Listen
	if at == "" {
		at = b.p.Server.Listen
	}
	host, port, err := net.SplitHostPort(at)
	switch {
	case err != nil:
		return nil, err
	case host == "":
		host = "0.0.0.0"
	case host == "localhost":
		host = "127.0.0.1"
	case net.ParseIP(host) == nil:
		return nil, fmt.Errorf("%s is a name: Envoy listens on addresses", host)
	}
	return address(net.JoinHostPort(host, port))
}

// manager is the HTTP connection manager: what clients may send, what is removed of it, and who sees it. The path is left as the client
// sent it, because the gateway refuses what two parsers could read differently, and must see it for that.
func (b *builder) manager() *hcmv3.HttpConnectionManager {
	never := &corev3.CidrRange{AddressPrefix: "255.255.255.255", PrefixLen: number(32)} // no client is internal
	return &hcmv3.HttpConnectionManager{
		StatPrefix: wire.Listener, CodecType: hcmv3.HttpConnectionManager_AUTO,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: ads(), RouteConfigName: wire.RouteConfig}},
		HttpFilters:    b.httpFilters(), AccessLog: b.accessLog(), Tracing: b.tracing(), LocalReplyConfig: b.localReplies(),
		UseRemoteAddress: yes(), InternalAddressConfig: &hcmv3.HttpConnectionManager_InternalAddressConfig{CidrRanges: []*corev3.CidrRange{never}},
		EarlyHeaderMutationExtensions: []*corev3.TypedExtensionConfig{b.extension("envoy.http.early_header_mutation.header_mutation", &earlyv3.HeaderMutation{
			Mutations: []*mutationv3.HeaderMutation{removeAll(wire.PrefixSluice), removeAll(wire.PrefixEnvoy)},
		})},
		// Without this Envoy samples by the client's request id, traces nothing without one, and writes its verdict into it.
		RequestIdExtension: &hcmv3.RequestIDExtension{TypedConfig: b.any(&uuidv3.UuidRequestIdConfig{PackTraceReason: no(), UseRequestIdForTraceSampling: no()})},
		GenerateRequestId:  no(), ServerHeaderTransformation: hcmv3.HttpConnectionManager_PASS_THROUGH,
		NormalizePath: no(), PathWithEscapedSlashesAction: hcmv3.HttpConnectionManager_KEEP_UNCHANGED,
		MaxRequestHeadersKb: number(64), RequestHeadersTimeout: seconds(10),
		StreamIdleTimeout:   durationpb.New(0), // the routes have one, above the longest exchange
		DelayedCloseTimeout: seconds(0.1),
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			IdleTimeout: seconds(300), MaxHeadersCount: number(100), HeadersWithUnderscoresAction: corev3.HttpProtocolOptions_REJECT_REQUEST,
		},
		Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
			MaxConcurrentStreams: number(100), InitialStreamWindowSize: number(64 << 10), InitialConnectionWindowSize: number(1 << 20),
		},
	}
}

func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{ResourceApiVersion: corev3.ApiVersion_V3, ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}
}

func (b *builder) httpFilters() []*hcmv3.HttpFilter {
	router := &routerv3.Router{SuppressEnvoyHeaders: !b.filter} // the stage needs wire.HeaderUpstream
	if !b.filter {
		return []*hcmv3.HttpFilter{b.httpFilter("envoy.filters.http.router", router)}
	}
	log := b.grpcLog("attempts", 0)
	log.AdditionalResponseHeadersToLog = slices.Sorted(slices.Values(b.LogHeaders))
	// One that succeeded says nothing that the answer's head has not said; one without an answer has the status 0.
	failed := &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_OrFilter{OrFilter: &accesslogv3.OrFilter{Filters: []*accesslogv3.AccessLogFilter{
		statusIs(accesslogv3.ComparisonFilter_GE, 300), statusIs(accesslogv3.ComparisonFilter_LE, 199),
	}}}}
	router.UpstreamLog = []*accesslogv3.AccessLog{b.logger(log, both(staged(), failed))}
	filters := []*hcmv3.HttpFilter{b.httpFilter(wire.FilterProcessor, b.processor())}
	if b.readsUsage() {
		filters = append(filters, b.httpFilter(usageFilter, b.usage()))
	}
	return append(filters, b.httpFilter("envoy.filters.http.router", router))
}

// processor is the one stage. Its failure is a 500 or, past the limit, a 504: never a pass.
func (b *builder) processor() *extprocv3.ExternalProcessor {
	return &extprocv3.ExternalProcessor{
		GrpcService: control(durationpb.New(0)),
		ProcessingMode: &extprocv3.ProcessingMode{
			RequestHeaderMode: extprocv3.ProcessingMode_SEND, RequestBodyMode: extprocv3.ProcessingMode_BUFFERED,
			ResponseHeaderMode: extprocv3.ProcessingMode_SEND, ResponseBodyMode: extprocv3.ProcessingMode_NONE,
			RequestTrailerMode: extprocv3.ProcessingMode_SKIP, ResponseTrailerMode: extprocv3.ProcessingMode_SKIP,
		},
		MessageTimeout: durationpb.New(b.StageTimeout), AllowModeOverride: true,
		MutationRules: &mutationv3.HeaderMutationRules{AllowAllRouting: yes(), AllowEnvoy: yes()},
		MetadataOptions: &extprocv3.MetadataOptions{ReceivingNamespaces: &extprocv3.MetadataOptions_MetadataNamespaces{
			Untyped: []string{wire.MetadataLB}, Typed: []string{wire.MetadataChain},
		}},
	}
}

// usageLua reads an answer's figures. Envoy's own filters parse the whole of an answer, and every event of a stream, for the few figures at its end.
//
//go:embed usage.lua
var usageLua string

// usageFilter is the filter that puts an answer's figures into metadata, for the access log.
const usageFilter = "envoy.filters.http.lua"

func (b *builder) readsUsage() bool { return b.filter && len(b.Usage) > 0 }

func (b *builder) usage() *luav3.Lua {
	var script strings.Builder
	fmt.Fprintf(&script, "local namespace, fields = %q, {\n", wire.MetadataUsage)
	for _, u := range b.Usage {
		if len(u.Path) < 2 {
			b.fail(policies.Position{}, "usage: the path of %s does not lead into an object", u.Key)
		}
		fmt.Fprintf(&script, "  {key = %q, path = {\"%s\"}},\n", u.Key, strings.Join(u.Path, `", "`))
	}
	return &luav3.Lua{DefaultSourceCode: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: script.String() + "}\n" + usageLua}}}
}

func (b *builder) grpcLog(name string, buffer uint32) *grpclogv3.HttpGrpcAccessLogConfig {
	return &grpclogv3.HttpGrpcAccessLogConfig{CommonConfig: &grpclogv3.CommonGrpcAccessLogConfig{
		LogName: name, TransportApiVersion: corev3.ApiVersion_V3, GrpcService: control(nil),
		BufferFlushInterval: seconds(0.1), BufferSizeBytes: number(buffer),
	}, AdditionalRequestHeadersToLog: []string{wire.HeaderID}}
}

func (b *builder) logger(log *grpclogv3.HttpGrpcAccessLogConfig, filter *accesslogv3.AccessLogFilter) *accesslogv3.AccessLog {
	return &accesslogv3.AccessLog{
		Name: "envoy.access_loggers.http_grpc", Filter: filter, ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: b.any(log)},
	}
}

// accessLog reports the requests that the stage has seen; the executor accounts for the others itself.
func (b *builder) accessLog() []*accesslogv3.AccessLog {
	if !b.filter {
		return nil
	}
	return []*accesslogv3.AccessLog{b.logger(b.grpcLog("requests", 16<<10), staged())}
}

// staged is a filter of what has the stage's id.
func staged() *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_HeaderFilter{
		HeaderFilter: &accesslogv3.HeaderFilter{Header: &routev3.HeaderMatcher{
			Name: wire.HeaderID, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
		}},
	}}
}

// statusIs is a filter by the status of an answer. The key is one that nobody sets: Envoy wants one.
func statusIs(op accesslogv3.ComparisonFilter_Op, than uint32) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_StatusCodeFilter{StatusCodeFilter: &accesslogv3.StatusCodeFilter{
		Comparison: &accesslogv3.ComparisonFilter{Op: op, Value: &corev3.RuntimeUInt32{DefaultValue: than, RuntimeKey: fmt.Sprintf("sluice.status.%d", than)}},
	}}}
}

func both(filters ...*accesslogv3.AccessLogFilter) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_AndFilter{AndFilter: &accesslogv3.AndFilter{Filters: filters}}}
}

// replies are the errors that Envoy makes itself, as clients of the API read them.
var replies = []struct {
	status              uint32
	kind, code, message string
}{
	{400, "invalid_request_error", "invalid_request", "The request is not valid HTTP."},
	{408, "invalid_request_error", "request_timeout", "The request did not arrive in time."},
	{413, "invalid_request_error", "request_too_large", "The request body is larger than this gateway's limit of %d bytes."},
	{431, "invalid_request_error", "headers_too_large", "The request's headers are too large."},
	{500, "server_error", "internal_error", "The request could not be processed."},
	{502, "server_error", "upstream_failed", "The connection to the model failed."},
	{503, "server_error", "no_target_available", "No target is available for this request now."},
	{504, "server_error", "upstream_timeout", "The model did not answer in time."},
}

// localReplies gives Envoy's own errors the API's form, and the exchange's id where there is one: not all of them pass the stage. Those of the stage
// have it already: their details say whose they are.
func (b *builder) localReplies() *hcmv3.LocalReplyConfig {
	foreign := &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{ExtensionFilter: &accesslogv3.ExtensionFilter{
		Name: "envoy.access_loggers.extension_filters.cel", ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{
			TypedConfig: b.any(&celv3.ExpressionFilter{Expression: "!response.code_details.startsWith('" + wire.DetailsPrefix + "')"}),
		},
	}}}
	config := &hcmv3.LocalReplyConfig{}
	for _, r := range replies {
		message := r.message
		if strings.Contains(message, "%d") {
			message = fmt.Sprintf(message, b.p.Server.BodyLimit)
		}
		mapper := &hcmv3.ResponseMapper{
			Filter: both(foreign, statusIs(accesslogv3.ComparisonFilter_EQ, r.status)),
			BodyFormatOverride: &corev3.SubstitutionFormatString{
				ContentType: "application/json",
				Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{
					InlineString: fmt.Sprintf(`{"error":{"message":%q,"type":%q,"param":null,"code":%q}}`, message, r.kind, r.code),
				}}},
			},
		}
		if b.filter {
			mapper.HeadersToAdd = []*corev3.HeaderValueOption{overwrite(wire.HeaderRequestID, exchangeID)}
		}
		config.Mappers = append(config.Mappers, mapper)
	}
	return config
}

// tracing gives Envoy a server span of each request and a span of each attempt.
func (b *builder) tracing() *hcmv3.HttpConnectionManager_Tracing {
	if b.OTLP == nil {
		return nil
	}
	limit := seconds(1)
	otel := &tracev3.OpenTelemetryConfig{ServiceName: "sluice-envoy", GrpcService: grpcService(wire.ClusterOTLP, limit)}
	if !overGRPC(b.OTLP) {
		otel.GrpcService = nil
		otel.HttpService = &corev3.HttpService{HttpUri: &corev3.HttpUri{
			Uri: b.OTLP.String(), HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: wire.ClusterOTLP}, Timeout: limit,
		}}
	}
	return &hcmv3.HttpConnectionManager_Tracing{
		Provider:       &tracev3.Tracing_Http{Name: "envoy.tracers.opentelemetry", ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: b.any(otel)}},
		RandomSampling: &typev3.Percent{Value: 100}, SpawnUpstreamSpan: yes(),
		CustomTags: []*tracingv3.CustomTag{{Tag: "sluice.id", Type: &tracingv3.CustomTag_RequestHeader{
			RequestHeader: &tracingv3.CustomTag_Header{Name: wire.HeaderID},
		}}},
	}
}
