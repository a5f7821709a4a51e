// Package breaker keeps upstreams that fail from being asked: a circuit breaker and a cooldown for every target.
//
// Invariant: a breaker can always be asked again. At most one probe is out while it is half open, and a probe that never reports gives its
// place back when its lease runs out.
package breaker
