package xds

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/wire"
	"github.com/sluice-gateway/sluice/policies"
)

// Params are what the resources need beside the policy. Files and sockets are those of Envoy's machine.
type Params struct {
	Control string  // xDS, ext_proc and access logs: a Unix socket's absolute path, or host:port
	Claim   string  // the executor that claims exchanges by id, likewise
	Edge    string  // the executor that ignores ids, likewise
	Mutual  *Mutual // mutual TLS towards the three; needed as soon as one is host:port

	Listen       string                          // "" = the policy's server.listen
	OTLP         *url.URL                        // traces: grpc://host:port, grpcs://…, or http(s)://host:port/v1/traces; nil = off
	SystemCA     string                          // bundle of the system's authorities, see envoy.SystemCA
	Health       func(*policies.Provider) string // path of a pool's health check; nil or "" = none
	Refuse       func(*policies.Provider) string // why Envoy may not carry for a provider; nil or "" = it may
	Usage        []UsageField                    // where an answer reports its usage; none = usage is not read
	LogHeaders   []string                        // response headers that the log of attempts holds, lower case
	StageTimeout time.Duration                   // for one message of the stage; 0 = 5 s

	NodeID      string // bootstrap: the Envoy's name; "" = wire.Node
	Admin       string // bootstrap: a Unix socket's absolute path, or a loopback host:port
	Heap        uint64 // bootstrap: bytes at which Envoy is full; 0 = 2 GiB
	Connections int64  // bootstrap: downstream connections at once; 0 = 20,000
	Streams     uint32 // exchanges in the stage at once; 0 = 10,000
}

// Mutual is the certificate that Envoy shows to the control plane and the authority that it trusts, as PEM files.
type Mutual struct{ CA, Cert, Key string }

// UsageField is one figure of wire.MetadataUsage and where it stands in an answer's JSON. All are in one object: the first names of their paths
// are the same.
type UsageField struct {
	Key  string
	Path []string
}

// carrier names a provider's cluster: one for each limit of its attempts, as Envoy keeps that limit by cluster.
type carrier struct {
	provider string
	limit    time.Duration
}

// Cluster returns the cluster that carries for the provider with the limit, which is a route's Timeouts.Answer or Timeouts.Total. Without
// one the executor carries.
func (r *Resources) Cluster(provider string, limit time.Duration) (name string, ok bool) {
	name, ok = r.carriers[carrier{provider, limit}]
	return name, ok
}

// Longest returns the longest that an exchange of the policy may take: what a drain must wait for.
func Longest(p *policies.Policy) time.Duration {
	longest := policies.DefaultTimeouts().Total
	for _, r := range p.Routes {
		longest = max(longest, r.Timeouts.Total)
	}
	return longest
}

// paths are those of a `carrier: envoy` route's requests. All others are the executor's at once.
var paths = []struct {
	path  string
	needs policies.Needs
}{
	{"/v1/chat/completions", policies.Needs{Chat: true}},
	{"/v1/completions", policies.Needs{Completions: true}},
	{"/v1/embeddings", policies.Needs{Embeddings: true}},
}

// Build compiles a policy into Envoy's resources. It reads no file, clock or environment. The resources pass Envoy's own rules for fields
// (PGV); what an Envoy still refuses, it names in its NACK.
func Build(p *policies.Policy, params Params) (*Resources, error) {
	b := &builder{p: p, Params: params, out: &Resources{Uncarried: map[string]string{}, carriers: map[carrier]string{}}}
	b.filter = p.Server.EnvoyMode != "edge"
	b.StageTimeout = cmp.Or(b.StageTimeout, 5*time.Second)
	carried := b.providers()
	b.executors()
	if b.OTLP != nil {
		b.cluster(b.collector(), policies.Position{})
	}
	b.routes(carried)
	b.listener()
	if b.err != nil {
		return nil, b.err
	}
	slices.SortFunc(b.out.Clusters, func(x, y Resource) int { return strings.Compare(x.Name, y.Name) })
	return b.out, nil
}

// builder is one call of Build. The first error stays.
type builder struct {
	Params
	p      *policies.Policy
	filter bool // mode: filter
	out    *Resources
	err    error
}

func (b *builder) fail(at policies.Position, format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf("%s:%d:%d: %w", b.p.File, at.Line, at.Column, fmt.Errorf(format, args...))
	}
}

// resource checks and hashes a finished message.
func (b *builder) resource(list *[]Resource, name string, m proto.Message, at policies.Position) {
	if err := valid(m); err != nil {
		b.fail(at, "%s: %w", name, err)
		return
	}
	r, err := newResource(name, m, at)
	if err != nil {
		b.fail(at, "%w", err)
		return
	}
	*list = append(*list, r)
}

// any packs a message into its envelope, where PGV does not look: it is checked here.
func (b *builder) any(m proto.Message) *anypb.Any {
	packed, err := pack(m)
	if err = errors.Join(err, valid(m)); err != nil {
		b.fail(policies.Position{}, "%s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return packed
}

func (b *builder) extension(name string, m proto.Message) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: name, TypedConfig: b.any(m)}
}

func valid(m proto.Message) error {
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		return v.ValidateAll()
	}
	return nil
}

func seconds(n float64) *durationpb.Duration {
	return durationpb.New(time.Duration(n * float64(time.Second)))
}

func yes() *wrapperspb.BoolValue              { return wrapperspb.Bool(true) }
func no() *wrapperspb.BoolValue               { return wrapperspb.Bool(false) }
func number(n uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(n) }

// address is a Unix socket's path or host:port.
func address(at string) (*corev3.Address, error) {
	if filepath.IsAbs(at) {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: at, Mode: 0o600}}}, nil
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return nil, fmt.Errorf("address %q: want a socket's absolute path or host:port", at)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || host == "" {
		return nil, fmt.Errorf("address %q: want a socket's absolute path or host:port", at)
	}
	return socket(host, uint32(n)), nil
}

func socket(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func file(name string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: name}}
}

// minTLS is TLS 1.2 or 1.3. Without the maximum Envoy offers an upstream no more than 1.2, and the control plane takes only 1.3.
func minTLS() *tlsv3.TlsParameters {
	return &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3}
}

// tlsSocket wraps a TLS context.
func (b *builder) tlsSocket(m proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: b.any(m)}}
}

// control is the gRPC service that the stage and the logs speak to.
func control(timeout *durationpb.Duration) *corev3.GrpcService {
	return grpcService(wire.ClusterControl, timeout)
}

func grpcService(cluster string, timeout *durationpb.Duration) *corev3.GrpcService {
	return &corev3.GrpcService{
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: cluster}},
		Timeout:         timeout,
	}
}
