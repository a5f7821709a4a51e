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

// purgeTime is how long a purge is told to others: longer than any entry lives.
const purgeTime = 45 * 24 * time.Hour

// Shared is the store that several gateways use.
type Shared struct{ client *redis.Client }

// NewShared returns the store behind a client.
func NewShared(c *redis.Client) *Shared { return &Shared{c} }

// Load reads an entry and the purges in one trip.
func (s *Shared) Load(ctx context.Context, k Key) (sealed []byte, purged Purges, err error) {
	err = s.client.Run(ctx, Use, func(ctx context.Context, r redis.Commands) error {
		p := r.Pipeline()
		entry, marks := p.Get(ctx, entryPrefix+hex.EncodeToString(k[:])), p.HGetAll(ctx, purgeKey)
		if _, err := p.Exec(ctx); err != nil && !errors.Is(err, redis.ErrMissing) {
			return err
		}
		if marks.Err() != nil {
			return marks.Err()
		}
		if entry.Err() == nil {
			sealed = []byte(entry.Val())
		}
		purged = parsePurges(marks.Val())
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return sealed, purged, nil
}

// Save writes an entry.
func (s *Shared) Save(ctx context.Context, k Key, sealed []byte, ttl time.Duration) error {
	return s.client.Run(ctx, Use, func(ctx context.Context, r redis.Commands) error {
		return r.Set(ctx, entryPrefix+hex.EncodeToString(k[:]), sealed, ttl).Err()
	})
}

// Purge tells every gateway of a purge.
func (s *Shared) Purge(ctx context.Context, f Filter, at time.Time) error {
	field, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return s.client.Run(ctx, Use, func(ctx context.Context, r redis.Commands) error {
		p := r.Pipeline()
		p.HSet(ctx, purgeKey, string(field), strconv.FormatInt(at.UnixNano(), 10))
		p.Expire(ctx, purgeKey, purgeTime)
		_, err := p.Exec(ctx)
		return err
	})
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
