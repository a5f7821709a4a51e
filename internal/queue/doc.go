// Package queue bounds how much is in flight at one place and what may wait for it: a fixed number of places, a bounded line before them, and four
// classes of urgency.
//
// Its invariants: at most limit places are held and at most max tickets wait; every place and every ticket is given back exactly once; a more
// urgent ticket never waits behind a less urgent one; and whoever cannot be served in time is told at once, not at the end of its wait. It starts no
// goroutine and no timer: who waits brings its own.
package queue
