package queue

import (
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func limited(places, max int, wait time.Duration) *Queue {
	q := &Queue{}
	q.Set(Limits{Places: places, Max: max, Wait: wait})
	return q
}

func enter(t *testing.T, q *Queue, c Class) *Ticket {
	t.Helper()
	tk, _ := q.Enter(c, time.Time{})
	if tk == nil {
		t.Fatal("refused")
	}
	return tk
}

func want(t *testing.T, q *Queue, held, waiting int) {
	t.Helper()
	if h, w := q.Counts(); h != held || w != waiting {
		t.Fatalf("%d held and %d waiting, want %d and %d", h, w, held, waiting)
	}
}

func TestPlaces(t *testing.T) {
	q := limited(2, 0, 0)
	a, b := enter(t, q, Default), enter(t, q, Default)
	if tk, after := q.Enter(Critical, time.Time{}); tk != nil || after < time.Second {
		t.Fatalf("a third one was let in, or told to ask again after %v", after)
	}
	want(t, q, 2, 0)
	a.Leave()
	a.Leave()
	want(t, q, 1, 0)
	c := enter(t, q, Batch)
	b.Leave()
	c.Leave()
	want(t, q, 0, 0)
}

func TestNoLimit(t *testing.T) {
	var q Queue
	for range 100 {
		enter(t, &q, Batch)
	}
	want(t, &q, 100, 0)
}

// The line is served by urgency, then by arrival.
func TestOrder(t *testing.T) {
	q := limited(1, 10, time.Minute)
	first := enter(t, q, Default)
	var line []*Ticket
	for _, c := range []Class{Batch, Default, Critical, Default, Sheddable} {
		line = append(line, enter(t, q, c))
	}
	first.Leave()
	for _, i := range []int{2, 1, 3, 4, 0} {
		<-line[i].Ready()
		if !line[i].Holds() {
			t.Fatalf("ticket %d is not served in its turn", i)
		}
		want(t, q, 1, q.waiting)
		line[i].Leave()
	}
	want(t, q, 0, 0)
}

// A full line makes room for what is more urgent: the last of the least urgent goes.
func TestEviction(t *testing.T) {
	q := limited(1, 2, time.Minute)
	enter(t, q, Default)
	a, b := enter(t, q, Batch), enter(t, q, Batch)
	c := enter(t, q, Critical)
	<-b.Ready()
	if b.Holds() || b.Waits() || !a.Waits() || !c.Waits() {
		t.Fatal("the wrong one had to go")
	}
	if tk, _ := q.Enter(Batch, time.Time{}); tk != nil {
		t.Fatal("a full line took one more that is no more urgent")
	}
	if full, _ := q.Full(Default); full {
		t.Fatal("a line with a batch request in it is not full for a default one")
	}
	b.Leave()
	want(t, q, 1, 2)
}

// Time: a ticket is not served after its own time, and who could not be served in time does not get to wait.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := limited(1, 10, 10*time.Second)
		a := enter(t, q, Default)
		late, _ := q.Enter(Default, time.Now().Add(time.Second))
		time.Sleep(4 * time.Second)
		if late.Waits() {
			t.Error("a ticket waits beyond its time")
		}
		a.Leave()
		if late.Holds() {
			t.Error("a ticket was served after its time")
		}
		late.Leave()
		want(t, q, 0, 0)

		enter(t, q, Default) // places are known to be held for 4 s now
		enter(t, q, Default)
		enter(t, q, Default)
		tk, after := q.Enter(Default, time.Time{})
		if tk != nil || after != 12*time.Second {
			t.Errorf("the turn would come after 12 s, the wait is 10 s: ticket %v, ask again after %v", tk, after)
		}
		if tk, _ := q.Enter(Critical, time.Time{}); tk == nil {
			t.Error("what is more urgent comes first and has the time")
		}
	})
}

// Raised limits let in who waits.
func TestSet(t *testing.T) {
	q := limited(1, 5, time.Minute)
	enter(t, q, Default)
	a, b := enter(t, q, Default), enter(t, q, Default)
	q.Set(Limits{Places: 2, Max: 5, Wait: time.Minute})
	if !a.Holds() || b.Holds() {
		t.Fatal("one more place is for one more ticket")
	}
	q.Set(Limits{})
	<-b.Ready()
	want(t, q, 3, 0)
}

func TestShares(t *testing.T) {
	for c, shares := range map[Class][3]int64{Batch: {1, 7, 70}, Sheddable: {1, 9, 85}, Default: {1, 10, 95}, Critical: {1, 10, 100}} {
		if got := [3]int64{c.Share(1), c.Share(10), c.Share(100)}; got != shares {
			t.Errorf("%v: %v, want %v", c, got, shares)
		}
		if back, ok := ClassOf(c.String()); !ok || back != c {
			t.Errorf("%v is read as %v", c, back)
		}
	}
	if c, ok := ClassOf("urgent"); ok || c != Default {
		t.Error("a name that is none has a class")
	}
}

// TestMachine plays random requests, and holds the queue to its invariants after each step.
func TestMachine(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		q, l := &Queue{}, Limits{Places: 2, Max: 3, Wait: time.Hour}
		q.Set(l)
		var all []*Ticket
		r.Repeat(map[string]func(*rapid.T){
			"enter": func(r *rapid.T) {
				if tk, _ := q.Enter(Class(rapid.IntRange(0, int(Critical)).Draw(r, "class")), time.Time{}); tk != nil {
					all = append(all, tk)
				}
			},
			"leave": func(r *rapid.T) {
				if len(all) > 0 {
					i := rapid.IntRange(0, len(all)-1).Draw(r, "which")
					all[i].Leave()
				}
			},
			"limits": func(r *rapid.T) {
				l = Limits{rapid.IntRange(1, 4).Draw(r, "places"), rapid.IntRange(0, 4).Draw(r, "max"), time.Hour}
				q.Set(l)
			},
			"": func(r *rapid.T) {
				held, waiting := 0, 0
				for _, tk := range all {
					switch tk.state {
					case holds:
						held++
					case waits:
						waiting++
					}
				}
				if held != q.held || waiting != q.waiting || waiting > 0 && held < l.Places {
					r.Fatalf("%d held of %d, %d waiting; the queue says %d and %d", held, l.Places, waiting, q.held, q.waiting)
				}
			},
		})
		for _, tk := range all {
			tk.Leave()
		}
		if q.held != 0 || q.waiting != 0 {
			r.Fatalf("at rest %d are held and %d wait", q.held, q.waiting)
		}
	})
}
