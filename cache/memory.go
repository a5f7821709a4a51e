package cache

import (
	"time"

	"github.com/maypok86/otter/v2"
)

// maxMemory bounds the entries in memory, in bytes.
const maxMemory = 128 << 20

// overhead is what an entry takes beside its bytes.
const overhead = 300

// memory keeps entries in this process; what is asked for least goes first. What is too old goes when it is asked for, or with it: a clock of
// its own would be one more goroutine to end.
type memory struct {
	entries *otter.Cache[Key, held]
}

type held struct {
	entry *Entry
	until time.Time
}

func newMemory(limit uint64) *memory {
	return &memory{otter.Must(&otter.Options[Key, held]{
		MaximumWeight: limit,
		Weigher:       func(_ Key, h held) uint32 { return uint32(h.entry.size() + overhead) },
	})}
}

func (m *memory) load(k Key, now time.Time) *Entry {
	h, ok := m.entries.GetIfPresent(k)
	if ok && !now.Before(h.until) {
		m.drop(k)
		return nil
	}
	return h.entry
}

func (m *memory) save(k Key, e *Entry, until time.Time) { m.entries.Set(k, held{e, until}) }

func (m *memory) drop(k Key) { m.entries.Invalidate(k) }

func (m *memory) size() (entries int, bytes int64) {
	return m.entries.EstimatedSize(), int64(m.entries.WeightedSize())
}
