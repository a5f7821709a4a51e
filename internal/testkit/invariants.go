package testkit

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/sluice-gateway/sluice/telemetry"
)

// Broken lists which of the invariants that hold for every exchange an answer and its record break: answered once, no part of a second answer
// behind a first one, whole events with at most one end mark, which is the last.
func Broken(a *Answer, r *telemetry.Record) []string {
	var bad []string
	note := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	if r.Outcome == "" {
		note("no outcome")
	}
	if a.End == "" && a.Status != r.Status {
		note("the client saw status %d, the record says %d", a.Status, r.Status)
	}
	if a.End == "" && r.Outcome == "client_gone" {
		note("the client got a whole answer and the record says that it left")
	}
	last := len(r.Attempts) - 1
	for i := range r.Attempts {
		at := &r.Attempts[i]
		if at.End.IsZero() {
			note("attempt %d never ended", i)
		}
		if i < last && at.Class == "" && at.Cause == "" && at.Escalated == "" {
			note("attempt %d succeeded and another one followed", i)
		}
	}
	if last >= 0 && r.Outcome == "ok" && r.Attempts[last].Class != "" && r.Escalated == "" { // what was thrown away may come back when nobody stronger could answer
		note("the outcome is ok and the last attempt failed with %s", r.Attempts[last].Class)
	}
	if n := len(bytes.ReplaceAll(a.Body, []byte(": keep-alive\n\n"), nil)); a.End == "" && len(r.Attempts) > 0 && r.BytesOut != 0 && r.BytesOut != int64(n) {
		note("the client got %d bytes, the record says %d", n, r.BytesOut)
	}
	if a.Status != 0 && strings.HasPrefix(a.Header.Get("Content-Type"), "text/event-stream") && a.Status < 300 {
		bad = append(bad, brokenStream(a, r)...)
	}
	return bad
}

// brokenStream checks a stream's framing.
func brokenStream(a *Answer, r *telemetry.Record) []string {
	var bad []string
	body := bytes.ReplaceAll(a.Body, []byte("\r\n"), []byte("\n"))
	if a.End == "" && len(body) > 0 && !bytes.HasSuffix(body, []byte("\n\n")) {
		bad = append(bad, "the stream ends inside an event")
	}
	dones := bytes.Count(body, []byte("data: [DONE]"))
	failed := bytes.Contains(body, []byte(`"stream_interrupted"`))
	switch {
	case dones > 1:
		bad = append(bad, "more than one end mark")
	case dones == 1 && !bytes.HasSuffix(body, []byte("data: [DONE]\n\n")):
		bad = append(bad, "something follows the end mark")
	case failed && dones > 0:
		bad = append(bad, "an interrupted stream has an end mark")
	case failed && r.Outcome != "interrupted":
		bad = append(bad, "the stream was interrupted and the record says "+r.Outcome)
	}
	return bad
}
