//go:build real

package envoyplane

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/sluice-gateway/sluice/xds"
)

// TestRefusedRoute: no policy is known whose route only an Envoy refuses, so two such routes are put into what Build made. Each is refused with the policy's
// line, the old policy stays in force at the Envoy and in the gateway, and the next good one is taken.
func TestRefusedRoute(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, chat)
	}))
	t.Cleanup(upstream.Close)
	policy := func(route string) []byte {
		return fmt.Appendf(nil, `version: 1
providers:
  p: {dialect: openai, base_url: %q}
models:
  m: {provider: p, name: m}
routes:
  %s: {rules: [{use: [m]}], carrier: envoy}
`, upstream.URL+"/v1", route)
	}
	var spoil func(*routev3.RouteConfiguration)
	p := Start(t, Options{Policy: Compile(t, policy("old")), Built: func(r *xds.Resources) {
		if spoil != nil {
			spoil(r.Routes[0].Message.(*routev3.RouteConfiguration))
		}
	}})
	status := func(model string) int {
		r, err := http.Post(p.URL+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"`+model+`","messages":[{"role":"user","content":"hi"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		return r.StatusCode
	}
	for name, f := range map[string]func(*routev3.RouteConfiguration){
		"a regular expression that RE2 refuses": func(c *routev3.RouteConfiguration) {
			c.VirtualHosts[0].Routes[0].Match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "/(?=v1)"}}
		},
		"a domain twice": func(c *routev3.RouteConfiguration) {
			c.VirtualHosts = append(c.VirtualHosts, &routev3.VirtualHost{Name: "again", Domains: []string{"*"}})
		},
	} {
		spoil = f
		if err := p.Replace(Compile(t, policy("new"))); err == nil || !strings.Contains(err.Error(), `refused routes "sluice" (policy line 7)`) {
			t.Errorf("%s: %v", name, err)
		}
		if was, is := status("old"), status("new"); was != http.StatusOK || is != http.StatusNotFound {
			t.Errorf("%s: the old policy answers %d, the refused one %d", name, was, is)
		}
	}
	spoil = nil
	if err := p.Replace(Compile(t, policy("new"))); err != nil {
		t.Fatal(err)
	}
	if is := status("new"); is != http.StatusOK {
		t.Errorf("the next good policy answers %d", is)
	}
}
