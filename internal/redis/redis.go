// Package redis is the one client of the shared store, with the two promises that its users build on.
//
// Invariants: no call takes longer than the timeout, whatever the server does; and for each use (limits, budget, cache, …) the package knows
// whether the store serves it, says so in one metric and in at most one log line a minute, and leaves a store that failed alone for a
// moment instead of letting every request find out for itself.
package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Prefix begins every key. What stands in the braces puts all that one script touches into one slot of a cluster.
const Prefix = "sluice:{state}:"

// Commands are Redis's, one by one or as a pipeline.
type Commands = goredis.Cmdable

// Script is a Lua script that is sent once and then called by its hash.
type Script = goredis.Script

// NewScript returns a script of the source.
func NewScript(src string) *Script { return goredis.NewScript(src) }

// ErrMissing is the error of a key that is not there: an answer, not a failure.
const ErrMissing = goredis.Nil

// ErrAway is the error of a call that was not made because the store has just failed.
var ErrAway = errors.New("the shared state is away")

// rest is how long a store that failed is left alone, for the use that found it so. Then one call tries again.
const rest = 500 * time.Millisecond

// logEvery bounds the log lines of a use while the store is away.
const logEvery = time.Minute

// Options make a client.
type Options struct {
	// URL is redis://[user:password@]host:port[/db], rediss:// for TLS; further addr=host:port parameters make it a cluster's.
	URL     string
	Timeout time.Duration               // of one call
	Changed func(use string, away bool) // told when a use loses the store or has it back; nil = nobody
	Logger  *slog.Logger                // nil = slog.Default()
}

// Client is a client of the shared store. It is safe for concurrent use.
type Client struct {
	rdb     goredis.UniversalClient
	timeout time.Duration
	changed func(use string, away bool)
	log     *slog.Logger

	mu   sync.Mutex
	uses map[string]*use
}

// use is how the store serves one use.
type use struct {
	away   bool
	until  time.Time // while away: not asked before
	probes bool      // while away: one call is trying
	logged time.Time
}

// Open makes a client. It does not connect: a store that is down at the start is one that is away. The error says what is wrong with the URL, and
// holds nothing of it.
func Open(o Options) (*Client, error) {
	rdb, err := dial(o.URL, o.Timeout)
	if err != nil {
		return nil, err
	}
	return newClient(rdb, o), nil
}

func newClient(rdb goredis.UniversalClient, o Options) *Client {
	c := &Client{rdb: rdb, timeout: o.Timeout, changed: o.Changed, log: o.Logger, uses: map[string]*use{}}
	if c.changed == nil {
		c.changed = func(string, bool) {}
	}
	if c.log == nil {
		c.log = slog.Default()
	}
	goredis.SetLogger(quiet{}) // what it would print is in the errors
	return c
}

// quiet is go-redis's logger.
type quiet struct{}

// Printf drops the line.
func (quiet) Printf(context.Context, string, ...any) {}

var errURL = errors.New("the URL of the shared state cannot be read")

// dialTimeout bounds a connection's making, which goes on in the background when the call that wanted it has given up.
const dialTimeout = 2 * time.Second

func dial(raw string, timeout time.Duration) (goredis.UniversalClient, error) {
	if timeout <= 0 {
		return nil, errors.New("the timeout of the shared state must be positive")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errURL // the error would hold the password
	}
	u.Scheme = strings.ToLower(u.Scheme)
	if u.Query().Has("addr") {
		o, err := goredis.ParseClusterURL(u.String())
		if err != nil {
			return nil, errURL
		}
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = dialTimeout, timeout, timeout, timeout
		o.ContextTimeoutEnabled, o.MaxRetries, o.DisableIdentity = true, -1, true
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		return goredis.NewClusterClient(o), nil
	}
	o, err := single(u, timeout)
	if err != nil {
		return nil, err
	}
	return goredis.NewClient(o), nil
}

// single are the options of a client of one server.
func single(u *url.URL, timeout time.Duration) (*goredis.Options, error) {
	o, err := goredis.ParseURL(u.String())
	if err != nil {
		return nil, errURL
	}
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = dialTimeout, timeout, timeout, timeout
	o.ContextTimeoutEnabled, o.MaxRetries, o.DisableIdentity = true, -1, true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.MinIdleConns = 2
	return o, nil
}

// Call is one call of a script.
type Call struct {
	Keys []string
	Args []any
}

// Answer is what came of a command.
type Answer = goredis.Cmd

// CallEach calls a script many times in one trip, in order. Each call has its own answer or error.
func CallEach(ctx context.Context, r Commands, s *Script, calls []Call) []*Answer {
	send := func(first func(context.Context, goredis.Scripter, []string, ...any) *Answer) []*Answer {
		answers := make([]*Answer, 0, len(calls))
		_, _ = r.Pipelined(ctx, func(p goredis.Pipeliner) error { // what went wrong is in the answers
			for i, c := range calls {
				call := s.EvalSha
				if i == 0 {
					call = first
				}
				answers = append(answers, call(ctx, p, c.Keys, c.Args...))
			}
			return nil
		})
		return answers
	}
	answers := send(s.EvalSha)
	if !slices.ContainsFunc(answers, func(a *Answer) bool { return !goredis.HasErrorPrefix(a.Err(), "NOSCRIPT") }) {
		return send(s.Eval) // which sends the script
	}
	return answers
}

// Refused reports whether an error is the server's answer: it has not done what it was asked.
func Refused(err error) bool {
	var said goredis.Error
	return errors.As(err, &said)
}

// Run does work with the store for a use, within the timeout. ErrMissing comes back as it is. Every other error means that the store did not
// do it: the caller does what its policy says of a use without the store. ErrAway is one of them.
func (c *Client) Run(ctx context.Context, name string, work func(ctx context.Context, r Commands) error) error {
	return c.RunFor(ctx, []string{name}, work)
}

// RunFor is Run for several uses at once.
func (c *Client) RunFor(ctx context.Context, names []string, work func(ctx context.Context, r Commands) error) error {
	for i, name := range names {
		if !c.may(name) {
			each(names[:i], c.undecided)
			return ErrAway
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := work(ctx, c.rdb)
	switch {
	case err == nil, errors.Is(err, ErrMissing):
		each(names, c.back)
		return err
	case errors.Is(ctx.Err(), context.Canceled): // the caller gave up: nobody's failure
		each(names, c.undecided)
		return fmt.Errorf("shared state: %w", err)
	}
	each(names, func(name string) { c.lost(name, err) })
	return fmt.Errorf("shared state: %w", err)
}

func each(names []string, do func(string)) {
	for _, name := range names {
		do(name)
	}
}

// Away reports whether the store does not serve the use now.
func (c *Client) Away(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.uses[name]
	return u != nil && u.away
}

// Close ends the connections.
func (c *Client) Close() error { return c.rdb.Close() }

// may reports whether the store may be asked. While it is away one call at a time tries, after a rest.
func (c *Client) may(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.uses[name]
	switch {
	case u == nil || !u.away:
		return true
	case u.probes || time.Now().Before(u.until):
		return false
	}
	u.probes = true
	return true
}

func (c *Client) undecided(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if u := c.uses[name]; u != nil {
		u.probes = false
	}
}

func (c *Client) back(name string) {
	c.mu.Lock()
	u := c.uses[name]
	was := u != nil && u.away
	if was {
		u.away, u.probes = false, false
	}
	c.mu.Unlock()
	if was {
		c.log.Info("the shared state serves again", "use", name)
		c.changed(name, false)
	}
}

func (c *Client) lost(name string, err error) {
	now := time.Now()
	c.mu.Lock()
	u := c.uses[name]
	if u == nil {
		u = new(use)
		c.uses[name] = u
	}
	was := u.away
	u.away, u.probes = true, false
	u.until = now.Add(rest)
	if aboutOneKey(err) { // the others are served
		u.until = now
	}
	say := now.Sub(u.logged) >= logEvery
	if say {
		u.logged = now
	}
	c.mu.Unlock()
	if say {
		c.log.Warn("the shared state does not serve; the policy's on_failure holds", "use", name, "error", reason(err))
	}
	if !was {
		c.changed(name, true)
	}
}

// aboutOneKey reports whether an error says something of one key and nothing of the server.
func aboutOneKey(err error) bool { return strings.Contains(err.Error(), "WRONGTYPE") }

// reason is an error as the log shows it: the server's words may hold a key's name and a network's an address, neither holds a credential.
func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer within the timeout"
	}
	return err.Error()
}
