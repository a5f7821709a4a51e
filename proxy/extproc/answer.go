package extproc

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filter "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	httptype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-gateway/sluice/internal/wire"
	"github.com/sluice-gateway/sluice/proxy"
)

// Replies for which there is no exchange, or none any more.
var (
	internalError = ownReply(500, "internal_error", "The gateway failed to handle this request.")
	lost          = ownReply(503, "exchange_lost", "This exchange cannot be carried on.")
	badPath       = ownReply(400, "bad_path", "The request's path cannot be read.")
)

func ownReply(status int, code, message string) *proxy.Reply {
	kind := "server_error"
	if status < 500 {
		kind = "invalid_request_error"
	}
	return &proxy.Reply{
		Status: status,
		Header: []proxy.Field{{Name: "Content-Type", Value: "application/json"}},
		Body:   []byte(`{"error":{"message":"` + message + `","type":"` + kind + `","param":null,"code":"` + code + `"}}`),
	}
}

// attribute returns an attribute that the filter was told to send; "" when it was not.
func attribute(m *extproc.ProcessingRequest, name string) string {
	return m.Attributes["envoy.filters.http.ext_proc"].GetFields()[name].GetStringValue()
}

// requestHead is the request's head as any plane hands it over. Headers of Envoy's and Sluice's own are no client's; the trace is that of Envoy's
// span where it traces, which only gRPC's metadata tells.
func requestHead(ctx context.Context, h *extproc.HttpHeaders, peer string) (proxy.Head, bool) {
	head := proxy.Head{Header: make(http.Header, len(h.GetHeaders().GetHeaders())), Peer: peer, ContentLength: -1, Plane: "envoy"}
	path := ""
	for _, f := range h.GetHeaders().GetHeaders() {
		name, v := strings.ToLower(f.Key), value(f)
		switch {
		case name == ":method":
			head.Method = v
		case name == ":path":
			path = v
		case name[:min(1, len(name))] == ":", strings.HasPrefix(name, wire.PrefixEnvoy), strings.HasPrefix(name, wire.PrefixSluice):
		default:
			head.Header.Add(name, v)
		}
	}
	if n, err := strconv.ParseInt(head.Header.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		head.ContentLength = n
	} else if h.EndOfStream {
		head.ContentLength = 0
	}
	if md, ok := metadata.FromIncomingContext(ctx); ok && len(md["traceparent"]) == 1 {
		head.Header.Set("Traceparent", md["traceparent"][0])
		head.Header["Tracestate"] = md["tracestate"]
	}
	u, err := url.ParseRequestURI(path)
	head.URL = u
	return head, err == nil && head.Method != ""
}

// responseHead is the response's status and its headers without pseudo headers.
func responseHead(h *extproc.HttpHeaders) (code int, header http.Header) {
	header = make(http.Header, len(h.GetHeaders().GetHeaders()))
	for _, f := range h.GetHeaders().GetHeaders() {
		if f.Key == ":status" {
			code, _ = strconv.Atoi(value(f)) // 0 is no status of anything
		} else if !strings.HasPrefix(f.Key, ":") {
			header.Add(f.Key, value(f))
		}
	}
	return code, header
}

func value(f *core.HeaderValue) string {
	if len(f.RawValue) > 0 {
		return string(f.RawValue)
	}
	return f.Value
}

// mutation is a list of changed headers. Only what passes its rules gets into it.
type mutation struct{ m extproc.HeaderMutation }

// set replaces a header; a name that is set again gets one more value.
func (b *mutation) set(name, value string) {
	name = strings.ToLower(name)
	if hop[name] || name == "" || strings.HasPrefix(name, ":") || strings.HasPrefix(name, wire.PrefixEnvoy) || strings.ContainsAny(value, "\r\n\x00") {
		return
	}
	b.own(name, value)
}

// own sets what is Sluice's word to Envoy: pseudo headers and those that steer it.
func (b *mutation) own(name, value string) {
	action := core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
	for _, o := range b.m.SetHeaders {
		if o.Header.Key == name {
			action = core.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
		}
	}
	b.m.SetHeaders = append(b.m.SetHeaders, &core.HeaderValueOption{Header: &core.HeaderValue{Key: name, RawValue: []byte(value)}, AppendAction: action})
}

// drop removes a header unless the list sets it.
func (b *mutation) drop(name string) {
	name = strings.ToLower(name)
	if hop[name] || name == "" || strings.HasPrefix(name, ":") {
		return
	}
	for _, o := range b.m.SetHeaders {
		if o.Header.Key == name {
			return
		}
	}
	b.m.RemoveHeaders = append(b.m.RemoveHeaders, name)
}

// hop are headers that belong to a connection, or to the length of a body: Envoy's business.
var hop = map[string]bool{"host": true, "connection": true, "keep-alive": true, "proxy-connection": true, "te": true, "trailer": true,
	"transfer-encoding": true, "upgrade": true, "content-length": true}

// never are headers that no target gets from a client or from Envoy, even where a filter's rules kept them from us.
var never = [...]string{"authorization", "api-key", "x-api-key", "x-goog-api-key", "proxy-authorization", "cookie", "forwarded", "x-forwarded-for",
	"x-forwarded-proto", "x-forwarded-host", "x-forwarded-client-cert", "x-real-ip", "x-request-id", "x-envoy-external-address", "x-envoy-internal",
	"traceparent", "tracestate", "baggage", "origin", "referer"}

func withID(id string) *extproc.ProcessingResponse {
	var b mutation
	b.own(wire.HeaderID, id)
	r := headers(true, &extproc.CommonResponse{HeaderMutation: &b.m})
	r.DynamicMetadata = object(wire.MetadataLog, objectValue(wire.KeyID, structpb.NewStringValue(id)))
	return r
}

// streamUp lets a request pass without its body or its answer.
func streamUp() *extproc.ProcessingResponse {
	r := headers(true, nil)
	r.ModeOverride = &filter.ProcessingMode{ResponseHeaderMode: filter.ProcessingMode_SKIP}
	return r
}

// chain adds the clusters to try: the target if there is one, and the executor.
func chain(r *extproc.ProcessingResponse, cluster string) {
	var groups []*structpb.Value
	for _, name := range []string{cluster, wire.ClusterExecutor} {
		if name == "" {
			continue
		}
		one := objectValue("cluster_name", structpb.NewStringValue(name))
		one.GetStructValue().Fields["weight"] = structpb.NewNumberValue(1) // without it Envoy ignores the whole chain, silently
		group := objectValue("name", structpb.NewStringValue(name))
		group.GetStructValue().Fields["clusters"] = list(one)
		groups = append(groups, group)
	}
	if r.DynamicMetadata == nil {
		r.DynamicMetadata = &structpb.Struct{Fields: map[string]*structpb.Value{}}
	}
	r.DynamicMetadata.Fields[wire.MetadataChain] = objectValue(wire.KeyGroups, list(groups...))
	common := r.GetRequestBody().GetResponse()
	if common == nil {
		common = r.GetRequestHeaders().GetResponse()
	}
	common.ClearRouteCache = true
}

// bodyAnswer is the answer to the request's body.
func bodyAnswer(d *decision, refused *extproc.ProcessingResponse) *extproc.ProcessingResponse {
	if refused != nil {
		return refused
	}
	common := &extproc.CommonResponse{}
	r := &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_RequestBody{RequestBody: &extproc.BodyResponse{Response: common}}}
	chain(r, d.cluster)
	if d.cluster == "" {
		return r
	}
	up := &d.up
	var b mutation
	for _, f := range up.Header {
		b.set(f.Name, f.Value)
	}
	for name := range d.client {
		b.drop(name)
	}
	for _, name := range never {
		if d.client[http.CanonicalHeaderKey(name)] == nil {
			b.drop(name)
		}
	}
	b.own(":path", up.URL.RequestURI())
	b.own(":scheme", up.URL.Scheme)
	b.own(wire.HeaderPrepared, "1")
	b.own(wire.HeaderRetries, "1")
	if up.Body != nil {
		b.own("content-length", strconv.Itoa(len(up.Body))) // without it Envoy answers 500
		common.BodyMutation = &extproc.BodyMutation{Mutation: &extproc.BodyMutation_Body{Body: up.Body}}
	}
	common.HeaderMutation = &b.m
	if up.Provider.Own {
		r.DynamicMetadata.Fields[wire.MetadataLB] = objectValue(wire.KeyEndpoint, structpb.NewStringValue(hostPort(up.URL)))
	}
	return r
}

// hostPort names an endpoint as Envoy does, always with a port.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		if port = "80"; u.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func passHead() *extproc.ProcessingResponse { return headers(false, nil) }

// directHead lets the target's answer pass with Sluice's headers.
func directHead(set []proxy.Field, remove []string) *extproc.ProcessingResponse {
	var b mutation
	for _, f := range set {
		b.set(f.Name, f.Value)
	}
	for _, name := range remove {
		b.drop(name)
	}
	return headers(false, &extproc.CommonResponse{HeaderMutation: &b.m})
}

// bufferBody asks for the response's body, whole.
func bufferBody() *extproc.ProcessingResponse {
	r := headers(false, nil)
	r.ModeOverride = &filter.ProcessingMode{ResponseHeaderMode: filter.ProcessingMode_SEND, ResponseBodyMode: filter.ProcessingMode_BUFFERED}
	return r
}

func headers(request bool, common *extproc.CommonResponse) *extproc.ProcessingResponse {
	if common == nil {
		common = &extproc.CommonResponse{}
	}
	h := &extproc.HeadersResponse{Response: common}
	if request {
		return &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_RequestHeaders{RequestHeaders: h}}
	}
	return &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_ResponseHeaders{ResponseHeaders: h}}
}

// rendered puts a reply of ours in the place of a response; nil lets the response pass.
func rendered(reply *proxy.Reply, instead http.Header) *extproc.ProcessingResponse {
	common := &extproc.CommonResponse{}
	if reply != nil {
		var b mutation
		b.own(":status", strconv.Itoa(reply.Status))
		for _, f := range reply.Header {
			b.set(f.Name, f.Value)
		}
		for name := range instead {
			b.drop(name)
		}
		b.own("content-length", strconv.Itoa(len(reply.Body)))
		common.HeaderMutation = &b.m
		common.BodyMutation = &extproc.BodyMutation{Mutation: &extproc.BodyMutation_Body{Body: reply.Body}}
	}
	return &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_ResponseBody{ResponseBody: &extproc.BodyResponse{Response: common}}}
}

// immediate has Envoy send a reply of ours. Its details begin with what local_reply_config leaves alone.
func immediate(reply *proxy.Reply, code string) *extproc.ProcessingResponse {
	if code == "" {
		code = "reply"
	}
	var b mutation
	for _, f := range reply.Header {
		b.set(f.Name, f.Value)
	}
	return &extproc.ProcessingResponse{Response: &extproc.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extproc.ImmediateResponse{
		Status:  &httptype.HttpStatus{Code: httptype.StatusCode(reply.Status)},
		Headers: &b.m,
		Body:    reply.Body,
		Details: wire.DetailsPrefix + code,
	}}}
}

func object(name string, v *structpb.Value) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{name: v}}
}

func objectValue(name string, v *structpb.Value) *structpb.Value {
	return structpb.NewStructValue(object(name, v))
}

func list(v ...*structpb.Value) *structpb.Value {
	return structpb.NewListValue(&structpb.ListValue{Values: v})
}
