// Package proxy owns the life of an exchange: one request of a client, from its head to its record.
//
// An [Exchange] is a value with a handful of phases (Begin, Request, Attempt, Response, Write, Fail, End). It takes bytes and returns
// decisions and bytes and does no I/O towards upstreams or clients; a data plane drives it and holds sockets, timers and the loop. Everything Sluice knows
// of models, money, prompts and dialects is in the phases, so two planes cannot disagree. Its invariants: one terminal outcome and one
// record an exchange; nothing is retried after the client's first byte; End settles every lease exactly once.
package proxy
