package telemetry

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestTally: records are counted once each, whoever does it: the timer, a reading, or who finds no room. Their owners use them again meanwhile.
func TestTally(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(t, Options{})
		s.Emit(answered())
		<-time.After(2 * linePause) // virtual
		synctest.Wait()
		if n := len(s.tally.waiting); n > 0 {
			t.Errorf("%d records wait after their time", n)
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				r := answered()
				for range 3 * tallyRoom {
					s.Emit(r)
					r.Outcome, r.Attempts[0] = "gone", Attempt{}
					*r = *answered()
				}
			})
		}
		all.Wait()
		for _, want := range []string{"sluice_exchanges_total{outcome=\"ok\",route=\"auto\"} 1537\n", "sluice_attempts_total{class=\"ok\",model=\"gpt\",provider=\"openai\"} 1537\n"} {
			if text := scrape(t, s, "text/plain"); !strings.Contains(text, want) {
				t.Errorf("want %s in:\n%s", want, own(text))
			}
		}
	})
}
