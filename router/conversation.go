package router

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
)

// Conversation is what a request belongs to, for gateways that tell each other what they remember of it.
type Conversation struct {
	Name   string        // the same at every gateway, and nobody else's
	Begun  bool          // there may be something to remember
	Known  bool          // this router remembers it
	Sticky time.Duration // for how long it is remembered

	key     SessionKey
	id      string
	content Content
}

// Shares reports whether the route's conversations may be known to other routers: this one is one of several, and the route remembers any.
func (r *Router) Shares(route *policies.Route) bool {
	return r.sessions.shared && route != nil && route.Session.Sticky > 0
}

// Conversation returns the request's; nil where it has none, or where it is not shared.
func (r *Router) Conversation(in *Input) *Conversation {
	if !r.Shares(in.Route) || in.Envelope == nil {
		return nil
	}
	c := &Conversation{Sticky: in.Route.Session.Sticky, content: Extract(in.Envelope)}
	c.key, c.id, c.Begun = r.sessions.key(in, &c.content)
	if c.key.Zero() {
		return nil
	}
	c.Name = fmt.Sprintf("%016x%016x", c.key.a, c.key.b)
	if c.Begun {
		_, _, c.Known = r.sessions.find(c.key, in.Now)
	}
	return c
}

// Learn takes over what another router's Remember returned, unless this one remembers more turns of the conversation. A text that no router has written is
// no memory.
func (r *Router) Learn(c *Conversation, memory string, now time.Time) {
	count, model, ok := strings.Cut(memory, " ")
	turns, err := strconv.Atoi(count)
	if !ok || err != nil || turns <= 0 || model == "" {
		return
	}
	r.sessions.learn(c.key, model, turns, now, c.Sticky)
}

func (s *sessions) learn(k SessionKey, model string, turns int, now time.Time, sticky time.Duration) {
	sh := &s.shards[k.a%sessionShards]
	sh.Lock()
	defer sh.Unlock()
	if e := sh.at[k]; e != nil && now.Before(e.until) && e.turns > turns {
		return
	}
	e := sh.renew(k, now)
	e.model, e.turns, e.told, e.until = model, turns, turns, now.Add(sticky)
}

// sharedKey names a conversation alike in every process. It has no secret, so it must not be a hash that can be made to meet another's.
func sharedKey(names [4]string, e *llm.Envelope, c *Content) SessionKey {
	h := sha256.New()
	identify(func(part string) {
		_, _ = io.WriteString(h, part) // a hash never fails to write
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
	}, names, e, c)
	sum := h.Sum(nil)
	return SessionKey{binary.BigEndian.Uint64(sum), binary.BigEndian.Uint64(sum[8:])}
}
