// Package tenants says who asks: it compiles a policy's keys into a book and authenticates requests against it.
//
// Invariant: an unknown, a malformed, a revoked and an expired credential are answered alike, and no credential is kept or compared in
// the clear: the book holds keyed hashes only.
package tenants
