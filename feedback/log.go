package feedback

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

const (
	// FileName is the log's name in the folder of a gateway's state.
	FileName = "feedback.jsonl"

	queued  = 1024
	maxFile = 256 << 20 // bytes; then the file becomes FileName.1, in place of the one before
)

// Log appends records to a file, a line each. It never makes its caller wait: what comes faster than the disk takes it is counted and dropped.
type Log struct {
	path    string
	records chan Record
	dropped atomic.Uint64
	failed  func(error) // told of the first failure of a run of failures
	once    sync.Once
	done    chan struct{}
}

// OpenLog opens the log in a folder, which must exist. failed is told what goes wrong with the file later; it must not block.
func OpenLog(dir string, failed func(error)) (*Log, error) {
	l := &Log{path: filepath.Join(dir, FileName), records: make(chan Record, queued), failed: failed, done: make(chan struct{})}
	f, err := l.open()
	if err != nil {
		return nil, err
	}
	go l.run(f)
	return l, nil
}

func (l *Log) open() (*os.File, error) {
	return os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

// Append takes a record. It must not be called after Close.
func (l *Log) Append(r Record) {
	select {
	case l.records <- r:
	default:
		l.dropped.Add(1)
	}
}

// Dropped returns how many records were dropped.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Close writes what was taken and closes the file.
func (l *Log) Close() {
	l.once.Do(func() { close(l.records) })
	<-l.done
}

func (l *Log) run(f *os.File) {
	defer close(l.done)
	failing := false
	for r := range l.records {
		var err error
		if f, err = l.write(f, r); err != nil {
			l.dropped.Add(1)
			if !failing {
				l.failed(err)
			}
		}
		failing = err != nil
	}
	if f != nil {
		_ = f.Close()
	}
}

func (l *Log) write(f *os.File, r Record) (*os.File, error) {
	line, err := json.Marshal(r)
	if err != nil {
		return f, fmt.Errorf("feedback: %w", err)
	}
	if f != nil {
		if info, err := f.Stat(); err == nil && info.Size() >= maxFile {
			_ = f.Close()
			if err := os.Rename(l.path, l.path+".1"); err != nil {
				return nil, err
			}
			f = nil
		}
	}
	if f == nil {
		if f, err = l.open(); err != nil {
			return nil, err
		}
	}
	_, err = f.Write(append(line, '\n'))
	return f, err
}
