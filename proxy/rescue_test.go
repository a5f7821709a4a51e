package proxy_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/internal/simulator"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/telemetry"
)

// TestRescueNotSent: a stream breaks and nobody has room to carry it on at once. The record says whose answer it was that the client has a part of.
func TestRescueNotSent(t *testing.T) {
	for _, d := range drivers {
		t.Run(d.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLabOf(t, strings.Replace(planePolicy, "two.test:9000/v1}", "two.test:9000/v1, concurrent: 1, queue: {max: 1, wait: 20s}}", 1), d)
				var asked atomic.Int64
				l.provider("one.test:9000", simulator.Options{Fault: func(*http.Request, string) string {
					if asked.Add(1) == 1 {
						return "status=503"
					}
					return "cut=3,events=10"
				}})
				two := l.provider("two.test:9000", simulator.Options{Fault: func(*http.Request, string) string { return "headers-delay=10s" }})
				go l.plane.ask(chat(t, true, ""))
				time.Sleep(time.Second) // virtual
				a := l.plane.ask(chat(t, true, ""))
				if got := read(t, &a); got.code != "stream_interrupted" || got.done || a.Took > time.Second {
					t.Errorf("after %v: %s", a.Took, a.String())
				}
				var r *telemetry.Record
				for _, r = range l.all() {
					if r.Outcome == "interrupted" {
						break
					}
				}
				if r.Model != "a" || r.Provider != "one" || r.UsageKind != llm.UsageEstimated || r.Usage.Output == 0 || len(r.Attempts) != 2 || r.Attempts[1].Cause != "queue" || r.Attempts[1].UsageKind != llm.UsageNone {
					t.Errorf("model %q of %q, usage %s %+v, attempts %+v", r.Model, r.Provider, r.UsageKind, r.Usage, r.Attempts)
				}
				time.Sleep(time.Minute) // virtual
				if n := len(two.Log()); n != 1 {
					t.Errorf("the full provider was asked %d times", n)
				}
				l.close()
			})
		})
	}
}
