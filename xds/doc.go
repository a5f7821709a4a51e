// Package xds is the Envoy plane's control plane: it turns a policy into Envoy's resources, gives them to Envoys and supervises one.
//
// Its invariant: Build is a pure function with sorted output, so equal policies give equal bytes. What Envoy gets is addresses, limits and
// names: no credential is in any resource, and nothing here knows models, prices, prompts or dialects. A listener changes only with
// `server` and `telemetry`, because a listener's change cuts the streams that are open; everything that reloads is in routes and clusters.
//
// Three traps shaped the resources, each seen on a real Envoy: a route with a hedge policy retries on the same cluster only; limits on a route
// or a try cut the executor's attempt as well; a cluster without a healthy host ends a request, unless a dead endpoint (the tombstone) at
// priority 1 makes that a failure like any other.
package xds
