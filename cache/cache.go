package cache

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"iter"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// MaxBody bounds the body of an entry, in bytes: what is longer is not recorded.
const MaxBody = 1 << 20

// Store keeps sealed entries. Its methods are safe for concurrent use and quick: a store that cannot answer in time fails. ctx bounds the call.
type Store interface {
	// Load returns what is under a key.
	Load(ctx context.Context, k Key) (Found, error)
	// Save keeps a sealed entry for ttl, or less.
	Save(ctx context.Context, k Key, sealed []byte, ttl time.Duration) error
	// Purge makes a purge hold for everybody who uses the store, and returns when that was by the store's clock.
	Purge(ctx context.Context, f Filter) (time.Time, error)
}

// Found is what a store has under a key.
type Found struct {
	Sealed []byte    // nil = no entry
	Purged Purges    // which hold for all the store has
	Clock  time.Time // the store's, which tells when a purge was
}

// Filter names entries: those of a tenant, a route and a model; "" = of any.
type Filter struct{ Tenant, Route, Model string }

func (f Filter) holds(e *Entry) bool {
	for g := range holding(e) {
		if g == f {
			return true
		}
	}
	return false
}

// holding are the filters that hold an entry.
func holding(e *Entry) iter.Seq[Filter] {
	return func(yield func(Filter) bool) {
		for i := range 8 {
			var f Filter
			if i&1 != 0 {
				f.Tenant = e.Tenant
			}
			if i&2 != 0 {
				f.Route = e.Route
			}
			if i&4 != 0 {
				f.Model = e.Model
			}
			if !yield(f) {
				return
			}
		}
	}
}

// Purges are moments by what they name: the answers that upstreams were asked for until then do not count any more.
type Purges map[Filter]time.Time

func (p Purges) hold(e *Entry) bool {
	if len(p) == 0 {
		return false
	}
	for f := range holding(e) {
		if at, ok := p[f]; ok && !e.Asked.After(at) {
			return true
		}
	}
	return false
}

// Counts are what a cache has seen since it was made, and what it holds now.
type Counts struct {
	Hits     int64 `json:"hits"`
	Misses   int64 `json:"misses"`
	Rejected int64 `json:"rejected"` // entries that were not sealed here
	Entries  int   `json:"entries"`  // in memory
	Bytes    int64 `json:"bytes"`    // in memory

	Like          int64 `json:"like"`           // answers that were found by the likeness of their questions
	Questions     int   `json:"questions"`      // that likeness is looked up among
	QuestionBytes int   `json:"question_bytes"` // with their answers
}

// Cache is the answers that a gateway remembers: in memory, and in a store that several gateways share where there is one.
type Cache struct {
	memory *memory
	index  *index
	shared Store // nil = none
	saves  chan func()
	done   chan struct{}
	secret atomic.Pointer[[]byte]
	own    []byte // the secret of a gateway without a pepper: nobody else can read what it stores

	hits, misses, rejected, like atomic.Int64

	purged atomic.Pointer[Purges] // which are not changed: those who look are many
	ahead  atomic.Int64           // nanoseconds that the store's clock is ahead of this node's, at least

	mu      sync.Mutex
	flights map[Key]*Flight
}

// queued bounds the saves that wait for the shared store; beyond it an entry is in memory only.
const queued = 256

// New makes a cache. shared may be nil. Close ends it.
func New(shared Store) *Cache {
	c := &Cache{memory: newMemory(maxMemory), index: newIndex(maxQuestions, maxQuestionBytes), shared: shared, own: make([]byte, sha256.Size), flights: map[Key]*Flight{}}
	c.purged.Store(&Purges{})
	_, _ = rand.Read(c.own) // never fails
	c.SetSecret("")
	if shared != nil {
		c.saves, c.done = make(chan func(), queued), make(chan struct{})
		go func() {
			defer close(c.done)
			for save := range c.saves {
				save()
			}
		}()
	}
	return c
}

// Close waits for saves under way. Nothing may be saved after it.
func (c *Cache) Close() {
	if c.shared != nil {
		close(c.saves)
		<-c.done
	}
}

// SetSecret sets what entries in the shared store are sealed with: gateways that share it need the same. "" = a secret of this process. Entries that were
// sealed with another are rejected from now on.
func (c *Cache) SetSecret(pepper string) {
	secret := c.own
	if pepper != "" {
		m := hmac.New(sha256.New, []byte(pepper))
		_, _ = m.Write([]byte("sluice cache 1"))
		secret = m.Sum(nil)
	}
	c.secret.Store(&secret)
}

// Load returns the answer under a key.
func (c *Cache) Load(ctx context.Context, k Key, now time.Time) (*Entry, bool) {
	h := c.near(k, now)
	e := h.believed(now)
	if e == nil && c.shared != nil {
		e = c.far(ctx, k, h, now)
	}
	if e == nil {
		c.misses.Add(1)
		return nil, false
	}
	c.hits.Add(1)
	return e, true
}

// Near is Load without the shared store: for who has just asked that.
func (c *Cache) Near(k Key, now time.Time) (*Entry, bool) {
	e := c.near(k, now).believed(now)
	if e != nil {
		c.hits.Add(1)
	}
	return e, e != nil
}

// near looks into the memory. What is there counts, but need not be believed.
func (c *Cache) near(k Key, now time.Time) held {
	h, ok := c.memory.load(k)
	if ok && !c.counts(h.entry, now) {
		c.memory.drop(k)
		return held{}
	}
	return h
}

// far looks into the shared store, and takes over what it finds. Where the store fails, and for what it never got, h is all there is: what the memory has.
func (c *Cache) far(ctx context.Context, k Key, h held, now time.Time) *Entry {
	begun := time.Now()
	found, err := c.shared.Load(ctx, k)
	if err != nil {
		return h.entry
	}
	c.ahead.Store(int64(found.Clock.Sub(now) - time.Since(begun))) // rather less: an answer may then seem older than it is, and no younger
	c.learn(found.Purged)
	var e *Entry
	if found.Sealed != nil {
		if e, err = unseal(*c.secret.Load(), k, found.Sealed); err != nil {
			c.rejected.Add(1)
		}
	}
	if e == nil && h.alone {
		e = h.entry
	}
	if e == nil || !c.counts(e, now) {
		return nil
	}
	c.memory.save(k, held{e, earlier(e.Expires, now.Add(nearTime)), e == h.entry})
	return e
}

// nearTime is how long what the shared store has is believed without asking it again: a purge at another gateway is heard of then.
const nearTime = 2 * time.Second

// counts reports whether an entry is neither too old nor purged.
func (c *Cache) counts(e *Entry, now time.Time) bool {
	return now.Before(e.Expires) && !c.purged.Load().hold(e)
}

// Save keeps an answer, which nobody may change any more. The shared store gets it in the background.
func (c *Cache) Save(k Key, e *Entry) {
	if !e.Stored.Before(e.Expires) || len(e.Body) > MaxBody {
		return
	}
	if c.shared == nil {
		c.memory.save(k, held{entry: e, until: e.Expires})
		return
	}
	h := held{entry: e, until: earlier(e.Expires, e.Stored.Add(nearTime))}
	c.memory.save(k, h)
	select {
	case c.saves <- func() { c.share(k, e) }:
	default:
		h.alone = true
		c.memory.save(k, h)
	}
}

// Like returns the answer to the question of a partition that is likest to q, and how like: their cosine, at least threshold. Whatever that is, an
// answer is found only where the two questions have one wording. Only what this node learnt is looked at.
func (c *Cache) Like(partition Key, q *Question, threshold float64, now time.Time) (e *Entry, likeness float64) {
	e, l := c.index.find(partition, q, float32(threshold), func(e *Entry) bool { return c.counts(e, now) })
	if e != nil {
		c.like.Add(1)
	}
	return e, float64(l)
}

// Learn keeps an answer under its question, for Like. Nobody may change the two any more.
func (c *Cache) Learn(partition Key, q *Question, e *Entry) {
	if e.Stored.Before(e.Expires) && len(e.Body) <= MaxBody {
		c.index.learn(partition, q, e, e.Stored)
	}
}

// share puts an entry into the shared store, sealed: others can write there.
func (c *Cache) share(k Key, e *Entry) {
	sealed, err := seal(*c.secret.Load(), k, e)
	if err == nil {
		err = c.shared.Save(context.Background(), k, sealed, e.Expires.Sub(e.Stored))
	}
	if err != nil {
		c.memory.alone(k, e)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// maxPurges bounds what is remembered of purges, here and in the shared store; beyond it they make way for one that names everything.
const maxPurges = 256

// Purge forgets the answers that a filter names, also those that are on their way, here at once and at gateways that share the store within two seconds.
func (c *Cache) Purge(ctx context.Context, f Filter, now time.Time) error {
	c.learn(Purges{f: c.Dated(now)})
	c.index.purge(f)
	if c.shared == nil {
		return nil
	}
	at, err := c.shared.Purge(ctx, f)
	if err == nil {
		c.learn(Purges{f: at})
	}
	return err
}

// Dated is a time of this node's clock by the one that purges go by: the shared store's, where there is one, since nodes' clocks differ.
func (c *Cache) Dated(t time.Time) time.Time { return t.Add(time.Duration(c.ahead.Load())) }

// learn takes over the purges that are news. Who asks after one does not join a flight that began before it.
func (c *Cache) learn(p Purges) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := *c.purged.Load()
	var all Purges
	for f, at := range p {
		if at.After(known[f]) && at.After(known[Filter{}]) {
			if all == nil {
				all = maps.Clone(known)
			}
			all[f] = at
		}
	}
	if all == nil {
		return
	}
	if len(all) > maxPurges {
		var last time.Time
		for _, at := range all {
			if at.After(last) {
				last = at
			}
		}
		all = Purges{Filter{}: last}
	}
	c.purged.Store(&all)
	clear(c.flights)
}

// Counts returns what the cache has seen and holds.
func (c *Cache) Counts() Counts {
	n, bytes := c.memory.size()
	questions, of := c.index.size()
	return Counts{c.hits.Load(), c.misses.Load(), c.rejected.Load(), n, bytes, c.like.Load(), questions, of}
}
