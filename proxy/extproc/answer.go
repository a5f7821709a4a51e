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

	"google.golang.org/grpc/metadata"

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

// requestHead is the request's head as any plane hands it over. Headers of Envoy's and Sluice's own are no client's; the trace is that of Envoy's
// span where it traces, which only gRPC's metadata tells.
func requestHead(ctx context.Context, m wire.Message) (proxy.Head, bool) {
	head := proxy.Head{Header: make(http.Header, len(m.Headers)), ContentLength: -1, Plane: "envoy"}
	path := ""
	for _, f := range m.Headers {
		switch {
		case f.Name == ":method":
			head.Method = f.Value
		case f.Name == ":path":
			path = f.Value
		case strings.HasPrefix(f.Name, ":"), strings.HasPrefix(f.Name, wire.PrefixEnvoy), strings.HasPrefix(f.Name, wire.PrefixSluice):
		default:
			head.Header.Add(f.Name, f.Value)
		}
	}
	if n, err := strconv.ParseInt(head.Header.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		head.ContentLength = n
	} else if m.End {
		head.ContentLength = 0
	}
	if parent := metadata.ValueFromIncomingContext(ctx, "traceparent"); len(parent) == 1 {
		head.Header.Set("Traceparent", parent[0])
		head.Header["Tracestate"] = metadata.ValueFromIncomingContext(ctx, "tracestate")
	}
	u, err := url.ParseRequestURI(path)
	head.URL = u
	return head, err == nil && head.Method != ""
}

// responseHead is the response's status, its headers without pseudo headers, and whether they are an upstream's: Envoy's router says so in a header,
// which no upstream can keep out, and which Envoy's own replies do not have.
func responseHead(m wire.Message) (code int, header http.Header, upstream bool) {
	header = make(http.Header, len(m.Headers))
	for _, f := range m.Headers {
		switch {
		case f.Name == ":status":
			code, _ = strconv.Atoi(f.Value) // 0 is no status of anything
		case f.Name == wire.HeaderUpstream:
			upstream = true
		case strings.HasPrefix(f.Name, ":"):
		default:
			header.Add(f.Name, f.Value)
		}
	}
	return code, header, upstream
}

// answer is what Envoy is told on one message.
type answer struct{ wire.Answer }

func to(kind wire.Kind) *answer { return &answer{wire.Answer{To: kind}} }

// copy sets headers, but for what is the connection's or Envoy's; a name that is there twice has two values.
func (a *answer) copy(from ...proxy.Field) {
	for _, f := range from {
		name := strings.ToLower(f.Name)
		if hop[name] || name == "" || name[0] == ':' || strings.HasPrefix(name, wire.PrefixEnvoy) || strings.ContainsAny(f.Value, "\r\n\x00") {
			continue
		}
		a.own(name, f.Value)
	}
}

// own sets what is Sluice's word to Envoy: pseudo headers, lengths, and those that steer it.
func (a *answer) own(name, value string) {
	a.Set = append(a.Set, wire.Header{Name: name, Value: value})
}

// drop removes a header unless it is set.
func (a *answer) drop(name string) {
	if name = strings.ToLower(name); !hop[name] && name != "" && name[0] != ':' && !slices.ContainsFunc(a.Set, func(h wire.Header) bool { return h.Name == name }) {
		a.Remove = append(a.Remove, name)
	}
}

// hop are headers that belong to a connection, or to the length of a body: Envoy's business. Without x-forwarded-proto it finds no route; the
// clusters of providers remove that one.
var hop = map[string]bool{"host": true, "connection": true, "keep-alive": true, "proxy-connection": true, "te": true, "trailer": true,
	"transfer-encoding": true, "upgrade": true, "content-length": true, "x-forwarded-proto": true}

func idText(id [16]byte) string { return hex.EncodeToString(id[:]) }

// begun gives the request its id, by which the executor and the logs know it.
func begun(id [16]byte) *answer {
	a := to(wire.RequestHeaders)
	a.own(wire.HeaderID, idText(id))
	return a
}

// streamUp lets a request pass without its body or its answer.
func streamUp() *answer {
	a := to(wire.RequestHeaders)
	a.Mode = wire.AnswerUnseen
	return a
}

// chain writes the clusters to try into an answer: the target if there is one, and the executor.
func (a *answer) chain(cluster string) {
	a.Chain, a.Reroute = wire.Chain(cluster), true
}

// prepare writes the target's request into the answer to a body. No header of the client's goes up but as one of the target's; Envoy's own the
// target's cluster removes.
func (a *answer) prepare(up *proxy.Upstream, client http.Header) {
	for _, f := range up.Header {
		if !same(client[f.Name], up.Header, f.Name) {
			a.copy(f)
		}
	}
	for name, values := range client {
		if !same(values, up.Header, name) {
			a.drop(name)
		}
	}
	a.own(":authority", up.URL.Host)
	a.own(":path", up.URL.RequestURI())
	a.own(":scheme", up.URL.Scheme)
	a.own(wire.HeaderPrepared, "1")
	a.own(wire.HeaderRetries, "1")
	if up.Body != nil {
		a.replace(up.Body)
	}
	if up.Provider.Own {
		endpoint := net.JoinHostPort(up.URL.Hostname(), wire.Port(up.URL)) // Envoy names it so, always with a port
		a.Metadata = append(a.Metadata, wire.Picked(endpoint)...)
	}
}

// same reports whether a header has these values among the fields: then Envoy has it already as it should be.
func same(values []string, among []proxy.Field, name string) bool {
	n := 0
	for _, f := range among {
		if f.Name == name {
			if n == len(values) || values[n] != f.Value {
				return false
			}
			n++
		}
	}
	return n == len(values)
}

// replace writes a new body. Without its length Envoy answers 500.
func (a *answer) replace(body []byte) {
	a.own("content-length", strconv.Itoa(len(body)))
	a.Body, a.Replaced = body, true
}

// pass lets a response go on as it is, but for the word of Envoy's router.
func pass(upstream bool) *answer {
	a := to(wire.ResponseHeaders)
	if upstream {
		a.drop(wire.HeaderUpstream)
	}
	return a
}

// directHead lets the target's answer pass with Sluice's headers.
func directHead(set []proxy.Field, remove []string) *answer {
	a := pass(true)
	a.copy(set...)
	for _, name := range remove {
		a.drop(name)
	}
	return a
}

// buffer asks for the response's body, whole.
func buffer(upstream bool) *answer {
	a := pass(upstream)
	a.Mode = wire.AnswerWhole
	return a
}

// rendered puts a reply of ours in the place of a response; nil lets the response pass.
func rendered(reply *proxy.Reply, instead http.Header) *answer {
	a := to(wire.ResponseBody)
	if reply != nil {
		a.own(":status", strconv.Itoa(reply.Status))
		a.copy(reply.Header...)
		for name := range instead {
			a.drop(name)
		}
		a.replace(reply.Whole())
	}
	return a
}

// immediate has Envoy send a reply of ours. Its details begin with what local_reply_config leaves alone.
func immediate(reply *proxy.Reply, code string) *answer {
	a := &answer{wire.Answer{Status: reply.Status, Details: wire.DetailsPrefix + cmp.Or(code, "reply"), Body: reply.Whole()}}
	a.copy(reply.Header...)
	return a
}
