// Package llm names the domain: dialects, requests, events, usage and errors.
//
// It is vocabulary only. It imports nothing of Sluice and does no I/O; every other package speaks in its words. A response is a sequence
// of [Event]; a JSON body is that sequence folded, so one decoder and one encoder a dialect cover streams and JSON on either side.
package llm
