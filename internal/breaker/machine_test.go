package breaker

import (
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestMachine drives a breaker at random: there are never two probes at once, State foretells Allow, and no history locks it up.
func TestMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { rapid.Check(noDeadline{t}, machine) })
}

// noDeadline hides a test's deadline, which is real time and so not to be had where time is virtual.
type noDeadline struct{ rapid.TB }

type held struct {
	*Lease
	until time.Time // of a probe
}

func machine(t *rapid.T) {
	s := New(Options{})
	var leases []held
	failed := 0 // verdicts "failed" ever given
	t.Repeat(map[string]func(*rapid.T){
		"allow": func(t *rapid.T) {
			open, _ := s.State(key)
			l, err := s.Allow(key)
			if (err != nil) != open {
				t.Fatalf("State says open %v, Allow says %v", open, err)
			}
			if err != nil {
				return
			}
			h := held{Lease: l}
			if l.done != nil {
				h.until = time.Now().Add(30 * time.Second)
			}
			leases = append(leases, h)
		},
		"settle": func(t *rapid.T) {
			if len(leases) == 0 {
				t.Skip("no lease")
			}
			i := rapid.IntRange(0, len(leases)-1).Draw(t, "lease")
			switch rapid.IntRange(0, 4).Draw(t, "how") {
			case 0:
				leases[i].Done(true)
			case 1:
				leases[i].Cancel()
			case 2: // never reports
			default:
				leases[i].Done(false)
				failed++
			}
			leases = append(leases[:i], leases[i+1:]...)
		},
		"wait": func(t *rapid.T) {
			time.Sleep(time.Duration(rapid.IntRange(0, 40).Draw(t, "seconds")) * time.Second)
		},
		"": func(t *rapid.T) {
			probes := 0
			for _, h := range leases {
				if h.Lease.done != nil && time.Now().Before(h.until) {
					probes++
				}
			}
			if probes > 1 {
				t.Fatalf("%d probes at once", probes)
			}
			if open, until := s.State(key); open {
				if failed < 3 {
					t.Fatalf("open after %d failures", failed)
				}
				if wait := time.Until(until); wait <= 0 || wait > 20*time.Second {
					t.Fatalf("open for %v", wait)
				}
			}
		},
	})
	time.Sleep(30 * time.Second) // longer than any wait and any lease
	l, err := s.Allow(key)
	if err != nil {
		t.Fatalf("locked up: %v", err)
	}
	l.Done(true)
	if open, _ := s.State(key); open {
		t.Fatal("open after an answered probe")
	}
}
