package policies

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// State is where a gateway keeps what outlives it.
type State struct {
	Path  string        // folder of the embedded store, absolute or as the policy's own name is; "" = the folder of the listen address
	Keep  time.Duration // of a row of the ledger
	Redis *Redis        // nil = nothing is shared
}

// defaultKeep is a year with time to close its books.
const defaultKeep = 400 * 24 * time.Hour

// Redis is a store that several gateways share.
type Redis struct {
	URL     Secret        // redis:// or rediss://, with user and password where there are any
	Timeout time.Duration // of one trip
	Limits  string        // what holds while it is away: local, refuse or open
	Budget  string        // local_slack, refuse or open
}

// Shared returns what a gateway holds on to of the shared store from its start, for comparison: never to be shown.
func (s *State) Shared() string {
	if r := s.Redis; r != nil {
		return fmt.Sprint(r.URL.Reveal(), r.Timeout, r.Limits, r.Budget)
	}
	return ""
}

const defaultStateTimeout = 20 * time.Millisecond

// state compiles where state lives.
func (c *compiler) state(n *node) {
	c.p.State.Path = c.file(n.at("path").str(""))
	c.p.State.Keep = n.at("ledger").at("keep").duration(defaultKeep)
	r := n.at("redis")
	if r == nil {
		return
	}
	c.p.State.Redis = &Redis{
		URL:     c.redisURL(r.at("url")),
		Timeout: r.at("timeout").duration(defaultStateTimeout),
		Limits:  r.at("on_failure").at("limits").str("local"),
		Budget:  r.at("on_failure").at("budget").str("local_slack"),
	}
}

// redisURL is the address of the shared store. It may stand in the file itself, but a password in it is worth a notice.
func (c *compiler) redisURL(n *node) Secret {
	if n == nil {
		return Secret{}
	}
	var s Secret
	if n.kind == mapNode {
		if s = c.secret(n); c.o.Offline || s.Reveal() == "" {
			return s
		}
	} else {
		s = NewSecret(n.text)
	}
	u, err := url.Parse(s.Reveal())
	if n.kind != mapNode && strings.Contains(n.text, "@") {
		c.f.mask(n)
		if _, has := passwordOf(u); err == nil && has {
			c.notice(n, "a password stands in the file: write url: {env: NAME} or {file: path}")
		}
	}
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Host == "" {
		c.problem(n, "must be a URL such as redis://127.0.0.1:6379/0 or, with TLS, rediss://user:password@host:6379/0")
	}
	return s
}

func passwordOf(u *url.URL) (string, bool) {
	if u == nil || u.User == nil {
		return "", false
	}
	return u.User.Password()
}
