package ledger

import (
	"bytes"
	"context"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	pruneEvery = time.Hour
	pruneBatch = 1000                   // rows that leave in one transaction: rows to be written wait no longer than for these
	pruneRest  = 100 * time.Millisecond // between two
)

// Retain deletes rows that ended longer ago than keep says, again and again until ctx ends. What they took of the file is used for new rows.
func (l *Ledger) Retain(ctx context.Context, keep func() time.Duration) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		n, err := l.prune(time.Now().Add(-keep()))
		switch {
		case err != nil:
			l.failed(0, err)
			fallthrough
		case n < pruneBatch:
			t.Reset(pruneEvery)
		default:
			t.Reset(pruneRest)
		}
	}
}

// prune deletes the oldest rows that ended before a time, one batch at most, and returns how many.
func (l *Ledger) prune(before time.Time) (n int, err error) {
	end := timeKey(before)
	err = l.db.Update(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucket).Cursor()
		for k, _ := c.First(); k != nil && n < pruneBatch && bytes.Compare(k, end) < 0; k, _ = c.First() {
			if err := c.Delete(); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("ledger: delete old rows: %w", err)
	}
	return n, nil
}
