// Package httpproxy is the embedded data plane: it drives exchanges over net/http.
//
// It holds sockets, timers, buffers and the loop, and no rule: what is sent, what a failure means and what comes next are verdicts of the
// exchange. It reads a request's whole body before it answers (but for uploads, which stream), flushes every event, and reads an
// upstream's answer no faster than the client takes it.
package httpproxy
