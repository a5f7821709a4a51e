// Package telemetry turns the one record of an exchange into what people look at: spans, metrics and the access line.
//
// Invariant: a record is emitted once, and emitting never waits: spans and lines go through bounded queues that drop and count when
// their sink is slow or dead. No projection holds a prompt, an answer, a credential or other text that a client chose, except the two
// identifiers that a client is entitled to find again on its spans: the reduced x-request-id and a valid W3C trace context. Labels of metrics
// are configured names or words of fixed tables.
package telemetry
