package extproc

import (
	"cmp"
	"context"
	"encoding/hex"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filter "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	httptype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
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

// set replaces headers; a name that is there twice has two values. Only what is neither the connection's nor Envoy's gets through.
func set(m *extproc.HeaderMutation, fields []proxy.Field) {
	for _, f := range fields {
		name := strings.ToLower(f.Name)
		if hop[name] || name == "" || name[0] == ':' || strings.HasPrefix(name, wire.PrefixEnvoy) || strings.ContainsAny(f.Value, "\r\n\x00") {
			continue
		}
		own(m, name, f.Value)
	}
}

// own sets what is Sluice's word to Envoy: pseudo headers, lengths, and those that steer it.
func own(m *extproc.HeaderMutation, name, value string) {
	action := core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
	if has(m, name) {
		action = core.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
	}
	m.SetHeaders = append(m.SetHeaders, &core.HeaderValueOption{Header: &core.HeaderValue{Key: name, RawValue: []byte(value)}, AppendAction: action})
}

func has(m *extproc.HeaderMutation, name string) bool {
	return slices.ContainsFunc(m.SetHeaders, func(o *core.HeaderValueOption) bool { return o.Header.Key == name })
}

// drop removes a header unless it is set.
func drop(m *extproc.HeaderMutation, name string) {
	if name = strings.ToLower(name); !hop[name] && name != "" && name[0] != ':' && !has(m, name) {
		m.RemoveHeaders = append(m.RemoveHeaders, name)
	}
}

// hop are headers that belong to a connection, or to the length of a body: Envoy's business. Without x-forwarded-proto it finds no route; the
// clusters of providers remove that one.
var hop = map[string]bool{"host": true, "connection": true, "keep-alive": true, "proxy-connection": true, "te": true, "trailer": true,
	"transfer-encoding": true, "upgrade": true, "content-length": true, "x-forwarded-proto": true}

// never are headers that no target gets from a client or from Envoy, even where a filter's rules kept them from us.
var never = [...]string{"authorization", "api-key", "x-api-key", "x-goog-api-key", "proxy-authorization", "cookie", "forwarded", "x-forwarded-for",
	"x-forwarded-host", "x-forwarded-client-cert", "x-real-ip", "x-request-id", "x-envoy-external-address", "x-envoy-internal",
	"traceparent", "tracestate", "baggage", "origin", "referer"}

// headAnswer gives the request its id: as header for the executor and the log of attempts, as metadata for the log of requests.
func headAnswer(id [16]byte) *response {
	r := headers(true)
	r.GetRequestHeaders().Response.HeaderMutation = &extproc.HeaderMutation{}
	own(r.GetRequestHeaders().Response.HeaderMutation, wire.HeaderID, hex.EncodeToString(id[:]))
	r.DynamicMetadata = object(wire.MetadataLog, map[string]any{wire.KeyID: hex.EncodeToString(id[:])})
	return r
}

func bodyAnswer() *response {
	return &response{Response: &extproc.ProcessingResponse_RequestBody{RequestBody: &extproc.BodyResponse{Response: &extproc.CommonResponse{}}}}
}

// streamUp lets a request pass without its body or its answer.
func streamUp() *response {
	r := headers(true)
	r.ModeOverride = &filter.ProcessingMode{ResponseHeaderMode: filter.ProcessingMode_SKIP}
	return r
}

// chain writes the clusters to try into an answer: the target if there is one, and the executor.
func chain(r *response, cluster string) {
	var groups []any
	for _, name := range []string{cluster, wire.ClusterExecutor} {
		if name != "" { // without a weight Envoy ignores the whole chain, silently
			groups = append(groups, map[string]any{"name": name, "clusters": []any{map[string]any{"cluster_name": name, "weight": 1}}})
		}
	}
	proto.Merge(r, &response{DynamicMetadata: object(wire.MetadataChain, map[string]any{wire.KeyGroups: groups})})
	common := r.GetRequestBody().GetResponse()
	if common == nil {
		common = r.GetRequestHeaders().GetResponse()
	}
	common.ClearRouteCache = true
}

// prepare writes the target's request into the answer to a body.
func prepare(r *response, up *proxy.Upstream, client http.Header) {
	m := &extproc.HeaderMutation{}
	set(m, up.Header)
	for name := range client {
		drop(m, name)
	}
	for _, name := range never {
		if client[http.CanonicalHeaderKey(name)] == nil {
			drop(m, name)
		}
	}
	own(m, ":path", up.URL.RequestURI())
	own(m, ":scheme", up.URL.Scheme)
	own(m, wire.HeaderPrepared, "1")
	own(m, wire.HeaderRetries, "1")
	common := r.GetRequestBody().GetResponse()
	common.HeaderMutation = m
	if up.Body != nil {
		replace(common, up.Body)
	}
	if up.Provider.Own {
		r.DynamicMetadata.Fields[wire.MetadataLB] = object("", map[string]any{wire.KeyEndpoint: hostPort(up.URL)}).Fields[""]
	}
}

// replace writes a new body. Without its length Envoy answers 500.
func replace(common *extproc.CommonResponse, body []byte) {
	own(common.HeaderMutation, "content-length", strconv.Itoa(len(body)))
	common.BodyMutation = &extproc.BodyMutation{Mutation: &extproc.BodyMutation_Body{Body: body}}
}

// hostPort names an endpoint as Envoy does, always with a port.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), cmp.Or(port, "80"))
}

// directHead lets the target's answer pass with Sluice's headers.
func directHead(fields []proxy.Field, remove []string) *response {
	r, m := headers(false), &extproc.HeaderMutation{}
	set(m, fields)
	for _, name := range remove {
		drop(m, name)
	}
	r.GetResponseHeaders().Response.HeaderMutation = m
	return r
}

// bufferBody asks for the response's body, whole.
func bufferBody() *response {
	r := headers(false)
	r.ModeOverride = &filter.ProcessingMode{ResponseHeaderMode: filter.ProcessingMode_SEND, ResponseBodyMode: filter.ProcessingMode_BUFFERED}
	return r
}

// headers is an answer to a head that changes nothing.
func headers(request bool) *response {
	h := &extproc.HeadersResponse{Response: &extproc.CommonResponse{}}
	if request {
		return &response{Response: &extproc.ProcessingResponse_RequestHeaders{RequestHeaders: h}}
	}
	return &response{Response: &extproc.ProcessingResponse_ResponseHeaders{ResponseHeaders: h}}
}

// rendered puts a reply of ours in the place of a response; nil lets the response pass.
func rendered(reply *proxy.Reply, instead http.Header) *response {
	common := &extproc.CommonResponse{}
	if reply != nil {
		common.HeaderMutation = &extproc.HeaderMutation{}
		own(common.HeaderMutation, ":status", strconv.Itoa(reply.Status))
		set(common.HeaderMutation, reply.Header)
		for name := range instead {
			drop(common.HeaderMutation, name)
		}
		replace(common, reply.Body)
	}
	return &response{Response: &extproc.ProcessingResponse_ResponseBody{ResponseBody: &extproc.BodyResponse{Response: common}}}
}

// immediate has Envoy send a reply of ours. Its details begin with what local_reply_config leaves alone.
func immediate(reply *proxy.Reply, code string) *response {
	m := &extproc.HeaderMutation{}
	set(m, reply.Header)
	return &response{Response: &extproc.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extproc.ImmediateResponse{
		Status: &httptype.HttpStatus{Code: httptype.StatusCode(reply.Status)}, Headers: m, Body: reply.Body, Details: wire.DetailsPrefix + cmp.Or(code, "reply"),
	}}}
}

// object is metadata with one namespace; its values are ours, so they always fit.
func object(namespace string, fields map[string]any) *structpb.Struct {
	s, _ := structpb.NewStruct(map[string]any{namespace: fields})
	return s
}
