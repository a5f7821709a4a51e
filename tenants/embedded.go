package tenants

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Embedded is the store of one node. Limits, slots and reservations are in memory; what was spent and the register of keys survive a crash: the register
// at once, what was spent within [flushEvery]. Without a folder nothing survives.
type Embedded struct {
	counters *counters
	db       *bbolt.DB // nil = memory only

	mu       sync.Mutex
	register *Register

	stop func()
	done chan struct{}
}

// storeFile is the embedded store's file in its folder.
const storeFile = "tenants.db"

// flushEvery bounds what of the spending a crash can lose.
const flushEvery = 250 * time.Millisecond

// lockWait is how long a store that another process holds is waited for.
const lockWait = 2 * time.Second

var (
	bucketSpent    = []byte("spent")
	bucketRegister = []byte("register")
	keyRegister    = []byte("register")
)

// ErrLocked is the error of a store that another process has open.
var ErrLocked = errors.New("another process has the store open")

// OpenEmbedded opens the store in a folder, which must be there; "" keeps everything in memory.
func OpenEmbedded(dir string) (*Embedded, error) {
	e := NewMemory()
	if dir == "" {
		return e, nil
	}
	db, err := bbolt.Open(filepath.Join(dir, storeFile), 0o600, &bbolt.Options{Timeout: lockWait})
	if errors.Is(err, bolterrors.ErrTimeout) {
		err = ErrLocked
	}
	if err != nil {
		return nil, fmt.Errorf("state in %s: %w", dir, err)
	}
	e.db = db
	if err := e.load(); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("state in %s: %w", dir, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.stop, e.done = cancel, make(chan struct{})
	go e.flush(ctx)
	return e, nil
}

// NewMemory returns a store that nothing survives.
func NewMemory() *Embedded {
	e := &Embedded{counters: newCounters(), register: (&Register{}).clone(), stop: func() {}, done: make(chan struct{})}
	close(e.done)
	return e
}

func (e *Embedded) load() error {
	return e.db.Update(func(tx *bbolt.Tx) error {
		spent, err := tx.CreateBucketIfNotExists(bucketSpent)
		if err != nil {
			return err
		}
		reg, err := tx.CreateBucketIfNotExists(bucketRegister)
		if err != nil {
			return err
		}
		was, old := map[string]spending{}, time.Now().Add(-keepEnded)
		c := spent.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			s, ok := decodeSpending(v)
			if ok && s.end.After(old) {
				was[string(k)] = s
			} else if err := c.Delete(); err != nil {
				return err
			}
		}
		e.counters.restore(was)
		if b := reg.Get(keyRegister); b != nil {
			e.register, err = decodeRegister(b)
		}
		return err
	})
}

func (s spending) encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(s.spent))
	return binary.BigEndian.AppendUint64(b, uint64(s.end.Unix()))
}

func decodeSpending(b []byte) (spending, bool) {
	if len(b) != 16 {
		return spending{}, false
	}
	return spending{int64(binary.BigEndian.Uint64(b)), time.Unix(int64(binary.BigEndian.Uint64(b[8:])), 0)}, true
}

// flush writes what was spent, until the store is closed.
func (e *Embedded) flush(ctx context.Context) {
	defer close(e.done)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			_ = e.write() // nobody is left to be told
			return
		case <-tick.C:
			_ = e.write() // a full disk: memory goes on, and the next tick tries again
		}
	}
}

func (e *Embedded) write() error {
	changed := e.counters.changes()
	if len(changed) == 0 {
		return nil
	}
	err := e.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketSpent)
		for key, n := range changed {
			if err := b.Put([]byte(key), n.encode()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		e.counters.unwritten(changed)
	}
	return err
}

// Close writes what is not on disk yet and gives the file back.
func (e *Embedded) Close() error {
	e.stop()
	<-e.done
	if e.db == nil {
		return nil
	}
	return e.db.Close()
}

// Charge never fails.
func (e *Embedded) Charge(_ context.Context, c *Charge) (*Receipt, error) {
	return e.counters.charge(c), nil
}

// Register never fails.
func (e *Embedded) Register(_ context.Context, known string) (*Register, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if known != "" && e.register.Version == known {
		return nil, nil
	}
	return e.register, nil
}

// Amend writes the changed register to disk before it counts.
func (e *Embedded) Amend(_ context.Context, edit func(*Register) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := e.register.clone()
	if err := edit(next); err != nil {
		return err
	}
	b, err := next.encode(time.Now())
	if err != nil {
		return err
	}
	return e.put(next, b)
}

// replace makes the register a copy of another store's.
func (e *Embedded) replace(r *Register) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("register of keys: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.register.Version == r.Version {
		return nil
	}
	return e.put(r, b)
}

func (e *Embedded) put(r *Register, b []byte) error {
	if e.db != nil {
		err := e.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketRegister).Put(keyRegister, b) })
		if err != nil {
			return fmt.Errorf("register of keys: %w", err)
		}
	}
	e.register = r
	return nil
}

// Stored reports whether a folder holds a store.
func Stored(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, storeFile))
	return dir != "" && err == nil
}
