// Package extproc drives exchanges for Envoy: it serves the one ext_proc stage of the listener, and takes Envoy's access logs.
//
// A stream of ext_proc is one request. The stage begins its exchange, has it decided, and tells Envoy the clusters to try: the target, which gets
// a prepared request and whose answer Envoy carries, and the executor, which carries whatever else there is. It knows messages, headers and
// metadata of Envoy, and no rule: those are the exchange's. Its invariants: an exchange takes a step only while its owner word says that it is this
// stage's; messages come in Envoy's order or the stream ends; the last word of a stream is said once.
package extproc
