// Package policies turns a policy file into a checked, compiled, immutable model.
//
// Its one invariant: a [Policy] that exists is valid. Parse keeps positions, Compile reports every problem at once, and nothing in this
// package reads YAML, builds a pattern or resolves a name while a request waits. It imports nothing of Sluice: presets come as data.
package policies
