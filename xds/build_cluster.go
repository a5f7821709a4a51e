package xds

import (
	"cmp"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	commondnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	upstreamcodecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	overridev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/override_host/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluice-gateway/sluice/internal/wire"
	"github.com/sluice-gateway/sluice/policies"
)

const (
	unlimited   = 1 << 24          // Envoy's breakers: admission is decided in Go, and an overflow here would end the chain
	ownIdle     = 4 * time.Second  // below the 5 s after which the usual Python servers close an idle connection
	serviceIdle = 55 * time.Second // below the minute of most balancers
	socketIdle  = 60 * time.Second // below the 120 s of the executor's servers
)

// traceless removes what traces.
var traceless = []*mutationv3.HeaderMutation{gone("traceparent"), gone("tracestate"), gone("baggage")}

func gone(header string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Remove{Remove: header}}
}

// providers makes the clusters of what routes with `carrier: envoy` can reach, and returns those that Envoy can carry for.
func (b *builder) providers() []policies.Carried {
	if !b.filter {
		return nil
	}
	var ops []policies.Needs
	for _, p := range paths {
		ops = append(ops, p.needs)
	}
	var carried []policies.Carried
	for _, c := range b.p.Carried(ops...) {
		if why := b.uncarried(c.Provider); why != "" {
			b.out.Uncarried[c.Provider.Name] = why
			continue
		}
		carried = append(carried, c)
		for _, limit := range c.Limits {
			cl := b.provider(c, limit)
			hash, err := Hash(cl)
			if err != nil {
				b.fail(c.Provider.Pos, "%w", err)
			}
			cl.Name = c.Provider.Name + "-" + hash
			b.out.carriers[carrier{c.Provider.Name, limit}] = cl.Name
			b.cluster(cl, c.Provider.Pos)
		}
	}
	return carried
}

func (b *builder) cluster(cl *clusterv3.Cluster, at policies.Position) {
	b.resource(&b.out.Clusters, cl.Name, cl, at)
}

// uncarried says why Envoy cannot carry for the provider, "" when it can.
func (b *builder) uncarried(p *policies.Provider) string {
	if p.Proxy != nil {
		return "it is reached through a proxy"
	}
	for _, e := range p.Endpoints {
		switch {
		case e.Scheme != p.Endpoints[0].Scheme:
			return "its endpoints mix http and https"
		case len(p.Endpoints) > 1 && wire.Endpoint(e) == "":
			return "its endpoints have names: Envoy can be held to the picked one only by its IP address"
		}
	}
	if b.Refuse != nil {
		return b.Refuse(p)
	}
	return ""
}

// provider makes a provider's cluster; its name is its content's and comes last.
func (b *builder) provider(c policies.Carried, limit time.Duration) *clusterv3.Cluster {
	p, secure := c.Provider, c.Provider.Endpoints[0].Scheme == "https"
	idle := serviceIdle
	if p.Own {
		idle = ownIdle
	}
	options := &httpv3.HttpProtocolOptions{
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(idle), MaxStreamDuration: durationpb.New(limit)},
		UpstreamProtocolOptions:   http1(),
	}
	if b.OTLP != nil && !p.Own && !p.TraceContext { // Envoy writes them where it traces, later than a route can remove them
		options.HttpFilters = b.upstreamFilters(&headerv3.Mutations{RequestMutations: traceless})
	}
	if secure {
		options.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_AutoConfig{AutoConfig: &httpv3.HttpProtocolOptions_AutoHttpConfig{
			HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
			Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
				ConnectionKeepalive: &corev3.KeepaliveSettings{Interval: seconds(30), Timeout: seconds(10)},
			},
		}}
	}
	cl := &clusterv3.Cluster{
		Name: p.Name, AltStatName: p.Name, ConnectTimeout: durationpb.New(c.Connect),
		LoadAssignment: assignment(p), CircuitBreakers: breakers(), OutlierDetection: outliers(),
		UpstreamConnectionOptions: &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
			KeepaliveProbes: number(3), KeepaliveTime: number(30), KeepaliveInterval: number(10),
		}},
		TypedExtensionProtocolOptions: b.protocol(options),
	}
	b.resolve(cl, p.Endpoints...)
	if secure {
		cl.TransportSocket = b.verified(p)
	}
	if p.Own {
		cl.LoadBalancingPolicy, cl.HealthChecks = b.picked(), b.healthChecks(p)
	}
	return cl
}

// resolve says how a cluster finds its hosts. Addresses need no resolver, and are there as soon as the cluster is.
func (b *builder) resolve(cl *clusterv3.Cluster, endpoints ...*url.URL) {
	cl.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	if slices.ContainsFunc(endpoints, func(e *url.URL) bool { return wire.Endpoint(e) == "" }) {
		// This is STRICT_DNS, whose own fields are deprecated: every address of every name is a host.
		cl.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: "envoy.cluster.dns", TypedConfig: b.any(&dnsv3.DnsCluster{
				DnsLookupFamily: commondnsv3.DnsLookupFamily_V4_PREFERRED, RespectDnsTtl: true, DnsRefreshRate: seconds(5),
				DnsFailureRefreshRate: &dnsv3.DnsCluster_RefreshRate{BaseInterval: seconds(1), MaxInterval: seconds(10)},
			}),
		}}
	}
}

// assignment lists the hosts, then the tombstone: nobody listens there, so that a cluster without a host fails like a refused connection and
// the chain goes on. The factor keeps all requests with the hosts as long as one is well.
func assignment(p *policies.Provider) *endpointv3.ClusterLoadAssignment {
	var hosts []*endpointv3.LbEndpoint
	for _, e := range p.Endpoints {
		hosts = append(hosts, host(e.Host, e.Hostname(), wire.Port(e)))
	}
	dead := host("tombstone", "127.0.0.1", "1")
	dead.GetEndpoint().HealthCheckConfig = &endpointv3.Endpoint_HealthCheckConfig{DisableActiveHealthCheck: true}
	return &endpointv3.ClusterLoadAssignment{
		ClusterName: p.Name,
		Policy:      &endpointv3.ClusterLoadAssignment_Policy{OverprovisioningFactor: number(100_000)},
		Endpoints:   []*endpointv3.LocalityLbEndpoints{{LbEndpoints: hosts}, {LbEndpoints: []*endpointv3.LbEndpoint{dead}, Priority: 1}},
	}
}

// host is one endpoint; name is what :authority becomes.
func host(name, address, port string) *endpointv3.LbEndpoint {
	if ip, err := netip.ParseAddr(address); err == nil {
		address = ip.Unmap().String()
	}
	n, _ := strconv.ParseUint(port, 10, 16) // the policy's compiler checked it
	return lbEndpoint(name, socket(address, uint32(n)))
}

func lbEndpoint(name string, at *corev3.Address) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Hostname: name, Address: at}}}
}

func breakers() *clusterv3.CircuitBreakers {
	high := func(p corev3.RoutingPriority) *clusterv3.CircuitBreakers_Thresholds {
		return &clusterv3.CircuitBreakers_Thresholds{
			Priority: p, MaxConnections: number(unlimited), MaxPendingRequests: number(unlimited), MaxRequests: number(unlimited), MaxRetries: number(unlimited),
		}
	}
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{high(corev3.RoutingPriority_DEFAULT), high(corev3.RoutingPriority_HIGH)}}
}

// outliers is the safety net below the breakers in Go, and as patient: 10 s, then 20 s at most. Never half of the hosts are out, the tombstone among
// them: Envoy counts for the whole provider, and one model that fails must not take the only host from the others.
func outliers() *clusterv3.OutlierDetection {
	return &clusterv3.OutlierDetection{
		Consecutive_5Xx: number(5), Interval: seconds(5), BaseEjectionTime: seconds(10), MaxEjectionTime: seconds(20), MaxEjectionPercent: number(49),
		EnforcingSuccessRate: number(0), EnforcingConsecutiveGatewayFailure: number(0),
		SplitExternalLocalOriginErrors: true, ConsecutiveLocalOriginFailure: number(5), EnforcingLocalOriginSuccessRate: number(0),
	}
}

// verified is TLS towards a provider. A wrong certificate is a failed connection, and the chain goes on.
func (b *builder) verified(p *policies.Provider) *corev3.TransportSocket {
	ca := cmp.Or(p.CA, b.SystemCA)
	if ca == "" {
		b.fail(p.Pos, "provider %s: no bundle of certificate authorities was found on this system", p.Name)
	}
	var hosts []string
	for _, e := range p.Endpoints {
		hosts = append(hosts, e.Hostname())
	}
	return b.upstreamTLS(ca, nil, hosts...)
}

// upstreamTLS trusts one authority. A host's name is sent and the certificate must be for it; where there are only addresses, it must be for
// one of them. The name is written here and not taken from the endpoint, whose own name may hold a port for :authority.
func (b *builder) upstreamTLS(ca string, own []*tlsv3.TlsCertificate, hosts ...string) *corev3.TransportSocket {
	check := &tlsv3.CertificateValidationContext{TrustedCa: file(ca)}
	tls := &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsParams: minTLS(), TlsCertificates: own, ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: check},
	}}
	for _, h := range hosts {
		ip, err := netip.ParseAddr(h)
		if err != nil {
			tls.Sni, tls.AutoSniSanValidation = h, true
			continue
		}
		check.MatchTypedSubjectAltNames = append(check.MatchTypedSubjectAltNames, &tlsv3.SubjectAltNameMatcher{
			SanType: tlsv3.SubjectAltNameMatcher_IP_ADDRESS,
			Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: ip.Unmap().String()}},
		})
	}
	return b.tlsSocket(tls)
}

// picked is the balancing of a pool: the endpoint that Go picked, by metadata only (a header could be a client's), else the least busy.
func (b *builder) picked() *clusterv3.LoadBalancingPolicy {
	key := func(name string) *metadatav3.MetadataKey { return metadataKey(wire.MetadataLB, name) }
	policy := func(c *corev3.TypedExtensionConfig) *clusterv3.LoadBalancingPolicy {
		return &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{{TypedExtensionConfig: c}}}
	}
	return policy(b.extension("envoy.load_balancing_policies.override_host", &overridev3.OverrideHost{
		OverrideHostSources: []*overridev3.OverrideHost_OverrideHostSource{{Metadata: key(wire.KeyEndpoint)}},
		SelectedHostKey:     key(wire.KeyServed),
		FallbackPolicy:      policy(b.extension("envoy.load_balancing_policies.least_request", &leastv3.LeastRequest{})),
	}))
}

func metadataKey(namespace, name string) *metadatav3.MetadataKey {
	return &metadatav3.MetadataKey{Key: namespace, Path: []*metadatav3.MetadataKey_PathSegment{{
		Segment: &metadatav3.MetadataKey_PathSegment_Key{Key: name},
	}}}
}

// healthChecks takes any answer below 500 for life: which engines say "busy" how is Go's own probe's to know.
func (b *builder) healthChecks(p *policies.Provider) []*corev3.HealthCheck {
	if b.Health == nil || b.Health(p) == "" {
		return nil
	}
	return []*corev3.HealthCheck{{
		Timeout: seconds(2), Interval: seconds(5), NoTrafficInterval: seconds(5), UnhealthyThreshold: number(3), HealthyThreshold: number(1),
		HealthChecker: &corev3.HealthCheck_HttpHealthCheck_{HttpHealthCheck: &corev3.HealthCheck_HttpHealthCheck{
			Path: b.Health(p), ExpectedStatuses: []*typev3.Int64Range{{Start: 200, End: 500}},
		}},
	}}
}

// executors makes the clusters of our own HTTP plane. The one that claims goes by the id's header, which no client and no attempt before can write.
func (b *builder) executors() {
	if b.filter {
		b.cluster(b.executor(wire.ClusterExecutor, b.Claim), policies.Position{})
	}
	b.cluster(b.executor(wire.ClusterEdge, b.Edge), policies.Position{})
}

func (b *builder) executor(name, at string) *clusterv3.Cluster {
	return b.ours(name, at, &httpv3.HttpProtocolOptions{
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(socketIdle)}, UpstreamProtocolOptions: http1(),
	})
}

// ours is a cluster of this gateway's own servers: a Unix socket, or an address with mutual TLS.
func (b *builder) ours(name, at string, options *httpv3.HttpProtocolOptions) *clusterv3.Cluster {
	to, err := address(at)
	if err != nil {
		b.fail(policies.Position{}, "%s: %w", name, err)
		return &clusterv3.Cluster{Name: name}
	}
	cl := &clusterv3.Cluster{
		Name: name, ConnectTimeout: seconds(2), CircuitBreakers: breakers(), TypedExtensionProtocolOptions: b.protocol(options),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{lbEndpoint("executor", to)},
		}}},
	}
	if to.GetPipe() != nil {
		return cl
	}
	at = to.GetSocketAddress().GetAddress()
	b.resolve(cl, &url.URL{Host: net.JoinHostPort(at, "1")})
	if b.Mutual == nil {
		b.fail(policies.Position{}, "%s: %s is not a Unix socket and needs mutual TLS", name, at)
		return cl
	}
	own := []*tlsv3.TlsCertificate{{CertificateChain: file(b.Mutual.Cert), PrivateKey: file(b.Mutual.Key)}}
	cl.TransportSocket = b.upstreamTLS(b.Mutual.CA, own, at)
	return cl
}

// collector is the cluster of Envoy's own spans.
func (b *builder) collector() *clusterv3.Cluster {
	u := b.OTLP
	options := &httpv3.HttpProtocolOptions{UpstreamProtocolOptions: http1()}
	if overGRPC(u) {
		options.UpstreamProtocolOptions = http2(&corev3.Http2ProtocolOptions{})
	}
	cl := &clusterv3.Cluster{
		Name: wire.ClusterOTLP, ConnectTimeout: seconds(2), TypedExtensionProtocolOptions: b.protocol(options),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: wire.ClusterOTLP, Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{host(u.Host, u.Hostname(), wire.Port(u))},
		}}},
	}
	b.resolve(cl, u)
	if u.Scheme == "https" || u.Scheme == "grpcs" {
		cl.TransportSocket = b.verified(&policies.Provider{Name: wire.ClusterOTLP, Endpoints: []*url.URL{u}})
	}
	return cl
}

func overGRPC(u *url.URL) bool { return u.Scheme == "grpc" || u.Scheme == "grpcs" }

func http1() *httpv3.HttpProtocolOptions_ExplicitHttpConfig_ {
	return &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
	}}
}

func http2(o *corev3.Http2ProtocolOptions) *httpv3.HttpProtocolOptions_ExplicitHttpConfig_ {
	return &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: o},
	}}
}

func (b *builder) protocol(o *httpv3.HttpProtocolOptions) map[string]*anypb.Any {
	return map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": b.any(o)}
}

// upstreamFilters change headers at the last moment before an attempt. What they remove is gone from later attempts too, which only the
// executor makes. They cost Envoy a tenth of what a request does.
func (b *builder) upstreamFilters(mutations *headerv3.Mutations) []*hcmv3.HttpFilter {
	return []*hcmv3.HttpFilter{
		b.httpFilter("envoy.filters.http.header_mutation", &headerv3.HeaderMutation{Mutations: mutations}),
		b.httpFilter("envoy.filters.http.upstream_codec", &upstreamcodecv3.UpstreamCodec{}),
	}
}

func (b *builder) httpFilter(name string, m proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: b.any(m)}}
}

// exchangeID is the id that the stage gave the request, as a header's value: nothing where it gave none.
const exchangeID = "%REQ(" + wire.HeaderID + ")%"

// overwrite writes a header whatever it was.
func overwrite(header, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header: &corev3.HeaderValue{Key: header, Value: value}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

func write(header, value string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{Append: overwrite(header, value)}}
}

func removeAll(prefix string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_RemoveOnMatch_{RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{
		KeyMatcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: prefix}},
	}}}
}
