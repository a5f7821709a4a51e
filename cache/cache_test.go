package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/sluice-gateway/sluice/internal/leak"
	"github.com/sluice-gateway/sluice/internal/redis"
)

func TestMain(m *testing.M) { leak.Main(m) }

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func entry(tenant, text string) *Entry {
	return &Entry{Tenant: tenant, Route: "auto", Model: "gpt", Provider: "out", Stream: true, Header: map[string][]string{"Content-Type": {"text/event-stream"}},
		Asked: now, Stored: now, Expires: now.Add(time.Hour), Body: []byte(text)}
}

// Parts cannot run into one another: every list of parts has its own key.
func TestKeyOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.StringN(0, 4, -1), 0, 5)
		a, b := parts.Draw(t, "a"), parts.Draw(t, "b")
		if (KeyOf(a...) == KeyOf(b...)) != cmp.Equal(a, b) {
			t.Fatalf("%q and %q", a, b)
		}
	})
}

func TestSeal(t *testing.T) {
	secret, k := []byte("secret"), KeyOf("a")
	e := entry("acme", "data: x\n\n")
	sealed, err := seal(secret, k, e)
	if err != nil {
		t.Fatal(err)
	}
	got, err := unseal(secret, k, sealed)
	if err != nil || !got.Stored.Equal(e.Stored) || !got.Asked.Equal(e.Asked) || !got.Expires.Equal(e.Expires) {
		t.Fatalf("%+v %v", got, err)
	}
	got.Asked, got.Stored, got.Expires = e.Asked, e.Stored, e.Expires
	if d := cmp.Diff(e, got, cmpopts.IgnoreUnexported(Entry{})); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if _, err := unseal(secret, KeyOf("b"), sealed); err == nil {
		t.Error("an entry counts under another key")
	}
	if _, err := unseal([]byte("other"), k, sealed); err == nil {
		t.Error("an entry counts that was sealed elsewhere")
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := unseal(secret, k, bad); err == nil {
			t.Fatalf("byte %d may change", i)
		}
		if _, err := unseal(secret, k, sealed[:i]); err == nil {
			t.Fatalf("%d bytes are enough", i)
		}
	}
}

func FuzzUnseal(f *testing.F) {
	k := KeyOf("a")
	sealed, err := seal([]byte("s"), k, entry("acme", "x"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed[32:])
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(_ *testing.T, rest []byte) { // signed, whatever it is: only a store's owner could do that
		_, _ = unseal([]byte("s"), k, append(mac([]byte("s"), k, rest), rest...))
	})
}

func TestLoadSave(t *testing.T) {
	c := New(nil)
	defer c.Close()
	k := KeyOf("a")
	if _, ok := c.Load(t.Context(), k, now); ok {
		t.Error("found what nobody saved")
	}
	c.Save(k, entry("acme", "text"))
	e, ok := c.Load(t.Context(), k, now.Add(time.Minute))
	if !ok || string(e.Body) != "text" {
		t.Fatalf("%+v %v", e, ok)
	}
	if _, ok := c.Load(t.Context(), k, now.Add(time.Hour)); ok {
		t.Error("found what is too old")
	}
	c.Save(k, entry("acme", strings.Repeat("x", MaxBody+1)))
	if _, ok := c.Load(t.Context(), k, now); ok {
		t.Error("kept what is too long")
	}
	if n := c.Counts(); n.Hits != 1 || n.Misses != 3 || n.Rejected != 0 {
		t.Errorf("%+v", n)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	const limit = 1 << 20
	m := newMemory(limit)
	for i := range 1000 {
		m.save(KeyOf(fmt.Sprint(i)), held{entry: &Entry{Body: make([]byte, 10_000)}, until: now.Add(time.Hour)})
	}
	m.entries.CleanUp()
	if n, bytes := m.size(); bytes > limit || n == 0 || n > 110 {
		t.Errorf("%d entries, %d bytes", n, bytes)
	}
}

func TestPurges(t *testing.T) {
	e := entry("acme", "")
	for _, tc := range []struct {
		f    Filter
		at   time.Duration
		want bool
	}{
		{Filter{}, 0, true}, {Filter{}, -time.Second, false}, {Filter{Tenant: "acme"}, time.Second, true}, {Filter{Tenant: "other"}, time.Second, false},
		{Filter{Tenant: "acme", Route: "auto", Model: "gpt"}, 0, true}, {Filter{Tenant: "acme", Route: "auto", Model: "x"}, 0, false}, {Filter{Route: "x"}, 0, false},
	} {
		if got := (Purges{tc.f: now.Add(tc.at)}).hold(e); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
	c := New(nil)
	for i := range maxPurges + 1 {
		if err := c.Purge(t.Context(), Filter{Tenant: fmt.Sprint(i)}, now.Add(time.Duration(i))); err != nil {
			t.Fatal(err)
		}
	}
	if p := *c.purged.Load(); len(p) != 1 || !p.hold(e) {
		t.Errorf("%d purges", len(p))
	}
}

func TestFlights(t *testing.T) {
	c, k := New(nil), KeyOf("a")
	lead, leads := c.Join(k)
	follow, too := c.Join(k)
	other, alone := c.Join(KeyOf("b"))
	if !leads || too || !alone || lead != follow || other == lead {
		t.Fatal("who leads?")
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		<-follow.Over()
		if e, how := follow.Result(); how != Landed || string(e.Body) != "x" {
			t.Errorf("%v %v", e, how)
		}
	})
	lead.End(entry("acme", "x"), Landed)
	lead.End(nil, Died) // too late
	wg.Wait()
	if _, leads := c.Join(k); !leads {
		t.Error("a flight that is over still has passengers")
	}
}

// TestPurgedOnTheWay: what was asked for before a purge does not come back after it, and nobody who asks after it waits for that.
func TestPurgedOnTheWay(t *testing.T) {
	c, k := New(nil), KeyOf("a")
	lead, _ := c.Join(k)
	follow, _ := c.Join(k)
	if err := c.Purge(t.Context(), Filter{Tenant: "acme"}, now.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	next, leads := c.Join(k)
	if !leads {
		t.Fatal("who asks after a purge waits for an answer of before")
	}
	e := entry("acme", "old")
	e.Stored = now.Add(2 * time.Second)
	c.Save(k, e)
	lead.End(e, Landed)
	<-follow.Over()
	if _, ok := c.Load(t.Context(), k, now.Add(2*time.Second)); ok {
		t.Error("what was purged on its way is found")
	}
	if f, leads := c.Join(k); leads || f != next {
		t.Error("the end of one flight was the end of another")
	}
	e = entry("acme", "new")
	e.Asked, e.Stored = now.Add(2*time.Second), now.Add(3*time.Second)
	c.Save(k, e)
	next.End(e, Landed)
	if _, ok := c.Load(t.Context(), k, now.Add(3*time.Second)); !ok {
		t.Error("what was asked for after the purge is not found")
	}
}

// two are two gateways on one store.
func two(t *testing.T) (a, b *Cache, m *miniredis.Miniredis) {
	m = miniredis.RunT(t)
	m.SetTime(now)
	open := func() *Cache {
		client, err := redis.Open(redis.Options{URL: "redis://" + m.Addr(), Timeout: 5 * time.Second, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		c := New(NewShared(client))
		c.SetSecret("pepper")
		t.Cleanup(func() { _ = client.Close() })
		return c
	}
	return open(), open(), m
}

func TestShared(t *testing.T) {
	a, b, m := two(t)
	k := KeyOf("a")
	a.Save(k, entry("acme", "text"))
	a.Close() // its saves are through
	e, ok := b.Load(t.Context(), k, now)
	if !ok || string(e.Body) != "text" {
		t.Fatalf("%+v %v", e, ok)
	}
	if ttl := m.TTL(m.Keys()[0]); ttl != time.Hour {
		t.Errorf("it lives for %v", ttl)
	}
	if _, ok := b.Near(k, now.Add(nearTime)); ok {
		t.Error("a gateway believes its copy for longer than two seconds")
	}
	if err := a.Purge(t.Context(), Filter{Tenant: "acme"}, now.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.Load(t.Context(), k, now.Add(nearTime)); ok {
		t.Error("purged at one gateway, found at the other")
	}
	b.Close()
}

// What the store no longer has, nobody has; and it keeps nothing for longer than it tells of purges.
func TestSharedForgets(t *testing.T) {
	a, b, m := two(t)
	defer b.Close()
	k, e := KeyOf("a"), entry("acme", "text")
	e.Expires = now.Add(2 * keepTime)
	a.Save(k, e)
	a.Close() // its saves are through
	if ttl := m.TTL(m.Keys()[0]); ttl != keepTime {
		t.Errorf("it lives for %v", ttl)
	}
	if _, ok := b.Load(t.Context(), k, now); !ok {
		t.Fatal("not shared")
	}
	m.FlushAll()
	for _, c := range []*Cache{a, b} {
		if _, ok := c.Load(t.Context(), k, now.Add(nearTime)); ok {
			t.Error("found what the store has lost")
		}
	}
}

// Gateways whose clocks differ agree on what was asked for before a purge, and what after it: the store's clock tells.
func TestClocksApart(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		a, b, m := two(t)
		clock := func(minutes time.Duration) (store, far time.Time) { // of the store and a, and of b
			at := now.Add(minutes * time.Minute)
			m.SetTime(at)
			return at, at.Add(off)
		}
		answer := func(text string, asked time.Time) *Entry {
			e := entry("acme", text)
			e.Asked, e.Stored, e.Expires = b.Dated(asked), asked, asked.Add(3*time.Hour)
			return e
		}
		before, after := KeyOf("before"), KeyOf("after")
		_, at := clock(0)
		b.Load(t.Context(), before, at)
		_, at = clock(1)
		e := answer("before", at)
		purged, _ := clock(2)
		if err := a.Purge(t.Context(), Filter{Tenant: "acme"}, purged); err != nil {
			t.Fatal(err)
		}
		b.Save(before, e)
		_, at = clock(3)
		if _, ok := b.Load(t.Context(), before, at); ok {
			t.Errorf("%v: found what was asked for before the purge", off)
		}
		b.Save(after, answer("after", at))
		b.Close() // its saves are through
		here, at := clock(4)
		for name, find := range map[string]func() (*Entry, bool){
			"there": func() (*Entry, bool) { return b.Load(t.Context(), after, at) }, "here": func() (*Entry, bool) { return a.Load(t.Context(), after, here) },
		} {
			if _, ok := find(); !ok {
				t.Errorf("%v: what was asked for after the purge is not found %s", off, name)
			}
		}
		a.Close()
	}
}

// The store tells of so many purges at most; one that names everything stands for all before it.
func TestSharedPurges(t *testing.T) {
	a, b, m := two(t)
	defer a.Close()
	defer b.Close()
	count := func() int {
		fields, err := m.HKeys(purgeKey)
		if err != nil {
			t.Fatal(err)
		}
		return len(fields)
	}
	for i := range maxPurges + 2 {
		if err := a.Purge(t.Context(), Filter{Tenant: fmt.Sprint(i)}, now); err != nil {
			t.Fatal(err)
		}
		if want := []int{i + 1, 1, 2}[max(0, i+1-maxPurges)]; count() != want {
			t.Fatalf("%d purges in the store after %d, want %d", count(), i+1, want)
		}
	}
	b.Load(t.Context(), KeyOf("a"), now)
	if !b.purged.Load().hold(entry("acme", "")) {
		t.Error("those that made way are not in the one that names everything")
	}
	if err := a.Purge(t.Context(), Filter{}, now); err != nil || count() != 1 {
		t.Errorf("%d purges beside everything: %v", count()-1, err)
	}
}

// TestPoisoned: what somebody else wrote into the store is no entry.
func TestPoisoned(t *testing.T) {
	a, b, m := two(t)
	defer b.Close()
	b.SetSecret("the pepper of somebody else")
	k, other := KeyOf("a"), KeyOf("b")
	a.Save(k, entry("acme", "text"))
	a.Close()
	if _, ok := b.Load(t.Context(), k, now); ok || b.Counts().Rejected != 1 {
		t.Error("found what was sealed elsewhere")
	}
	b.SetSecret("pepper")
	name := m.Keys()[0]
	sealed, err := m.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	for what, write := range map[string]func() error{
		"moved":   func() error { return m.Set(fmt.Sprintf("%s%x", entryPrefix, other), sealed) },
		"changed": func() error { return m.Set(fmt.Sprintf("%s%x", entryPrefix, other), sealed[:len(sealed)-1]+"y") },
		"empty":   func() error { return m.Set(fmt.Sprintf("%s%x", entryPrefix, other), "") },
		"of a kind": func() error {
			m.Del(fmt.Sprintf("%s%x", entryPrefix, other))
			_, err := m.Lpush(fmt.Sprintf("%s%x", entryPrefix, other), "x")
			return err
		},
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
		if _, ok := b.Load(context.Background(), other, now); ok {
			t.Errorf("%s: found", what)
		}
		m.Del(fmt.Sprintf("%s%x", entryPrefix, other))
	}
	m.HSet(purgeKey, "no filter", "no time")
	if _, ok := b.Load(t.Context(), k, now); !ok {
		t.Error("a broken purge keeps entries away")
	}
}

var errStore = errors.New("no such store")

// gone is a store that fails.
type gone struct{}

func (gone) Load(context.Context, Key) (Found, error)               { return Found{}, errStore }
func (gone) Save(context.Context, Key, []byte, time.Duration) error { return errStore }
func (gone) Purge(context.Context, Filter) (time.Time, error)       { return time.Time{}, errStore }

// TestStoreAway: without the store a gateway goes on with what it has in memory for as long as that holds, and a purge says that the others do not know of it.
func TestStoreAway(t *testing.T) {
	a, b := New(gone{}), New(gone{})
	defer a.Close()
	defer b.Close()
	k := KeyOf("a")
	a.Save(k, entry("acme", "text"))
	for _, later := range []time.Duration{time.Second, nearTime, 10 * time.Minute} {
		if _, ok := a.Load(t.Context(), k, now.Add(later)); !ok {
			t.Errorf("after %v not even here", later)
		}
	}
	if _, ok := b.Load(t.Context(), k, now); ok {
		t.Error("found from nowhere")
	}
	if _, ok := a.Load(t.Context(), k, now.Add(time.Hour)); ok {
		t.Error("found what is too old")
	}
	a.Save(k, entry("acme", "text"))
	if a.Purge(t.Context(), Filter{}, now.Add(time.Second)) == nil {
		t.Error("purged everywhere")
	}
	if _, ok := a.Load(t.Context(), k, now.Add(time.Second)); ok {
		t.Error("not even purged here")
	}
}

// TestServerAway: a server that is away is a store that fails, whoever has saved there before.
func TestServerAway(t *testing.T) {
	a, b, m := two(t)
	defer b.Close()
	k := KeyOf("a")
	a.Save(k, entry("acme", "text"))
	a.Close() // its saves are through
	m.Close()
	if _, ok := a.Load(t.Context(), k, now.Add(nearTime)); !ok {
		t.Error("not even here")
	}
	if _, ok := b.Load(t.Context(), k, now); ok {
		t.Error("found from nowhere")
	}
}

// full is a store that takes nothing, as a server without memory and a replica do: it answers, and tells of purges.
type full struct {
	gone
	purged Purges
}

func (f *full) Load(context.Context, Key) (Found, error) {
	return Found{Purged: f.purged, Clock: now}, nil
}

// TestStoreFull: what the store does not take, the gateway keeps for itself, and hears of purges all the same.
func TestStoreFull(t *testing.T) {
	f := &full{}
	c, k := New(f), KeyOf("a")
	c.Save(k, entry("acme", "text"))
	c.Close() // the store has refused it
	for _, later := range []time.Duration{time.Second, nearTime, 2 * nearTime, 10 * time.Minute} {
		if _, ok := c.Load(t.Context(), k, now.Add(later)); !ok {
			t.Errorf("after %v forgotten", later)
		}
	}
	f.purged = Purges{{Tenant: "acme"}: now.Add(11 * time.Minute)}
	if _, ok := c.Load(t.Context(), k, now.Add(11*time.Minute)); ok {
		t.Error("purged at another gateway, found here")
	}
}

func BenchmarkLoad(b *testing.B) {
	c, k := New(nil), KeyOf("a")
	c.Save(k, entry("acme", strings.Repeat("x", 2000)))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := c.Load(b.Context(), k, now); !ok {
			b.Fatal("miss")
		}
	}
}
