package testkit

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluice-gateway/sluice/telemetry"
)

// framing are headers that say how bytes are cut on one connection: two planes may differ in them and in nothing else.
var framing = map[string]bool{"Content-Length": true, "Transfer-Encoding": true, "Connection": true, "Date": true}

// Numbers of the classifier are no part of what a transcript holds.
var scores = regexp.MustCompile(`(class|gain|novelty)=\S+`)

func dumpHeader(b *strings.Builder, h http.Header, value func(name, v string) string) {
	for _, name := range slices.Sorted(mapKeys(h)) {
		if framing[name] {
			continue
		}
		for _, v := range h[name] {
			fmt.Fprintf(b, "%s: %s\n", name, value(name, v))
		}
	}
}

func mapKeys(h http.Header) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range h {
			if !yield(k) {
				return
			}
		}
	}
}

// dumpBody writes a body so that a missing end of line shows.
func dumpBody(b *strings.Builder, body []byte) {
	if len(body) == 0 {
		return
	}
	b.WriteString("\n")
	text := string(body)
	if len(text) > 64<<10 {
		text = fmt.Sprintf("(%d bytes)\n", len(text))
	}
	if !utf8.Valid(body) {
		fmt.Fprintf(b, "!bytes %q\n", body)
		return
	}
	b.WriteString(strings.ReplaceAll(text, "\r", "␍"))
	if !strings.HasSuffix(text, "\n") {
		b.WriteString("\n\\ no end of line\n")
	}
}

// String is the answer as a transcript holds it.
func (a *Answer) String() string {
	var b strings.Builder
	if a.Status != 0 {
		fmt.Fprintf(&b, "%d %s\n", a.Status, http.StatusText(a.Status))
		dumpHeader(&b, a.Header, func(name, v string) string {
			switch name {
			case "X-Sluice-Request-Id":
				return "(id)"
			case "X-Sluice-Reason":
				return scores.ReplaceAllString(v, "$1=*")
			}
			return v
		})
		dumpBody(&b, a.Body)
	}
	if a.End != "" {
		fmt.Fprintf(&b, "\\ %s\n", a.End)
	}
	return b.String()
}

// dump is the request as a transcript holds it. start is when the run began; keep says which text may stand as it is.
func (s *Seen) dump(start time.Time, keep func(string) bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "at %v\n%s http://%s%s\n", s.At.Sub(start), s.Method, s.Host, s.Target)
	dumpHeader(&b, s.Header, func(name, v string) string {
		if f := strings.Split(v, "-"); name == "Traceparent" && len(f) == 4 {
			if !keep(f[1]) {
				f[1] = "(trace)"
			}
			return f[0] + "-" + f[1] + "-(span)-" + f[3]
		}
		return v
	})
	dumpBody(&b, s.Body)
	if s.Broken {
		b.WriteString("\\ broken off\n")
	}
	return b.String()
}

// Record is a record's stable part as a transcript holds it; times count from its start.
func Record(r *telemetry.Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s status=%d outcome=%s code=%s\n", r.Method, r.Path, r.Op, r.Status, r.Outcome, or(r.ErrorCode, "-"))
	fmt.Fprintf(&b, "tenant=%s key=%s request-id=%s stream=%t\n", or(r.Tenant, "-"), or(r.Key, "-"), or(r.RequestID, "-"), r.Stream)
	fmt.Fprintf(&b, "route=%s rule=%q boundaries=%q session=%t\n", or(r.Route, "-"), r.Rule, r.Boundaries, r.Session)
	fmt.Fprintf(&b, "model=%s provider=%s tier=%s response=%s finish=%q\n", or(r.Model, "-"), or(r.Provider, "-"), or(r.Tier, "-"), or(r.ResponseModel, "-"), r.Finish)
	fmt.Fprintf(&b, "usage=%s %+v cost=%d known=%t\n", r.UsageKind, r.Usage, r.MicroUSD, r.PriceKnown)
	fmt.Fprintf(&b, "first-token=%s took=%v\n", since(r.Start, r.FirstToken), r.End.Sub(r.Start))
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "warning %s\n", w)
	}
	if r.Rescued {
		b.WriteString("rescued\n")
	}
	if a := r.Embedding; a != nil {
		fmt.Fprintf(&b, "embedding at %v: %s %s by=%s %s status=%d class=%s cause=%s usage=%s %+v cost=%d end=%v\n", a.Start.Sub(r.Start), a.Model, or(a.Endpoint, "-"), a.By, a.Provider, a.Status, or(string(a.Class), "ok"), or(a.Cause, "-"), a.UsageKind, a.Usage, a.MicroUSD, a.End.Sub(r.Start))
	}
	if r.Likeness != 0 {
		fmt.Fprintf(&b, "likeness=%.3f\n", r.Likeness)
	}
	for i := range r.Attempts {
		a := &r.Attempts[i]
		fmt.Fprintf(&b, "attempt %d at %v: %s %s tier=%s by=%s %s status=%d class=%s cause=%s usage=%s %+v first=%s end=%v\n", a.Index, a.Start.Sub(r.Start), a.Model, or(a.Endpoint, "-"), or(a.Tier, "-"), a.By, a.Provider, a.Status, or(string(a.Class), "ok"), or(a.Cause, "-"), a.UsageKind, a.Usage, since(r.Start, a.FirstToken), a.End.Sub(r.Start))
		if a.Escalated != "" {
			fmt.Fprintf(&b, "\tthrown away: %s\n", a.Escalated)
		}
		if a.Rescue != "" {
			fmt.Fprintf(&b, "\t%s after %d bytes\n", a.Rescue, a.RescueAt)
		}
	}
	return b.String()
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func since(start, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Sub(start).String()
}

// Report puts together what a run showed. Upstream requests count their time from the request that began last.
func (tr *Transcript) Report(starts []time.Time, answers []Answer, records []*telemetry.Record, seen []Seen) Sections {
	var s Sections
	for i := range answers {
		s.Add(section("want-response", i), answers[i].String())
	}
	for i, r := range records {
		s.Add(section("want-record", i), Record(r))
	}
	for i := range seen {
		start := starts[0]
		for _, at := range starts[1:] {
			if !at.After(seen[i].At) {
				start = at
			}
		}
		s.Add(fmt.Sprintf("want-upstream-%d", i+1), seen[i].dump(start, tr.mentions))
	}
	return s
}
