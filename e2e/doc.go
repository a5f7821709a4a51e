// Package e2e tests the real binary from outside: processes, sockets, signals, the real llama.cpp server, and the simulated provider where a fault is
// needed that no real one shows on demand. It needs `scripts/fetch pool`.
//
// Its invariant: what a test asserts, an operator or a client could have seen too.
package e2e
