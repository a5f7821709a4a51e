// Package wire names the headers, metadata and clusters by which Envoy's configuration and the external processor speak to each other.
//
// Its invariant: a name is written once. What xds configures and what extproc sends are the same constants, so neither can drift.
package wire

// Headers that Envoy and the executor exchange. Clients' headers with these prefixes are removed before anything reads them.
const (
	HeaderID        = "x-sluice-id"                   // exchange id, 32 hex digits, which only the stage writes: the join key of logs and the executor's claim
	HeaderPrepared  = "x-sluice-prepared"             // "1" once the first attempt was written into the request
	HeaderNode      = "x-sluice-node"                 // on every gRPC stream of an Envoy that has a name of its own: its node's id, written by its bootstrap
	HeaderRetries   = "x-envoy-max-retries"           // raises the route's num_retries of 0 for one request
	HeaderUpstream  = "x-envoy-upstream-service-time" // on an answer: Envoy's router says that it is an upstream's, and none of its own
	HeaderRequestID = "x-sluice-request-id"           // on every answer of the executor
	PrefixSluice    = "x-sluice-"
	PrefixEnvoy     = "x-envoy-"
)

// Namespaces and keys of dynamic metadata.
const (
	MetadataChain = "sluice.chain" // typed: the clusters to try, in order
	MetadataUsage = "sluice.usage" // input, output, cached
	MetadataLB    = "envoy.lb"     // KeyEndpoint: the pool's endpoint
	KeyEndpoint   = "x-sluice-endpoint"
	KeyServed     = "x-sluice-served"
	KeyInput      = "input"
	KeyOutput     = "output"
	KeyCached     = "cached"
	DetailsPrefix = "sluice_" // of every local reply that is ours
)

// Node is the id of an Envoy that was given none. Its streams need not say so: to write a header into each costs Envoy a tenth of what a request does.
const Node = "sluice"

// Names of resources and filters that are not a provider's.
const (
	Listener        = "sluice"
	RouteConfig     = "sluice"
	ClusterExecutor = "sluice_executor" // claims by id
	ClusterEdge     = "sluice_edge"     // ignores ids
	ClusterControl  = "sluice_control"  // xDS, ext_proc and access logs on one socket
	ClusterOTLP     = "sluice_otlp"
	FilterProcessor = "sluice.processor"
)
