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

// held is an entry in memory; the zero held is none.
type held struct {
	entry *Entry
	until time.Time // when the shared store is to be asked again
	alone bool      // the shared store did not take it
}

// believed returns the entry where nobody need be asked about it.
func (h held) believed(now time.Time) *Entry {
	if now.Before(h.until) {
		return h.entry
	}
	return nil
}

func newMemory(limit uint64) *memory {
	return &memory{otter.Must(&otter.Options[Key, held]{
		MaximumWeight: limit,
		Weigher:       func(_ Key, h held) uint32 { return uint32(h.entry.size() + overhead) },
	})}
}

func (m *memory) load(k Key) (held, bool) { return m.entries.GetIfPresent(k) }

func (m *memory) save(k Key, h held) { m.entries.Set(k, h) }

// alone marks an entry, if it is still there, as one that the shared store did not take.
func (m *memory) alone(k Key, e *Entry) {
	m.entries.ComputeIfPresent(k, func(h held) (held, otter.ComputeOp) {
		if h.entry != e {
			return h, otter.CancelOp
		}
		h.alone = true
		return h, otter.WriteOp
	})
}

func (m *memory) drop(k Key) { m.entries.Invalidate(k) }

func (m *memory) size() (entries int, bytes int64) {
	return m.entries.EstimatedSize(), int64(m.entries.WeightedSize())
}
