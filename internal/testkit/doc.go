// Package testkit plays the world around a gateway in tests: a network in memory, upstreams that answer from a script, clients that can
// leave, and dumps of what was seen that two data planes can be compared by.
//
// Nothing here opens a socket or reads a clock of its own, so under testing/synctest every transcript runs in virtual time and ends in the
// same bytes. Its invariant: what an upstream or a client saw is reported as it was on the wire, but for framing that carries no meaning.
package testkit
