package router

import (
	"hash/maphash"
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
	model, tier  string
	turns        int
	until        time.Time
	newer, older *memory
}

// sessions is the bounded memory of conversations.
type sessions struct {
	seeds  [2]maphash.Seed
	shards [sessionShards]sessionShard
}

type sessionShard struct {
	sync.Mutex
	at    map[SessionKey]*memory
	ring  memory // sentinel of a ring: ring.newer is the oldest, ring.older the newest
	limit int
}

func newSessions(limit int) *sessions {
	s := &sessions{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
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
	k = SessionKey{s.hash(0, r.Name, tenant, key, id, in.Envelope, c), s.hash(1, r.Name, tenant, key, id, in.Envelope, c)}
	return k, id, known
}

func (s *sessions) hash(seed int, route, tenant, key, id string, e *llm.Envelope, c *Content) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seeds[seed])
	put := func(t string) {
		h.WriteString(t)
		h.WriteByte(0)
		n := len(t)
		h.WriteByte(byte(n))
		h.WriteByte(byte(n >> 8))
		h.WriteByte(byte(n >> 16))
	}
	put(route)
	put(tenant)
	put(key)
	put(id)
	if id == "" {
		for i := range e.Turns {
			if t := &e.Turns[i]; t.Role == "system" || t.Role == "developer" {
				for _, text := range t.Text {
					put(text)
				}
			}
		}
		h.WriteByte(byte(e.Tools))
		put(c.First)
	}
	return h.Sum64()
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
func (s *sessions) find(k SessionKey, now time.Time) (model, tier string, turns int, ok bool) {
	sh := &s.shards[k.a%sessionShards]
	sh.Lock()
	defer sh.Unlock()
	m := sh.at[k]
	if m == nil {
		return "", "", 0, false
	}
	if !now.Before(m.until) {
		sh.drop(m)
		return "", "", 0, false
	}
	return m.model, m.tier, m.turns, true
}

// remember keeps which model answered last.
func (s *sessions) remember(k SessionKey, m *policies.Model, now time.Time, sticky time.Duration) {
	sh := &s.shards[k.a%sessionShards]
	sh.Lock()
	defer sh.Unlock()
	e := sh.at[k]
	switch {
	case e != nil:
		e.unlink()
		if !now.Before(e.until) {
			e.turns = 0
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
	e.model, e.tier, e.until = m.Key, m.Tier, now.Add(sticky)
	e.turns++
	e.older, e.newer = sh.ring.older, &sh.ring
	e.older.newer, sh.ring.older = e, e
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
