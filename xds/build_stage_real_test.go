//go:build real

package xds

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	groupv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/router/cluster_specifiers/priority_group/v3"
	logv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-gateway/sluice/internal/wire"
)

// stage is the least that the resources expect of a processor: it names an id, writes the first target's host, path and body, and plans the chain.
type stage struct {
	procv3.UnimplementedExternalProcessorServer
	logv3.UnimplementedAccessLogServiceServer
	chain    []string // clusters
	endpoint string
	host     string
	logs     chan *datav3.HTTPAccessLogEntry
}

const stageID = "0123456789abcdef0123456789abcdef"

func value(v any) *structpb.Value {
	out, err := structpb.NewValue(v)
	if err != nil {
		panic(err)
	}
	return out
}

func mutation(headers ...string) *procv3.HeaderMutation {
	m := &procv3.HeaderMutation{}
	for i := 0; i < len(headers); i += 2 {
		m.SetHeaders = append(m.SetHeaders, &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: headers[i], RawValue: []byte(headers[i+1])},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	return m
}

func (s *stage) body() *procv3.ProcessingResponse {
	var groups groupv3.PriorityGroupsOverride
	for _, c := range s.chain {
		groups.PriorityGroups = append(groups.PriorityGroups, &groupv3.PriorityGroup{Name: c, Clusters: []*groupv3.ClusterWeight{{ClusterName: c, Weight: number(1)}}})
	}
	chain, err := anypb.New(&groups)
	if err != nil {
		panic(err)
	}
	body := `{"model":"small-1b"}`
	return &procv3.ProcessingResponse{
		DynamicMetadata:      &structpb.Struct{Fields: map[string]*structpb.Value{wire.MetadataLB: value(map[string]any{wire.KeyEndpoint: s.endpoint})}},
		TypedDynamicMetadata: map[string]*anypb.Any{wire.MetadataChain: chain},
		Response: &procv3.ProcessingResponse_RequestBody{RequestBody: &procv3.BodyResponse{Response: &procv3.CommonResponse{
			ClearRouteCache: true,
			HeaderMutation: mutation(":authority", s.host, ":path", "/other/chat", wire.HeaderPrepared, "1", wire.HeaderRetries, "1",
				"content-length", strconv.Itoa(len(body)), "authorization", "Bearer first"),
			BodyMutation: &procv3.BodyMutation{Mutation: &procv3.BodyMutation_Body{Body: []byte(body)}},
		}}},
	}
}

// Process answers the three messages of a request.
func (s *stage) Process(str procv3.ExternalProcessor_ProcessServer) error {
	for {
		m, err := str.Recv()
		if err != nil {
			return nil
		}
		answer := &procv3.ProcessingResponse{}
		switch m.Request.(type) {
		case *procv3.ProcessingRequest_RequestHeaders:
			answer.Response = &procv3.ProcessingResponse_RequestHeaders{RequestHeaders: &procv3.HeadersResponse{
				Response: &procv3.CommonResponse{HeaderMutation: mutation(wire.HeaderID, stageID)},
			}}
		case *procv3.ProcessingRequest_RequestBody:
			answer = s.body()
		default:
			answer.Response = &procv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &procv3.HeadersResponse{}}
		}
		if err := str.Send(answer); err != nil {
			return nil
		}
	}
}

// StreamAccessLogs hands on every entry.
func (s *stage) StreamAccessLogs(str logv3.AccessLogService_StreamAccessLogsServer) error {
	for {
		m, err := str.Recv()
		if err != nil {
			return nil
		}
		for _, e := range m.GetHttpLogs().GetLogEntry() {
			s.logs <- e
		}
	}
}

// expect returns the next entry of a type.
func (s *stage) expect(t *testing.T, kind datav3.AccessLogType) *datav3.HTTPAccessLogEntry {
	t.Helper()
	for deadline := time.After(20 * time.Second); ; {
		select {
		case e := <-s.logs:
			if e.CommonProperties.AccessLogType == kind {
				return e
			}
		case <-deadline:
			t.Fatalf("no log entry of type %s", kind)
		}
	}
}

// TestEnvoyStage drives the resources of filter mode through a real Envoy: a target that answers, one that fails, one that refuses, a body that
// is too large, a path that has no stage.
func TestEnvoyStage(t *testing.T) {
	dir := t.TempDir()
	s := &stage{logs: make(chan *datav3.HTTPAccessLogEntry, 64)}
	control, err := net.Listen("unix", filepath.Join(dir, "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	procv3.RegisterExternalProcessorServer(g, s)
	logv3.RegisterAccessLogServiceServer(g, s)
	go g.Serve(control)
	t.Cleanup(g.Stop)

	requests := make(chan *http.Request, 4)
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			return
		}
		body, _ := io.ReadAll(r.Body)
		r.Header.Set("Body", string(body))
		requests <- r
		if r.Header.Get("Content-Type") == "fail" {
			w.Header().Set("retry-after", "7")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"usage":{"prompt_tokens":11,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":3}}}`)
	})
	upstream := httptest.NewServer(answer)
	t.Cleanup(upstream.Close)
	// Both certificates are trusted; only the first is for who is asked.
	foreign := newPair(net.IPv4(10, 9, 8, 7), "elsewhere.test")
	foreignCA := filepath.Join(dir, "foreign.pem")
	if err := os.WriteFile(foreignCA, foreign.cert, 0o600); err != nil {
		t.Fatal(err)
	}
	overTLS := func(with pair) (port string) {
		s := httptest.NewUnstartedServer(answer)
		s.EnableHTTP2 = true
		loaded, err := tls.X509KeyPair(with.cert, with.key)
		if err != nil {
			t.Fatal(err)
		}
		s.TLS = &tls.Config{Certificates: []tls.Certificate{loaded}}
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		_, port, _ = net.SplitHostPort(s.Listener.Addr().String())
		return port
	}
	port, foreignPort := overTLS(selfSigned()), overTLS(foreign)
	executor := func(name string) string {
		at := filepath.Join(dir, name)
		l, err := net.Listen("unix", at)
		if err != nil {
			t.Fatal(err)
		}
		e := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s %s %s %s", name, r.URL.Path, r.Header.Get(wire.HeaderID), r.Header.Get(wire.HeaderPrepared))
		}))
		e.Listener = l
		e.Start()
		t.Cleanup(e.Close)
		return at
	}
	address := upstream.Listener.Addr().String()
	p := compiled(t, []byte(fmt.Sprintf(`
version: 1
providers:
  pool: {engine: vllm, endpoints: ["http://%[1]s", "http://127.0.0.1:1"]}
  dead: {dialect: openai, base_url: "http://nowhere.invalid:81/v1"}
  named: {dialect: openai, base_url: "https://localhost:%[2]s/v1", ca: ca.pem}
  numbered: {dialect: openai, base_url: "https://127.0.0.1:%[2]s/v1", ca: ca.pem}
  impostor: {dialect: openai, base_url: "https://localhost:%[3]s/v1", ca: ca.pem}
  stranger: {dialect: openai, base_url: "https://127.0.0.1:%[3]s/v1", ca: ca.pem}
models:
  small: {provider: pool, name: small}
  a: {provider: dead, name: a}
  b: {provider: named, name: b}
  c: {provider: numbered, name: c}
  d: {provider: impostor, name: d}
  e: {provider: stranger, name: e}
routes: {auto: {rules: [{use: [small, a, b, c, d, e]}], carrier: envoy}}
server: {body_limit: 64k}
`, address, port, foreignPort)))
	params, base := local(t, p, Params{Control: control.Addr().String()}, executor("edge"))
	params.Claim = executor("claim")
	p.Providers["impostor"].CA, p.Providers["stranger"].CA = foreignCA, foreignCA
	r, err := Build(p, params)
	if err != nil {
		t.Fatal(err)
	}
	config, err := Static(r, params)
	if err != nil {
		t.Fatal(err)
	}
	cluster := func(provider string) string {
		name, ok := r.Cluster(provider, 10*time.Minute)
		if !ok {
			t.Fatalf("%s has no cluster", provider)
		}
		return name
	}
	pool := cluster("pool")
	running(t, config)

	t.Run("answers", func(t *testing.T) {
		s.chain, s.endpoint, s.host = []string{pool, wire.ClusterExecutor}, address, address
		code, body, _ := ask(t, http.MethodPost, base+"/v1/chat/completions?x=1", `{"model":"auto"}`, http.Header{"Traceparent": {"00-0123"}, wire.HeaderRetries: {"9"}})
		if code != 200 || !strings.Contains(body, "usage") {
			t.Fatalf("%d %s", code, body)
		}
		got := <-requests
		if got.URL.Path != "/other/chat" || got.Header.Get("Body") != `{"model":"small-1b"}` || got.Header.Get("Authorization") != "Bearer first" || got.Host != address {
			t.Errorf("the target saw %s %s %v", got.Host, got.URL, got.Header)
		}
		for name := range got.Header {
			if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-envoy-") || strings.HasPrefix(lower, "x-forwarded-") {
				t.Errorf("the target saw %s", name)
			}
		}
		e := s.expect(t, datav3.AccessLogType_DownstreamEnd)
		usage := e.CommonProperties.Metadata.FilterMetadata[wire.MetadataUsage].GetFields()
		if usage[wire.KeyInput].GetNumberValue() != 11 || usage[wire.KeyOutput].GetNumberValue() != 7 || usage[wire.KeyCached].GetNumberValue() != 3 {
			t.Errorf("usage %v", usage)
		}
		if e.CommonProperties.UpstreamRequestAttemptCount != 1 || e.CommonProperties.UpstreamCluster != pool || e.Request.RequestHeaders[wire.HeaderID] != stageID {
			t.Errorf("entry %v", e)
		}
	})
	t.Run("logs what it refuses as asked of nobody", func(t *testing.T) {
		c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\n%s: %032d\r\nContent-Length: 2\r\n\r\n{}", wire.HeaderID, 7) // no host
		if e := s.expect(t, datav3.AccessLogType_DownstreamEnd); e.CommonProperties.UpstreamCluster != "" || e.Response.ResponseCode.GetValue() != 400 {
			t.Errorf("entry %v", e)
		}
	})
	for _, name := range []string{"named", "numbered"} {
		t.Run("speaks TLS as "+name, func(t *testing.T) {
			s.chain, s.endpoint, s.host = []string{cluster(name), wire.ClusterExecutor}, "", p.Providers[name].Endpoints[0].Host
			if code, body, _ := ask(t, http.MethodPost, base+"/v1/chat/completions", `{}`, nil); code != 200 || !strings.Contains(body, "usage") {
				t.Fatalf("%d %s", code, body)
			}
			if got := <-requests; got.ProtoMajor != 2 || got.Host != p.Providers[name].Endpoints[0].Host {
				t.Errorf("HTTP/%d for %s, want HTTP/2 for %s", got.ProtoMajor, got.Host, p.Providers[name].Endpoints[0].Host)
			}
		})
	}
	for name, test := range map[string]struct {
		chain    []string
		endpoint string
		kind     string
		want     string
	}{
		"fails":                                 {[]string{pool, wire.ClusterExecutor}, address, "fail", "claim /other/chat " + stageID + " 1"},
		"refuses":                               {[]string{pool, wire.ClusterExecutor}, "127.0.0.1:1", "", "claim /other/chat " + stageID + " 1"},
		"has no address":                        {[]string{cluster("dead"), wire.ClusterExecutor}, "", "", "claim /other/chat " + stageID + " 1"},
		"has a name that the certificate lacks": {[]string{cluster("impostor"), wire.ClusterExecutor}, "", "", "claim /other/chat " + stageID + " 1"},
		"has an address that the certificate lacks": {[]string{cluster("stranger"), wire.ClusterExecutor}, "", "", "claim /other/chat " + stageID + " 1"},
		"is the executor":     {[]string{wire.ClusterExecutor}, "", "", "claim /other/chat " + stageID + " 1"},
		"was forgotten (nil)": {nil, "", "", "claim /other/chat " + stageID + " 1"},
	} {
		t.Run(name, func(t *testing.T) {
			s.chain, s.endpoint = test.chain, test.endpoint
			code, body, _ := ask(t, http.MethodPost, base+"/v1/chat/completions", `{"model":"auto"}`, http.Header{"Content-Type": {test.kind}})
			if code != 200 || body != test.want {
				t.Fatalf("%d %s, want %s", code, body, test.want)
			}
			if test.kind == "fail" {
				<-requests
				for { // the attempt's own entry has the swallowed answer
					if e := s.expect(t, datav3.AccessLogType_UpstreamEnd); e.Response.ResponseCode.GetValue() == 429 {
						if e.Response.ResponseHeaders["retry-after"] != "7" || e.Request.RequestHeaders[wire.HeaderID] != stageID {
							t.Errorf("attempt %v", e)
						}
						break
					}
				}
			}
		})
	}
	t.Run("too large", func(t *testing.T) {
		code, body, header := ask(t, http.MethodPost, base+"/v1/chat/completions", strings.Repeat("x", 100<<10), nil)
		want := `{"error":{"message":"The request body is larger than this gateway's limit of 65536 bytes.","type":"invalid_request_error","param":null,"code":"request_too_large"}}`
		if code != 413 || body != want || header.Get("Content-Type") != "application/json" {
			t.Errorf("%d %s %v", code, body, header)
		}
	})
	t.Run("no stage", func(t *testing.T) {
		for _, test := range [][3]string{
			{http.MethodPost, "/v1/files", "/v1/files"}, {http.MethodGet, "/v1/chat/completions", "/v1/chat/completions"}, {http.MethodPost, "/v1/chat/completions/", "/v1/chat/completions/"},
		} {
			code, body, _ := ask(t, test[0], base+test[1], strings.Repeat("x", 100<<10), http.Header{wire.HeaderPrepared: {"1"}, wire.HeaderID: {stageID}})
			if want := "edge " + test[2] + "  "; code != 200 || body != want {
				t.Errorf("%s %s: %d %q, want %q", test[0], test[1], code, body, want)
			}
		}
	})
}
