package breaker

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var key = Key{Provider: "openai", Model: "gpt", Credential: "a"}

// book makes one request and reports its verdict.
func book(t *testing.T, s *Set, k Key, ok bool) {
	t.Helper()
	l, err := s.Allow(k)
	if err != nil {
		t.Fatalf("Allow: %v", err)
	}
	l.Done(ok)
}

func trip(t *testing.T, s *Set, k Key) {
	t.Helper()
	for range 3 {
		book(t, s, k, false)
	}
}

func wantOpen(t *testing.T, s *Set, k Key, want bool, wait time.Duration) {
	t.Helper()
	open, until := s.State(k)
	if open != want || open && time.Until(until) != wait {
		t.Fatalf("State: open %v for %v, want %v for %v", open, time.Until(until), want, wait)
	}
}

func TestTrips(t *testing.T) {
	tests := []struct {
		name     string
		verdicts string // + answered, - failed, c canceled, s a second passes, m a minute passes
		open     bool
	}{
		{"nothing", "", false},
		{"two in a row", "--", false},
		{"three in a row", "---", true},
		{"cancels do not end a run", "-c-c-", true},
		{"cancels are not failures", "cccccccccccc", false},
		{"an answer ends a run", "--+--+", false},
		{"a run has no window", "-m-m-", true},
		{"half of ten", "+-+-+-+-+-", true},
		{"half of nine is too few", "-+-+-+-+-", false},
		{"less than half", "-++-++-++-++-++-++", false},
		{"half of ten, but over more than the window", "-+-+-mss+-+-+-", false},
		{"half of ten across seconds", "-+ss-+ss-+ss-+ss+-", true},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New(Options{})
				for i, c := range tc.verdicts {
					switch c {
					case 's':
						time.Sleep(time.Second)
						continue
					case 'm':
						time.Sleep(time.Minute)
						continue
					}
					l, err := s.Allow(key)
					if err != nil {
						t.Fatalf("verdict %d: %v", i, err)
					}
					if c == 'c' {
						l.Cancel()
					} else {
						l.Done(c == '+')
					}
				}
				if open, _ := s.State(key); open != tc.open {
					t.Errorf("open %v, want %v", open, tc.open)
				}
			})
		})
	}
}

func TestOpenThenProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		trip(t, s, key)
		wantOpen(t, s, key, true, 10*time.Second)
		if _, err := s.Allow(key); !errors.Is(err, ErrOpen) {
			t.Fatalf("Allow while open: %v", err)
		}
		time.Sleep(10 * time.Second)
		wantOpen(t, s, key, false, 0)
		for range 3 { // every failed probe: at most twenty seconds
			l, err := s.Allow(key)
			if err != nil {
				t.Fatalf("probe: %v", err)
			}
			wantOpen(t, s, key, true, time.Second)
			if _, err := s.Allow(key); !errors.Is(err, ErrProbing) {
				t.Fatalf("second probe: %v", err)
			}
			l.Done(false)
			wantOpen(t, s, key, true, 20*time.Second)
			time.Sleep(20 * time.Second)
		}
		book(t, s, key, true)
		wantOpen(t, s, key, false, 0)
		trip(t, s, key) // a closed breaker begins anew
		wantOpen(t, s, key, true, 10*time.Second)
	})
}

func TestProbeThatNeverReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		trip(t, s, key)
		time.Sleep(10 * time.Second)
		lost, err := s.Allow(key)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(30*time.Second - time.Nanosecond)
		if _, err := s.Allow(key); !errors.Is(err, ErrProbing) {
			t.Fatalf("within the lease: %v", err)
		}
		time.Sleep(time.Nanosecond)
		next, err := s.Allow(key)
		if err != nil {
			t.Fatalf("after the lease: %v", err)
		}
		lost.Done(true) // too late: its place is another's
		if _, err := s.Allow(key); !errors.Is(err, ErrProbing) {
			t.Fatalf("a late verdict counted: %v", err)
		}
		next.Cancel()
		book(t, s, key, true)
		wantOpen(t, s, key, false, 0)
	})
}

func TestSettledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		l, _ := s.Allow(key)
		for range 5 {
			l.Done(false)
		}
		for range 5 {
			l, _ := s.Allow(key)
			l.Cancel()
			l.Done(false)
		}
		wantOpen(t, s, key, false, 0)
		trip(t, s, Key{Provider: "other"})
		time.Sleep(10 * time.Second)
		p, _ := s.Allow(Key{Provider: "other"})
		p.Cancel()
		p.Done(true)
		p.Cancel()
		if k := s.Snapshot()[1].Key; !s.HalfOpen(k.Provider, k.Model) || s.HalfOpen(k.Provider, "another") {
			t.Error("the set does not say that it is half-open")
		}
		if st := s.Snapshot()[1]; st.State != "half-open" {
			t.Errorf("after Cancel, Done: %+v", st)
		}
	})
}

// A request that began before the breaker opened says nothing about it once it is closed again.
func TestVerdictOfAnEarlierTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		var old []*Lease
		for range 5 {
			l, _ := s.Allow(key)
			old = append(old, l)
		}
		trip(t, s, key)
		old[0].Done(true)
		wantOpen(t, s, key, true, 10*time.Second)
		time.Sleep(10 * time.Second)
		book(t, s, key, true)
		for _, l := range old {
			l.Done(false)
		}
		wantOpen(t, s, key, false, 0)
	})
}

// Timeouts longer than the window must count: their verdicts fall long after the request began.
func TestSlowFailuresCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		var leases []*Lease
		for range 3 {
			l, _ := s.Allow(key)
			leases = append(leases, l)
		}
		time.Sleep(5 * time.Minute)
		for _, l := range leases {
			l.Done(false)
		}
		wantOpen(t, s, key, true, 10*time.Second)
	})
}

func TestStateOfAllCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		a, b, all := key, key, key.target()
		b.Credential = "b"
		wantOpen(t, s, all, false, 0)
		trip(t, s, a)
		wantOpen(t, s, all, true, 10*time.Second)
		book(t, s, b, true)
		wantOpen(t, s, all, false, 0)
		time.Sleep(3 * time.Second)
		trip(t, s, b)
		wantOpen(t, s, all, true, 7*time.Second)
		wantOpen(t, s, b, true, 10*time.Second)
		wantOpen(t, s, Key{Provider: "openai", Model: "gpt", Endpoint: "x"}, false, 0)
	})
}

func TestCooldown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		long := time.Now().Add(time.Minute)
		s.Cool(key, long)
		s.Cool(key, time.Now().Add(time.Second)) // shortens nothing
		s.Cool(key, time.Now().Add(-time.Second))
		until, ok := s.Cooling(key)
		if !ok || !until.Equal(long) {
			t.Errorf("Cooling: %v %v", until, ok)
		}
		if _, ok := s.Cooling(key.target()); !ok {
			t.Error("the only credential cools and the target does not")
		}
		if _, err := s.Allow(key); err != nil {
			t.Errorf("a cooldown is not an open breaker: %v", err)
		}
		time.Sleep(time.Minute)
		if until, ok := s.Cooling(key); ok {
			t.Errorf("still cooling until %v", until)
		}
	})
}

func TestSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		own := Key{Provider: "gpu", Model: "m", Endpoint: "10.0.0.1:8000"}
		book(t, s, own, false)
		trip(t, s, key)
		s.Cool(key, time.Now().Add(time.Hour))
		want := []Status{
			{Key: own, State: "closed", Failures: 1},
			{Key: key, State: "open", Until: time.Now().Add(10 * time.Second), Cooling: time.Now().Add(time.Hour)},
		}
		if d := cmp.Diff(want, s.Snapshot()); d != "" {
			t.Error(d)
		}
		time.Sleep(10 * time.Second)
		if st := s.Snapshot()[1]; st.State != "half-open" || !st.Until.IsZero() {
			t.Errorf("after ten seconds: %+v", st)
		}
	})
}

func TestKeysAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{MaxKeys: 8})
		trip(t, s, key)
		orphan, _ := s.Allow(Key{Provider: "p", Model: "0"})
		for i := range 100 {
			time.Sleep(time.Millisecond)
			book(t, s, Key{Provider: "p", Model: fmt.Sprint(i / 2), Credential: fmt.Sprint(i % 2)}, true)
			if n := len(s.Snapshot()); n > 8 || n != s.n {
				t.Fatalf("%d keys, counted %d", n, s.n)
			}
		}
		wantOpen(t, s, key, true, 10*time.Second-100*time.Millisecond) // what is open goes last
		orphan.Done(false)

		time.Sleep(time.Hour)
		book(t, s, key, false)
		book(t, s, Key{Provider: "q"}, true)
		if n := len(s.Snapshot()); n != 2 {
			t.Errorf("%d keys after an hour of rest, want the 2 in use", n)
		}
	})
}

func TestHammer(t *testing.T) {
	s := New(Options{OpenFor: time.Microsecond, OpenMax: 2 * time.Microsecond, ProbeLease: time.Hour})
	var wg sync.WaitGroup
	var probes [4]atomic.Int32
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				k := Key{Provider: "p", Credential: fmt.Sprint(i % 2)}
				s.State(k.target())
				l, err := s.Allow(k)
				if err != nil {
					continue
				}
				if l.done != nil {
					if probes[i%2].Add(1) > 1 {
						t.Error("two probes at once")
					}
					probes[i%2].Add(-1)
				}
				switch (i + g) % 5 {
				case 0:
					l.Cancel()
				case 1:
					l.Done(true)
				default:
					l.Done(false)
				}
				s.Snapshot()
			}
		})
	}
	wg.Wait()
}
