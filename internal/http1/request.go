package http1

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// begin returns where a request goes and its head as it is written, and is the only check of what callers put into it: no field may end its line.
func begin(r *http.Request) (addr string, head []byte, err error) {
	if addr, err = address(r.URL); err != nil {
		return "", nil, err
	}
	head, err = appendHead(make([]byte, 0, headSize), r)
	return addr, head, err
}

// headSize is more than most heads take, in bytes.
const headSize = 1 << 10

func appendHead(b []byte, r *http.Request) ([]byte, error) {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	host, err := httpguts.PunycodeHostPort(host)
	if err != nil {
		return nil, err
	}
	if host = withoutZone(host); !httpguts.ValidHostHeader(host) {
		return nil, fmt.Errorf("http1: host %q", host)
	}
	method, uri := r.Method, r.URL.RequestURI()
	if method == "" {
		method = http.MethodGet
	}
	if !httpguts.ValidHeaderFieldName(method) || strings.ContainsFunc(uri, breaks) {
		return nil, errors.New("http1: a method or a URL that does not fit into its line")
	}
	b = append(append(append(append(b, method...), ' '), uri...), " HTTP/1.1\r\n"...)
	b = appendField(b, "Host", host)
	if b, err = appendFields(b, r.Header); err != nil {
		return nil, err
	}
	switch {
	case r.Body != nil && r.Body != http.NoBody && r.ContentLength <= 0:
		b = appendField(b, "Transfer-Encoding", "chunked")
	case r.ContentLength > 0, method == http.MethodPost, method == http.MethodPut, method == http.MethodPatch:
		b = append(b, "Content-Length: "...)
		b = append(strconv.AppendInt(b, max(r.ContentLength, 0), 10), "\r\n"...)
	}
	if r.Close {
		b = appendField(b, "Connection", "close")
	}
	return append(b, "\r\n"...), nil
}

// framing is what appendHead writes itself, from the request's other fields.
func framing(name string) bool {
	switch name {
	case "Host", "Content-Length", "Transfer-Encoding", "Trailer", "Connection":
		return true
	}
	return false
}

// appendFields writes a header, sorted, so that equal requests are equal on the wire.
func appendFields(b []byte, h http.Header) ([]byte, error) {
	var few [24]string
	names := few[:0]
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if framing(name) {
			continue
		}
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("http1: header name %q", name)
		}
		for _, v := range h[name] {
			if !httpguts.ValidHeaderFieldValue(v) {
				return nil, fmt.Errorf("http1: header %s has a value that does not fit into its line", name) // which may be a secret
			}
			b = appendField(b, name, v)
		}
	}
	return b, nil
}

func appendField(b []byte, name, value string) []byte {
	return append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
}

func breaks(r rune) bool { return r <= ' ' || r == 0x7f }

// withoutZone takes the zone off an address of IPv6: it means something on this machine only.
func withoutZone(host string) string {
	end := strings.LastIndexByte(host, ']')
	if !strings.HasPrefix(host, "[") || end < 0 {
		return host
	}
	if zone := strings.LastIndexByte(host[:end], '%'); zone >= 0 {
		return host[:zone] + host[end:]
	}
	return host
}
