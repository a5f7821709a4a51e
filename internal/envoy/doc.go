// Package envoy runs an Envoy process beside Sluice and listens where Envoys connect.
//
// Its invariant: the binary executes nothing but the Envoy that it was told to, downloads nothing, and leaves none behind. What an Envoy is
// configured with is package xds.
package envoy
