// Package http1 asks upstreams over plain HTTP/1.1. net/http reads the answers; what is here instead of its Transport are the connections: a request is written and
// its answer read on the goroutine that asks, while a Transport has two more for each connection and hands every request over to them and back. It knows neither TLS, nor
// HTTP/2, nor proxies, and repeats a request only if not one byte of it was written.
package http1
