package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	file      = "ledger.db"
	maxQueue  = 1 << 16                // rows that wait for the disk
	pause     = 200 * time.Millisecond // how long a row waits for others: rows written together cost one flush of the disk
	retry     = time.Second            // after a write that failed
	lockLimit = 2 * time.Second        // for the process before this one to let go of the file
)

var bucket = []byte("rows")

// ErrInUse says that another process has the ledger's file open.
var ErrInUse = errors.New("the ledger is in use by another process")

// Ledger is the rows of one gateway, in a file. It is safe for concurrent use.
type Ledger struct {
	db     *bolt.DB
	failed func(lost int, err error)
	lost   atomic.Int64
	wake   chan struct{}
	stop   chan struct{}
	done   chan struct{}
	once   sync.Once

	mu      sync.Mutex // of waiting
	waiting []Row
	writing sync.Mutex // held while rows go to disk, so that they go in order
}

// Open opens the ledger in a folder and makes it if it is not there. failed is told of writes that failed and of rows that were lost because
// the disk did not keep up; it must not block.
func Open(dir string, failed func(lost int, err error)) (*Ledger, error) {
	db, err := open(dir, &bolt.Options{Timeout: lockLimit, NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ledger: %w", err), db.Close())
	}
	l := &Ledger{db: db, failed: failed, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go l.run()
	return l, nil
}

// Read opens the ledger in a folder for reports only, while no gateway has it: ErrInUse when one has, fs.ErrNotExist when there is none.
func Read(dir string) (*Ledger, error) {
	if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	db, err := open(dir, &bolt.Options{Timeout: lockLimit, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	l := &Ledger{db: db, stop: make(chan struct{}), done: make(chan struct{})}
	close(l.done)
	return l, nil
}

func open(dir string, o *bolt.Options) (*bolt.DB, error) {
	db, err := bolt.Open(filepath.Join(dir, file), 0o600, o)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s", ErrInUse, filepath.Join(dir, file))
	case err != nil:
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return db, nil
}

// Add queues rows. It never waits: rows for which there is no room are lost and counted.
func (l *Ledger) Add(rows ...Row) {
	l.mu.Lock()
	n := min(len(rows), maxQueue-len(l.waiting))
	l.waiting = append(l.waiting, rows[:n]...)
	l.mu.Unlock()
	l.nudge()
	if n < len(rows) {
		l.lose(len(rows)-n, errors.New("ledger: the disk does not keep up"))
	}
}

// Lost returns how many rows were lost since the ledger was opened.
func (l *Ledger) Lost() int64 { return l.lost.Load() }

func (l *Ledger) lose(n int, err error) {
	l.lost.Add(int64(n))
	l.failed(n, err)
}

// run writes what was added, until Close.
func (l *Ledger) run() {
	defer close(l.done)
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for wait := pause; ; {
		select {
		case <-l.wake:
		case <-l.stop:
			return
		}
		t.Reset(wait)
		select {
		case <-t.C:
		case <-l.stop:
			return
		}
		if wait = pause; l.Sync() != nil {
			wait = retry
			l.nudge()
		}
	}
}

// nudge has run look again.
func (l *Ledger) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Sync puts every row that was added on disk. Rows that could not be written wait for the next try.
func (l *Ledger) Sync() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	rows := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	if len(rows) == 0 {
		return nil
	}
	err := l.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucket)
		b.FillPercent = 0.9 // keys ascend
		for i := range rows {
			v, err := rows[i].value()
			if err != nil {
				return err
			}
			if err := b.Put(rows[i].key(), v); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		return nil
	}
	err = fmt.Errorf("ledger: write: %w", err)
	l.failed(0, err)
	l.mu.Lock()
	keep := min(len(rows), maxQueue-len(l.waiting))
	l.waiting = append(rows[:keep:keep], l.waiting...)
	l.mu.Unlock()
	if keep < len(rows) {
		l.lose(len(rows)-keep, err)
	}
	return err
}

// Close writes what waits and lets go of the file.
func (l *Ledger) Close() error {
	l.once.Do(func() { close(l.stop) })
	<-l.done
	err := l.Sync()
	l.mu.Lock()
	n := len(l.waiting)
	l.mu.Unlock()
	if n > 0 {
		l.lose(n, err)
	}
	return errors.Join(err, l.db.Close())
}

// Rows calls yield for each row that ended at since or later, in order, until it returns false. What was added before is among them.
func (l *Ledger) Rows(since time.Time, yield func(*Row) bool) error {
	if err := l.Sync(); err != nil {
		return err
	}
	return l.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucket)
		if b == nil {
			return nil
		}
		c := b.Cursor()
		var from []byte
		if !since.IsZero() {
			from = timeKey(since)
		}
		for k, v := c.Seek(from); k != nil; k, v = c.Next() {
			r, err := decode(k, v)
			if err != nil {
				return err
			}
			if !yield(&r) {
				return nil
			}
		}
		return nil
	})
}
