// Package tenants says who asks, and how much they may ask for and spend: keys and tokens, limits, budgets, and the store that keeps them.
//
// Invariants: an unknown, a malformed, a revoked and an expired credential are answered alike, and no credential is kept or compared in
// the clear: book and register hold keyed hashes only. A charge happens as a whole or not at all; what an exchange takes it settles once; and
// [Embedded] and [Shared] count alike, which a test holds over random charges.
package tenants
