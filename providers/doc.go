// Package providers knows who can answer and how to reach them: the presets of external services, the engines of own pools, credentials,
// what an error means and which dialect is spoken.
//
// Invariant: what a provider is like stands in tables, and is code only where a wire differs. No credential is ever printed, and no text of
// an upstream reaches a client before what looks like a credential was struck from it.
package providers
