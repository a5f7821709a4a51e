// Package ledger knows what was used and what it cost: one row an attempt, prices, export.
//
// A [Row] is written for each upstream request, and for each answer that came from the cache without one. Its invariants: adding a row never waits
// for the disk; a row that was added is on disk within a second or counted as lost; a row is written once; a price that nobody knows is
// unknown and never 0; no row holds text of a client or an upstream.
package ledger
