package providers

import (
	"hash/maphash"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/policies"
)

// Credential is one key of a provider in use. It prints as its ID.
type Credential struct {
	secret policies.Secret
	has    bool
	hash   uint64
	id     string
}

// ID tells the keys of one provider apart, for breakers and logs: it is made anew in each process and says nothing of the key. It is "" for a
// provider that has one key or none.
func (c Credential) ID() string { return c.id }

// String is the ID: a credential never prints.
func (c Credential) String() string { return "credential " + c.id }

// GoString is String.
func (c Credential) GoString() string { return c.String() }

// Credentials rotate the keys of providers and remember which of them rest. They outlive a policy: a key is known by its value, not by its
// place. Safe for concurrent use.
type Credentials struct {
	seed maphash.Seed

	mu   sync.Mutex
	rest map[credentialKey]time.Time
	next map[string]uint64 // by provider: the turn
}

type credentialKey struct {
	provider string
	hash     uint64
	model    string // its name at the provider; "" = every model
}

// longestRest bounds how long headers alone may keep a key from use: the resets that they state are of whole buckets, which fill as they go.
const longestRest = time.Second

// NewCredentials returns credentials of which none rests.
func NewCredentials() *Credentials {
	return &Credentials{seed: maphash.MakeSeed(), rest: map[credentialKey]time.Time{}, next: map[string]uint64{}}
}

// Next returns the provider's next key that does not rest for the model; false when all do. A provider without keys has one empty credential.
func (c *Credentials) Next(p *policies.Provider, model string, now time.Time) (Credential, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(p.Keys) == 0 {
		_, resting := c.resting(p.Name, 0, model, now)
		return Credential{}, !resting
	}
	turn := c.next[p.Name]
	if len(p.Keys) > 1 {
		c.next[p.Name] = turn + 1
	}
	for i := range p.Keys {
		cred := c.credential(p, int((turn+uint64(i))%uint64(len(p.Keys))))
		if _, resting := c.resting(p.Name, cred.hash, model, now); !resting {
			return cred, true
		}
	}
	return Credential{}, false
}

// Park lets a key rest until a time, for one model or, with "", for all. A rest is never made shorter.
func (c *Credentials) Park(p *policies.Provider, cred Credential, model string, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := credentialKey{p.Name, cred.hash, model}
	if until.After(c.rest[k]) {
		c.rest[k] = until
	}
}

// Parked reports whether every key of the provider rests for the model, and until when the first one does.
func (c *Credentials) Parked(p *policies.Provider, model string, now time.Time) (until time.Time, parked bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.rest) == 0 {
		return time.Time{}, false
	}
	for i := range max(len(p.Keys), 1) {
		hash := uint64(0)
		if len(p.Keys) > 0 {
			hash = c.hash(p.Keys[i])
		}
		at, resting := c.resting(p.Name, hash, model, now)
		if !resting {
			return time.Time{}, false
		}
		if until.IsZero() || at.Before(until) {
			until = at
		}
	}
	return until, true
}

// Observe reads the rate limits in an answer's headers: a key that may make no more requests now rests for a moment.
func (c *Credentials) Observe(p *policies.Provider, cred Credential, h http.Header) {
	if p.Own {
		return
	}
	now := time.Now()
	if at, used := exhausted(TraitsOf(p).Limits, h, now, true); used {
		if last := now.Add(longestRest); at.After(last) {
			at = last
		}
		c.Park(p, cred, "", at)
	}
}

// resting looks a key up, for all models and for this one, and forgets a rest that is over. The caller holds the lock.
func (c *Credentials) resting(provider string, hash uint64, model string, now time.Time) (until time.Time, resting bool) {
	if len(c.rest) == 0 {
		return time.Time{}, false
	}
	for _, k := range [2]credentialKey{{provider, hash, ""}, {provider, hash, model}} {
		at, ok := c.rest[k]
		switch {
		case ok && !now.Before(at):
			delete(c.rest, k)
		case ok && at.After(until):
			until, resting = at, true
		}
	}
	return until, resting
}

func (c *Credentials) credential(p *policies.Provider, i int) Credential {
	cred := Credential{secret: p.Keys[i], has: true, hash: c.hash(p.Keys[i])}
	if len(p.Keys) > 1 {
		cred.id = "key-" + strconv.FormatUint(cred.hash&0xffffffff, 16)
	}
	return cred
}

// hash is never 0, which stands for no key.
func (c *Credentials) hash(s policies.Secret) uint64 { return maphash.String(c.seed, s.Reveal()) | 1 }

// Authorize gives set the headers with which a provider wants to be asked: the credential's and those that it always wants, in a fixed order.
func Authorize(p *policies.Provider, cred Credential, set func(name, value string)) {
	if len(p.Auth.Extra) > 0 {
		for _, name := range slices.Sorted(maps.Keys(p.Auth.Extra)) {
			set(http.CanonicalHeaderKey(name), p.Auth.Extra[name])
		}
	}
	if !cred.has {
		return
	}
	if p.Auth.Header == "" {
		set("Authorization", "Bearer "+cred.secret.Reveal())
		return
	}
	set(p.Auth.Header, p.Auth.Prefix+cred.secret.Reveal())
}
