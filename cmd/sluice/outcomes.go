package main

import (
	"log/slog"
	"sync"

	"github.com/sluice-gateway/sluice/feedback"
)

// outcomeLog writes labelled records into the folder of the gateway's state. The file is made when the first record comes: a policy without
// feedback needs no folder.
type outcomeLog struct {
	folder func() (dir string, err error)
	log    *slog.Logger

	mu     sync.Mutex
	opened bool
	file   *feedback.Log // nil after a failure
	closed bool
}

// take writes a record; it does not wait for the disk but for the file's first opening.
func (o *outcomeLog) take(r feedback.Record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.opened {
		o.opened = true
		o.open()
	}
	if o.file != nil && !o.closed {
		o.file.Append(r)
	}
}

func (o *outcomeLog) open() {
	dir, err := o.folder()
	if err == nil {
		o.file, err = feedback.OpenLog(dir, o.fails)
	}
	if err != nil {
		o.fails(err)
	}
}

func (o *outcomeLog) fails(err error) {
	o.log.Error("labelled records are not kept", "error", err)
}

// close writes what was taken.
func (o *outcomeLog) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed = true; o.file == nil {
		return
	}
	o.file.Close()
	if n := o.file.Dropped(); n > 0 {
		o.log.Warn("labelled records were dropped", "records", n)
	}
}
