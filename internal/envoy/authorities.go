package envoy

import "os"

// bundles are the usual places of the system's authorities.
var bundles = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem",
}

// SystemCA returns this system's bundle of authorities: $SSL_CERT_FILE, else the first of the usual files that is there, else "".
func SystemCA() string {
	for _, name := range append([]string{os.Getenv("SSL_CERT_FILE")}, bundles...) {
		if info, err := os.Stat(name); name != "" && err == nil && info.Mode().IsRegular() {
			return name
		}
	}
	return ""
}
