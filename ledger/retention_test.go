package ledger

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Rows leave when they are too old, in batches, and the ones that are not stay.
func TestRetain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := mustOpen(t, t.TempDir())
		const old, young = 2*pruneBatch + 7, 5
		now := time.Now()
		for n := range old + young {
			r := numbered(n)
			r.Time = now.Add(-time.Hour + time.Duration(n))
			if n >= old {
				r.Time = now.Add(time.Duration(n))
			}
			l.Add(r)
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			l.Retain(ctx, func() time.Duration { return 30 * time.Minute })
		}()
		synctest.Wait()
		if n := len(rows(t, l, time.Time{})); n != old+young-pruneBatch {
			t.Errorf("%d rows after one batch", n)
		}
		time.Sleep(3 * pruneRest) // virtual
		synctest.Wait()
		if n := len(rows(t, l, time.Time{})); n != young {
			t.Errorf("%d rows are left of %d young ones", n, young)
		}
		time.Sleep(pruneEvery) // virtual
		synctest.Wait()
		if n := len(rows(t, l, time.Time{})); n != 0 {
			t.Errorf("%d rows are left an hour later", n)
		}
		cancel()
		<-ended
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}
