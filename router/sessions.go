package router

import (
	"hash/maphash"
	"strconv"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
)

const (
	sessionShards = 16
	// DefaultSessions is how many conversations are remembered at once; the least recently used are forgotten first.
	DefaultSessions = 32 << 10
)

// SessionKey names a conversation of one route, tenant and key. The zero value names none.
type SessionKey struct{ a, b uint64 }

// Zero reports whether the request belongs to no conversation that could be remembered.
func (k SessionKey) Zero() bool { return k == SessionKey{} }

// memory of a conversation. It holds names, not pointers: it outlives the policy that it was made under.
type memory struct {
	key          SessionKey
	model        string
	turns        int
	told         int // turns that another router told of
	until        time.Time
	newer, older *memory
}

// sessions is the bounded memory of conversations.
type sessions struct {
	shared bool // keys are the same in every process
	seeds  [2]maphash.Seed
	shards [sessionShards]sessionShard
}

type sessionShard struct {
	sync.Mutex
	at    map[SessionKey]*memory
	ring  memory // sentinel of a ring: ring.newer is the oldest, ring.older the newest
	limit int
}

func newSessions(limit int, shared bool) *sessions {
	s := &sessions{shared: shared, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.at = map[SessionKey]*memory{}
		sh.ring.newer, sh.ring.older = &sh.ring, &sh.ring
		sh.limit = max(1, limit/sessionShards)
	}
	return s
}

// key names the conversation of a request: by the route's session header, else by system text, tools and the user's first words. id is
// the header's value. known says whether a memory may be looked up: a first turn without a header begins a conversation.
func (s *sessions) key(in *Input, c *Content) (k SessionKey, id string, known bool) {
	r := in.Route
	if r == nil || r.Session.Sticky <= 0 || in.Envelope == nil || !in.Envelope.Op.Generates() {
		return SessionKey{}, "", false
	}
	if r.Session.Header != "" && in.Header != nil {
		id = in.Header(lower(r.Session.Header))
	}
	if id == "" && c.First == "" {
		return SessionKey{}, "", false
	}
	var tenant, key string
	if in.Key != nil {
		key = in.Key.ID
		if in.Key.Tenant != nil {
			tenant = in.Key.Tenant.Name
		}
	}
	known = id != "" || continued(in.Envelope)
	names := [...]string{r.Name, tenant, key, id}
	if s.shared {
		return sharedKey(names, in.Envelope, c), id, known
	}
	return SessionKey{s.hash(0, names, in.Envelope, c), s.hash(1, names, in.Envelope, c)}, id, known
}

// hash names a conversation for this process alone, with one of two seeds.
func (s *sessions) hash(seed int, names [4]string, e *llm.Envelope, c *Content) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seeds[seed])
	identify(func(part string) {
		h.WriteString(part)
		h.WriteByte(0)
		n := len(part)
		h.WriteByte(byte(n))
		h.WriteByte(byte(n >> 8))
		h.WriteByte(byte(n >> 16))
	}, names, e, c)
	return h.Sum64()
}

// identify puts out all that tells one conversation from another: route, tenant, key and session header; without a header system text, tools and the
// user's first words.
func identify(put func(part string), names [4]string, e *llm.Envelope, c *Content) {
	for _, name := range names {
		put(name)
	}
	if id := names[3]; id != "" {
		return
	}
	for i := range e.Turns {
		if t := &e.Turns[i]; t.Role == "system" || t.Role == "developer" {
			for _, text := range t.Text {
				put(text)
			}
		}
	}
	put(strconv.Itoa(e.Tools))
	put(c.First)
}

// continued reports whether a model has spoken in the conversation before.
func continued(e *llm.Envelope) bool {
	for i := range e.Turns {
		if e.Turns[i].Role == "assistant" {
			return true
		}
	}
	return false
}

// lower returns the lower case of a header name, without a copy where it is lower case already.
func lower(name string) string {
	for i := 0; i < len(name); i++ {
		if name[i] >= 'A' && name[i] <= 'Z' {
			b := []byte(name)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return name
}

// find returns what is remembered of a conversation.
func (s *sessions) find(k SessionKey, now time.Time) (model string, turns int, ok bool) {
	sh := &s.shards[k.a%sessionShards]
	sh.Lock()
	defer sh.Unlock()
	m := sh.at[k]
	if m == nil {
		return "", 0, false
	}
	if !now.Before(m.until) {
		sh.drop(m)
		return "", 0, false
	}
	return m.model, m.turns, true
}

// remember keeps which model answered last, and returns what is remembered then. knew is how many turns were known when that model was chosen: what
// another router has told of since is newer than the choice.
func (s *sessions) remember(k SessionKey, m *policies.Model, knew int, now time.Time, sticky time.Duration) (model string, turns int) {
	sh := &s.shards[k.a%sessionShards]
	sh.Lock()
	defer sh.Unlock()
	e := sh.renew(k, now)
	if knew >= e.told {
		e.model = m.Key
	}
	e.until = now.Add(sticky)
	e.turns++
	return e.model, e.turns
}

// renew returns the memory of a conversation as the newest one; what is too old, or new, has no turns.
func (sh *sessionShard) renew(k SessionKey, now time.Time) *memory {
	e := sh.at[k]
	switch {
	case e != nil:
		e.unlink()
		if !now.Before(e.until) {
			e.turns, e.told = 0, 0
		}
	case len(sh.at) >= sh.limit:
		e = sh.ring.newer
		sh.drop(e)
		fallthrough
	default:
		if e == nil {
			e = new(memory)
		}
		*e = memory{key: k}
		sh.at[k] = e
	}
	e.older, e.newer = sh.ring.older, &sh.ring
	e.older.newer, sh.ring.older = e, e
	return e
}

func (s *sessions) forget(k SessionKey) {
	sh := &s.shards[k.a%sessionShards]
	sh.Lock()
	defer sh.Unlock()
	if m := sh.at[k]; m != nil {
		sh.drop(m)
	}
}

func (s *sessions) size() (n int) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.Lock()
		n += len(sh.at)
		sh.Unlock()
	}
	return n
}

func (sh *sessionShard) drop(m *memory) {
	delete(sh.at, m.key)
	m.unlink()
}

func (m *memory) unlink() {
	m.older.newer, m.newer.older = m.newer, m.older
}
