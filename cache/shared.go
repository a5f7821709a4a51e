package cache

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/sluice-gateway/sluice/internal/redis"
)

// Use is what the shared state calls the cache: in its metric, and in its log.
const Use = "cache"

// Keys of the shared store. An entry is on its own in its slot of a cluster; the purges have one key.
const (
	entryPrefix = "sluice:cache:"
	purgeKey    = "sluice:cache:purges"
)

// keepTime is how long the store keeps an entry at most, and how long it tells of a purge: as long as there may be entries from before.
const keepTime = 45 * 24 * time.Hour

// purgeScript keeps a purge under the server's time, in nanoseconds. One that names everything takes the place of all others, and is what becomes of too many.
var purgeScript = redis.NewScript(`
local field, all, max, keep = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local t = redis.call('TIME')
if field == all or redis.call('HEXISTS', KEYS[1], field) == 0 and redis.call('HLEN', KEYS[1]) >= max then
  redis.call('DEL', KEYS[1])
  field = all
end
local at = t[1] .. string.format('%06d', t[2]) .. '000'
redis.call('HSET', KEYS[1], field, at)
redis.call('PEXPIRE', KEYS[1], keep)
return at`)

// Shared is the store that several gateways use.
type Shared struct{ client *redis.Client }

// NewShared returns the store behind a client.
func NewShared(c *redis.Client) *Shared { return &Shared{c} }

// Load reads an entry, the purges and the clock in one trip.
func (s *Shared) Load(ctx context.Context, k Key) (f Found, err error) {
	err = s.client.Run(ctx, Use, func(ctx context.Context, r redis.Commands) error {
		p := r.Pipeline()
		entry, marks, clock := p.Get(ctx, entryPrefix+hex.EncodeToString(k[:])), p.HGetAll(ctx, purgeKey), p.Time(ctx)
		if _, err := p.Exec(ctx); err != nil && !errors.Is(err, redis.ErrMissing) {
			return err
		}
		if err := errors.Join(marks.Err(), clock.Err()); err != nil {
			return err
		}
		if entry.Err() == nil {
			f.Sealed = []byte(entry.Val())
		}
		f.Purged, f.Clock = parsePurges(marks.Val()), clock.Val()
		return nil
	})
	return f, err
}

// Save writes an entry.
func (s *Shared) Save(ctx context.Context, k Key, sealed []byte, ttl time.Duration) error {
	return s.client.Run(ctx, Use, func(ctx context.Context, r redis.Commands) error {
		return r.Set(ctx, entryPrefix+hex.EncodeToString(k[:]), sealed, min(ttl, keepTime)).Err()
	})
}

// Purge tells every gateway of a purge.
func (s *Shared) Purge(ctx context.Context, f Filter) (at time.Time, err error) {
	err = s.client.Run(ctx, Use, func(ctx context.Context, r redis.Commands) error {
		n, err := purgeScript.Run(ctx, r, []string{purgeKey}, fieldOf(f), fieldOf(Filter{}), maxPurges, keepTime.Milliseconds()).Int64()
		at = time.Unix(0, n)
		return err
	})
	return at, err
}

// fieldOf names a purge in the store.
func fieldOf(f Filter) string {
	b, _ := json.Marshal(f) // three texts: never fails
	return string(b)
}

// parsePurges reads what Purge wrote; what is none is left out.
func parsePurges(marks map[string]string) Purges {
	p := Purges{}
	for field, value := range marks {
		var f Filter
		at, err := strconv.ParseInt(value, 10, 64)
		if err == nil && json.Unmarshal([]byte(field), &f) == nil {
			p[f] = time.Unix(0, at)
		}
	}
	return p
}
