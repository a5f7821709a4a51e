package xds

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/wire"
	"github.com/sluice-gateway/sluice/policies"
)

// Bootstrap returns the configuration that an Envoy starts with, as JSON: who it is, where its control plane is, and when it is full. All
// else comes from the control plane.
func Bootstrap(params Params) ([]byte, error) {
	b := &builder{Params: params, p: &policies.Policy{File: "bootstrap"}}
	m := b.bootstrap()
	m.DynamicResources = &bootstrapv3.Bootstrap_DynamicResources{
		LdsConfig: ads(), CdsConfig: ads(),
		AdsConfig: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_DELTA_GRPC, TransportApiVersion: corev3.ApiVersion_V3, SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*corev3.GrpcService{control(nil)},
		},
	}
	return b.finish(m)
}

// Static returns the resources as a configuration that needs no control plane: what `envoy --mode validate` reads.
func Static(r *Resources, params Params) ([]byte, error) {
	b := &builder{Params: params, p: &policies.Policy{File: "static"}}
	m := b.bootstrap()
	for _, c := range r.Clusters {
		m.StaticResources.Clusters = append(m.StaticResources.Clusters, c.Message.(*clusterv3.Cluster))
	}
	for _, l := range r.Listeners {
		m.StaticResources.Listeners = append(m.StaticResources.Listeners, b.inlined(l, r.Routes))
	}
	return b.finish(m)
}

// inlined copies a listener and puts the routes into it that it would ask the control plane for.
func (b *builder) inlined(l Resource, routes []Resource) *listenerv3.Listener {
	out := proto.Clone(l.Message).(*listenerv3.Listener)
	for _, chain := range out.FilterChains {
		for _, f := range chain.Filters {
			hcm := new(hcmv3.HttpConnectionManager)
			if err := f.GetTypedConfig().UnmarshalTo(hcm); err != nil {
				b.fail(l.Origin, "%s: %w", l.Name, err)
				continue
			}
			for _, r := range routes {
				if r.Name == hcm.GetRds().GetRouteConfigName() {
					hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: r.Message.(*routev3.RouteConfiguration)}
				}
			}
			f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: b.any(hcm)}
		}
	}
	return out
}

func (b *builder) finish(m *bootstrapv3.Bootstrap) ([]byte, error) {
	if err := valid(m); err != nil {
		b.fail(policies.Position{}, "%w", err)
	}
	if b.err != nil {
		return nil, b.err
	}
	return JSON(m)
}

func (b *builder) bootstrap() *bootstrapv3.Bootstrap {
	m := &bootstrapv3.Bootstrap{
		Node:            &corev3.Node{Id: b.node(), Cluster: "sluice"},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Clusters: []*clusterv3.Cluster{b.controlCluster()}},
		OverloadManager: b.overload(),
	}
	if b.Admin == "" {
		return m
	}
	at, err := address(b.Admin)
	if err == nil && at.GetPipe() == nil {
		if ip := net.ParseIP(at.GetSocketAddress().GetAddress()); ip == nil || !ip.IsLoopback() {
			err = fmt.Errorf("%s is neither a Unix socket nor on loopback: whoever reaches Envoy's admin interface can stop it", b.Admin)
		}
	}
	if err != nil {
		b.fail(policies.Position{}, "admin: %w", err)
	}
	m.Admin = &bootstrapv3.Admin{Address: at, IgnoreGlobalConnLimit: true}
	return m
}

func (b *builder) node() string { return cmp.Or(b.NodeID, wire.Node) }

// controlCluster is the way to the control plane. Every stream on it says which Envoy it is from, unless that is wire.Node, so that the stage can
// serve each by the policy that it has.
func (b *builder) controlCluster() *clusterv3.Cluster {
	options := &corev3.Http2ProtocolOptions{
		MaxConcurrentStreams:    number(cmp.Or(b.Streams, 10_000)),
		InitialStreamWindowSize: number(1 << 20), InitialConnectionWindowSize: number(16 << 20),
	}
	if !filepath.IsAbs(b.Control) { // a socket closes with its process; given up while that is only slow, the logs in it were lost
		options.ConnectionKeepalive = &corev3.KeepaliveSettings{Interval: seconds(30), Timeout: seconds(10)}
	}
	protocol := &httpv3.HttpProtocolOptions{UpstreamProtocolOptions: http2(options)}
	if b.node() != wire.Node {
		protocol.HttpFilters = b.upstreamFilters(&headerv3.Mutations{RequestMutations: []*mutationv3.HeaderMutation{write(wire.HeaderNode, b.node())}})
	}
	return b.ours(wire.ClusterControl, b.Control, protocol)
}

// overload gives memory back before it is short, and then refuses instead of being killed.
func (b *builder) overload() *overloadv3.OverloadManager {
	const heap = "envoy.resource_monitors.fixed_heap"
	monitor := func(name string, m proto.Message) *overloadv3.ResourceMonitor {
		return &overloadv3.ResourceMonitor{Name: name, ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: b.any(m)}}
	}
	action := func(name string, at float64) *overloadv3.OverloadAction {
		return &overloadv3.OverloadAction{Name: name, Triggers: []*overloadv3.Trigger{{
			Name: heap, TriggerOneof: &overloadv3.Trigger_Threshold{Threshold: &overloadv3.ThresholdTrigger{Value: at}},
		}}}
	}
	return &overloadv3.OverloadManager{
		RefreshInterval: seconds(0.25),
		ResourceMonitors: []*overloadv3.ResourceMonitor{
			monitor(heap, &heapv3.FixedHeapConfig{MaxHeapSizeBytes: cmp.Or(b.Heap, 2<<30)}),
			monitor("envoy.resource_monitors.global_downstream_max_connections", &connectionsv3.DownstreamConnectionsConfig{
				MaxActiveDownstreamConnections: cmp.Or(b.Connections, 20_000),
			}),
		},
		Actions: []*overloadv3.OverloadAction{
			action("envoy.overload_actions.shrink_heap", 0.95), action("envoy.overload_actions.stop_accepting_requests", 0.98),
		},
	}
}

// JSON renders a message readably and always alike: Go's own rendering varies its spaces on purpose.
func JSON(m proto.Message) ([]byte, error) {
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return nil, fmt.Errorf("render: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
