package xds

import (
	"slices"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	groupv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/router/cluster_specifiers/priority_group/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/wire"
	"github.com/sluice-gateway/sluice/policies"
)

// movesOn are the statuses below 500 whose failures lead to another target: refused credentials and payment, throttling, what is said of a
// busy or missing target. A 400 may be a prompt that is too long; Envoy cannot tell, so it is the client's.
var movesOn = []uint32{401, 402, 403, 404, 407, 408, 424, 425, 429, 498, 499}

// idleSlack lets whoever carries end an exchange before Envoy's idle limit does.
const idleSlack = 30 * time.Second

// hopHeaders are of this hop, and no provider's business.
var hopHeaders = []string{"x-forwarded-for", "x-forwarded-proto", "x-envoy-external-address"}

// routes makes the one route configuration: what a `carrier: envoy` route can be asked goes through the stage, all else to the executor.
func (b *builder) routes(carried []policies.Carried) {
	host := &routev3.VirtualHost{
		Name: wire.RouteConfig, Domains: []string{"*"},
		RequestBodyBufferLimit: wrapperspb.UInt64(uint64(b.p.Server.BodyLimit)),
	}
	if staged := b.staged(carried); b.filter && len(staged) > 0 {
		// The stage may have written another path for the first target: clearing the route cache must find the chain again.
		prepared := b.chain("prepared", &routev3.RouteMatch{
			PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}, Headers: []*routev3.HeaderMatcher{exactly(wire.HeaderPrepared, "1")},
		})
		prepared.RequestHeadersToRemove = hopHeaders
		host.Routes = append(host.Routes, prepared)
		for _, path := range staged {
			host.Routes = append(host.Routes, b.chain(path, &routev3.RouteMatch{
				PathSpecifier: &routev3.RouteMatch_Path{Path: path}, Headers: []*routev3.HeaderMatcher{exactly(":method", "POST")},
			}))
		}
	}
	host.Routes = append(host.Routes, b.straight())
	at := b.p.Server.Pos
	for _, r := range b.p.Routes {
		if r.Carrier == "envoy" {
			at = r.Pos
			break
		}
	}
	b.resource(&b.out.Routes, wire.RouteConfig, &routev3.RouteConfiguration{
		Name: wire.RouteConfig, VirtualHosts: []*routev3.VirtualHost{host},
		ValidateClusters: wrapperspb.Bool(false), // clusters come and go on their own; a missing one is a 503 that the stage renders
	}, at)
}

// staged returns the paths that a carried provider can be asked.
func (b *builder) staged(carried []policies.Carried) []string {
	var out []string
	for _, p := range paths {
		if slices.ContainsFunc(carried, func(c policies.Carried) bool { return slices.Contains(c.Needs, p.needs) }) {
			out = append(out, p.path)
		}
	}
	return out
}

func exactly(header, value string) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: header, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
		StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}},
	}}
}

// chain asks the clusters that the stage named, in order, and the executor when it named none. Nothing is retried but what the stage allows
// by wire.HeaderRetries. It has no hedge policy and no limit of a try or of the whole: see the package's comment.
func (b *builder) chain(name string, match *routev3.RouteMatch) *routev3.Route {
	executor := []*groupv3.PriorityGroup{{Name: "executor", Clusters: []*groupv3.ClusterWeight{{ClusterName: wire.ClusterExecutor, Weight: number(1)}}}}
	return &routev3.Route{Name: name, Match: match, Action: &routev3.Route_Route{Route: &routev3.RouteAction{
		Timeout: durationpb.New(0), IdleTimeout: durationpb.New(Longest(b.p) + idleSlack),
		RetryPolicy: &routev3.RetryPolicy{
			RetryOn: "5xx,reset,connect-failure,refused-stream,retriable-status-codes", RetriableStatusCodes: movesOn,
			NumRetries: number(0), RefreshClusterOnRetry: true,
			RetryBackOff: &routev3.RetryPolicy_RetryBackOff{BaseInterval: seconds(0.001), MaxInterval: seconds(0.005)},
		},
		ClusterSpecifier: &routev3.RouteAction_InlineClusterSpecifierPlugin{InlineClusterSpecifierPlugin: &routev3.ClusterSpecifierPlugin{
			Extension: b.extension("envoy.router.cluster_specifier_plugin.priority_group", &groupv3.PriorityGroupClusterSpecifier{
				OverrideMetadataNamespace: wire.MetadataChain, PriorityGroups: executor,
			}),
		}},
	}}}
}

// straight hands every other path to the executor without the stage, streaming in both directions.
func (b *builder) straight() *routev3.Route {
	r := &routev3.Route{
		Name: "straight", Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			Timeout: durationpb.New(0), IdleTimeout: durationpb.New(Longest(b.p) + idleSlack),
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: wire.ClusterEdge},
		}},
	}
	if !b.filter {
		return r
	}
	r.ResponseHeadersToRemove = []string{wire.HeaderUpstream}
	r.TypedPerFilterConfig = map[string]*anypb.Any{
		wire.FilterProcessor: b.any(&extprocv3.ExtProcPerRoute{Override: &extprocv3.ExtProcPerRoute_Disabled{Disabled: true}}),
	}
	if b.readsUsage() {
		r.TypedPerFilterConfig[usageFilter] = b.any(&routev3.FilterConfig{Disabled: true})
	}
	return r
}
