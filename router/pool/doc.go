// Package pool picks an endpoint of an own pool by the load that the gateway itself has put on it, and knows which endpoints are healthy.
//
// Invariant: what is in flight is counted on the endpoint's own object and released exactly once, so that counters are zero at rest
// whatever happened to streams, endpoints and policies in between. The package makes no request of its own: probes are handed in.
package pool
