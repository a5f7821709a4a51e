package wire

import (
	"net"
	"net/netip"
	"net/url"
)

// Endpoint returns the address by which Envoy knows an endpoint of a pool and by which metadata picks it: ip:port, as Envoy writes it. It is
// "" when the endpoint is given by a name, which Envoy resolves and nobody else can pick.
func Endpoint(u *url.URL) string {
	ip, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return ""
	}
	return net.JoinHostPort(ip.Unmap().String(), Port(u))
}

// Port returns a URL's port, written or its scheme's.
func Port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https" || u.Scheme == "grpcs":
		return "443"
	}
	return "80"
}
