// Package cache remembers upstream answers: key, entry, store, flights, and the look-up by meaning.
//
// An [Entry] is an answer as the upstream sent it; whoever finds it decodes it as if it came in just now. Its invariants: a tenant is a part of the key,
// so that no look-up can reach another's entry; an entry that was not signed here, is too old, was purged or stands under a key that is not its own is no
// entry; a store that fails is a miss; of equal requests at one time one asks the upstream, and its end, whatever it is, lets the others go on.
package cache
