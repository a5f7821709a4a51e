package envoy

import (
	"context"
	"net"
	"net/http"
	"strings"
)

// Live reports whether Envoy takes requests. An Envoy acknowledges a listener before its workers have begun to listen.
func (p *Process) Live(ctx context.Context) error {
	_, err := p.Ask(ctx, http.MethodGet, "ready")
	return err
}

// Ask puts a question to Envoy's admin interface, such as "stats", and returns at most 1 MiB of the answer.
func (p *Process) Ask(ctx context.Context, method, path string) (string, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		network := "tcp"
		if strings.Contains(p.Admin, "/") {
			network = "unix"
		}
		return new(net.Dialer).DialContext(ctx, network, p.Admin)
	}}}
	return admin(ctx, client, method, path)
}
