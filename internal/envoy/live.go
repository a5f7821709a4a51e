package envoy

import (
	"context"
	"net"
	"net/http"
	"strings"
)

// Live reports whether Envoy takes requests. An Envoy acknowledges a listener before its workers have begun to listen.
func (p *Process) Live(ctx context.Context) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		network := "tcp"
		if strings.Contains(p.Admin, "/") {
			network = "unix"
		}
		return new(net.Dialer).DialContext(ctx, network, p.Admin)
	}}}
	_, err := admin(ctx, client, http.MethodGet, "ready")
	return err
}
