//go:build real

package xds

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/policies"
)

// realEnvoy finds the Envoy that scripts/fetch put there, or $ENVOY_PATH.
func realEnvoy(t *testing.T) string {
	t.Helper()
	given := os.Getenv("ENVOY_PATH")
	if given == "" {
		dir := os.Getenv("SLUICE_CACHE")
		if dir == "" {
			dir = filepath.Join("..", ".cache")
		}
		given = filepath.Join(dir, "envoy", "envoy", "_bin", "envoy")
	}
	path, v, err := envoy.Find(t.Context(), given)
	if err != nil {
		t.Fatalf("%v (scripts/fetch envoy)", err)
	}
	t.Logf("Envoy %s", v)
	return path
}

func packed(m proto.Message) *anypb.Any {
	a, err := pack(m)
	if err != nil {
		panic(err)
	}
	return a
}

func socketAddress(host string, port int) *core.Address {
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address: host, PortSpecifier: &core.SocketAddress_PortValue{PortValue: uint32(port)}}}}
}

func realCluster(name, host string, port, line int) Resource {
	return Resource{Name: name, Origin: policies.Position{Line: line}, Message: &cluster.Cluster{
		Name: name, ConnectTimeout: durationpb.New(time.Second),
		LoadAssignment: &endpoint.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpoint.LocalityLbEndpoints{{
			LbEndpoints: []*endpoint.LbEndpoint{{HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: socketAddress(host, port)}}}}}}}}}
}

func realRoute(to, answer string, extra ...*route.Route) Resource {
	routes := append(extra, &route.Route{
		Match:                &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}},
		ResponseHeadersToAdd: []*core.HeaderValueOption{{Header: &core.HeaderValue{Key: "x-answer", Value: answer}}},
		Action:               &route.Route_Route{Route: &route.RouteAction{ClusterSpecifier: &route.RouteAction_Cluster{Cluster: to}, Timeout: durationpb.New(0)}},
	})
	return Resource{Name: "main", Origin: policies.Position{Line: 20}, Message: &route.RouteConfiguration{
		Name: "main", VirtualHosts: []*route.VirtualHost{{Name: "all", Domains: []string{"*"}, Routes: routes}}}}
}

func realListener(port int, filters ...string) Resource {
	manager := &hcm.HttpConnectionManager{StatPrefix: "ingress", RouteSpecifier: &hcm.HttpConnectionManager_Rds{Rds: &hcm.Rds{
		RouteConfigName: "main", ConfigSource: &core.ConfigSource{ResourceApiVersion: core.ApiVersion_V3,
			ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}}}}}}
	for _, name := range filters {
		manager.HttpFilters = append(manager.HttpFilters, &hcm.HttpFilter{Name: name, ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: packed(&router.Router{})}})
	}
	return Resource{Name: "ingress", Origin: policies.Position{Line: 30}, Message: &listener.Listener{
		Name: "ingress", Address: socketAddress("127.0.0.1", port),
		FilterChains: []*listener.FilterChain{{Filters: []*listener.Filter{{
			Name: "hcm", ConfigType: &listener.Filter_TypedConfig{TypedConfig: packed(manager)}}}}}}}
}

const realBootstrap = `{"node": {"id": "real", "cluster": "test"},
"admin": {"address": {"pipe": {"path": %q}}},
"dynamic_resources": {
  "ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "control"}}]},
  "cds_config": {"ads": {}, "resource_api_version": "V3"}, "lds_config": {"ads": {}, "resource_api_version": "V3"}},
"static_resources": {"clusters": [{"name": "control", "type": "STATIC", "connect_timeout": "1s",
  "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {}}}},
  "load_assignment": {"cluster_name": "control", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": %q}}}}]}]}}]}}`

// bench is a control plane, an Envoy and an upstream, in one folder.
type bench struct {
	t             *testing.T
	port, back    int
	control       string
	process       *envoy.Process
	s             *Server
	generation    int
	stop          func()
	client        *http.Client
	stopProcess   func()
	restarts      atomic.Int32
	slow, entered chan struct{}
}

func newBench(t *testing.T) *bench {
	dir := t.TempDir()
	b := &bench{t: t, control: filepath.Join(dir, "control.sock"), client: &http.Client{Timeout: 20 * time.Second},
		slow: make(chan struct{}), entered: make(chan struct{}, 1)}
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			_, _ = io.WriteString(w, "begin ")
			w.(http.Flusher).Flush()
			b.entered <- struct{}{}
			<-b.slow
		}
		_, _ = io.WriteString(w, "end")
	}))
	t.Cleanup(upstream.Close)
	b.back = upstream.Listener.Addr().(*net.TCPAddr).Port
	at, release, err := envoy.Reserve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	b.port = int(netip.MustParseAddrPort(at).Port())
	admin := filepath.Join(dir, "admin.sock")
	b.process = &envoy.Process{Path: realEnvoy(t), Bootstrap: fmt.Appendf(nil, realBootstrap, admin, b.control), Admin: admin, Concurrency: 1,
		Logger: testLogger(t), Exited: func(error) { b.restarts.Add(1) }}
	b.serve()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.process.Run(ctx) }()
	b.stopProcess = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return b
}

// serve starts a control plane that knows nothing yet; stop ends it.
func (b *bench) serve() {
	l, err := envoy.ListenSocket(b.control)
	if err != nil {
		b.t.Fatal(err)
	}
	b.s = NewServer(Options{Logger: testLogger(b.t), Grace: 100 * time.Millisecond})
	b.generation = 0
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.s.Serve(ctx, l) }()
	b.stop = func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	}
}

func (b *bench) publish(r *Resources) error {
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	b.generation++
	return b.s.Publish(ctx, r, b.generation)
}

// good is a configuration that works; its answers carry the word.
func (b *bench) good(word string) *Resources {
	return &Resources{
		Clusters: []Resource{realCluster("up-"+word, "127.0.0.1", b.back, 10)},
		Routes:   []Resource{realRoute("up-"+word, word)}, Listeners: []Resource{realListener(b.port, "envoy.filters.http.router")},
	}
}

// ask makes one request and returns the word of the configuration that answered.
func (b *bench) ask() (string, error) {
	r, err := b.client.Get(fmt.Sprintf("http://127.0.0.1:%d/", b.port))
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err == nil && (r.StatusCode != 200 || string(body) != "end") {
		err = fmt.Errorf("%s: %s", r.Status, body)
	}
	return r.Header.Get("x-answer"), err
}

func (b *bench) admin(path string) string {
	method := http.MethodGet
	if path == "quitquitquit" {
		method = http.MethodPost
	}
	text, err := b.process.Ask(b.t.Context(), method, path)
	if err != nil {
		b.t.Errorf("admin %s: %v", path, err)
	}
	return text
}

func (b *bench) expect(word string) {
	b.t.Helper()
	if got, err := b.ask(); err != nil || got != word {
		b.t.Errorf("answered by %q (%v), want %q", got, err, word)
	}
}

// TestRealEnvoy walks one Envoy through a life: connect, follow, refuse, lose its control plane, crash, drain.
func TestRealEnvoy(t *testing.T) {
	b := newBench(t)
	defer func() { b.stopProcess(); b.stop() }()
	harness.Until(t, "Envoy connects", func() bool { return len(b.s.Status()) == 1 })
	if err := b.publish(b.good("one")); err != nil {
		t.Fatal(err)
	}
	harness.Until(t, "traffic", func() bool { word, err := b.ask(); return err == nil && word == "one" })
	if st := b.s.Status()[0]; !strings.HasPrefix(st.Version, "1.") || st.Ready != 1 || st.Generation != 1 {
		t.Errorf("status %+v", st)
	}
	b.refuses(t)
	b.follows(t)
	b.survivesControlPlane(t)
	b.survivesCrash(t)
	b.drains(t)
}

func (b *bench) refuses(t *testing.T) {
	regex := &route.Route{Match: &route.RouteMatch{PathSpecifier: &route.RouteMatch_SafeRegex{SafeRegex: &matcher.RegexMatcher{Regex: "[a-"}}},
		Action: &route.Route_DirectResponse{DirectResponse: &route.DirectResponseAction{Status: 200}}}
	for _, test := range []struct {
		name, want, counter string
		change              func(*Resources)
	}{
		{"cluster", `clusters "worse" (policy line 14)`, "cluster_manager.cds", func(r *Resources) {
			r.Clusters = append(r.Clusters, realCluster("worse", "no address", 1, 14), realCluster("yet-another", "127.0.0.1", 1, 15))
		}},
		{"route", `routes "main" (policy line 20)`, "http.ingress.rds.main", func(r *Resources) { r.Routes[0] = realRoute("up-two", "two", regex) }},
		{"listener", `listeners "ingress" (policy line 30)`, "listener_manager.lds", func(r *Resources) {
			r.Listeners[0] = realListener(b.port, "envoy.filters.http.router", "after")
		}},
	} {
		t.Run("bad "+test.name, func(t *testing.T) {
			r := b.good("two")
			test.change(r)
			err := b.publish(r)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("publish: %v, want %s", err, test.want)
			}
			t.Logf("%v", err)
			harness.Until(t, "the last accepted is back", func() bool {
				settled := true
				for _, st := range b.s.Status()[0].Types {
					settled = settled && !st.Pending
				}
				return settled
			})
			b.expect("one")
			harness.Until(t, "new clusters are gone", func() bool { return !strings.Contains(b.admin("clusters"), "up-two::") })
			if g := b.s.Generation("real"); g != 1 {
				t.Errorf("served by generation %d", g)
			}
			if counts := b.admin("stats?filter=update_rejected"); !strings.Contains(counts, test.counter+".update_rejected: 1\n") {
				t.Errorf("not sent exactly once:\n%s", counts)
			}
		})
	}
}

// follows updates twenty times under load: nothing is lost, and from the moment that Publish returns everybody sees the new one.
func (b *bench) follows(t *testing.T) {
	lost, finish := b.load()
	words := []string{"red", "green", "blue"}
	for i := range 20 {
		if err := b.publish(b.good(words[i%3])); err != nil {
			t.Fatal(err)
		}
		for range 25 {
			b.expect(words[i%3])
		}
		harness.Until(t, "the older one may go", func() bool { return b.s.Retire(b.generation - 1) })
	}
	if n := finish(); n == 0 || lost.Load() > 0 {
		t.Errorf("%d of %d requests lost during 20 updates", lost.Load(), n)
	}
	if !b.s.Retire(1) {
		t.Error("the first generation stays")
	}
	harness.Until(t, "retired clusters are gone", func() bool { return strings.Count(b.admin("clusters"), "::added_via_api::true") == 1 })
}

// load asks all the time until finish, which returns how often.
func (b *bench) load() (lost *atomic.Int32, finish func() int) {
	lost = new(atomic.Int32)
	end, done := make(chan struct{}), make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-end:
				done <- n
				return
			default:
			}
			if _, err := b.ask(); err != nil {
				lost.Add(1)
				b.t.Log(err)
			}
		}
	}()
	return lost, func() int { close(end); return <-done }
}

const changes = `stats?filter=^(cluster_manager.cluster_(added|modified|removed)|listener_manager.listener_(added|modified|removed)|http.ingress.rds.main.config_reload)$`

func (b *bench) survivesControlPlane(t *testing.T) {
	before := b.admin(changes)
	lost, finish := b.load()
	b.stop()
	b.serve()
	last := b.good("green") // what the twentieth update was
	if err := b.publish(last); err != nil {
		t.Error(err)
	}
	harness.Until(t, "ready again", func() bool { return b.s.Ready("real") == 1 })
	if n := finish(); n == 0 || lost.Load() > 0 {
		t.Errorf("%d of %d requests lost without control plane", lost.Load(), n)
	}
	if after := b.admin(changes); after != before {
		t.Errorf("the same policy changed Envoy:\n%s\n%s", before, after)
	}
	b.expect("green")
}

func (b *bench) survivesCrash(t *testing.T) {
	b.admin("quitquitquit")
	harness.Until(t, "restart", func() bool { return b.restarts.Load() == 1 })
	harness.Until(t, "traffic after a restart", func() bool { word, err := b.ask(); return err == nil && word == "green" })
	harness.Until(t, "ready after a restart", func() bool { return b.s.Ready("real") == 1 })
}

func (b *bench) drains(t *testing.T) {
	body := make(chan string, 1)
	go func() {
		r, err := b.client.Get(fmt.Sprintf("http://127.0.0.1:%d/slow", b.port))
		if err != nil {
			body <- err.Error()
			return
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		body <- fmt.Sprint(string(text), " ", err)
	}()
	<-b.entered
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- b.process.Drain(ctx) }()
	harness.Until(t, "told to go", func() bool { return strings.Contains(b.admin("server_info"), `"state": "DRAINING"`) })
	select {
	case err := <-drained:
		t.Errorf("drained with a request running: %v", err)
	default:
	}
	close(b.slow)
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if got := <-body; got != "begin end <nil>" {
		t.Errorf("the running request: %s", got)
	}
	harness.Until(t, "no new connection", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
}

// testLogger writes a process's log to the test's.
func testLogger(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }
