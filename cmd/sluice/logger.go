package main

import (
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/telemetry"
)

// newLateLogger makes the log of a busy process. lines takes access lines as JSON; it is nil where they are rows, which the log makes. flush
// writes what waits; call it before the process ends.
func newLateLogger(form string, w io.Writer) (log *slog.Logger, lines io.Writer, flush func()) {
	if form == "auto" && terminal(w) {
		form = "text"
	}
	late := newLateWriter(w)
	if form != "text" {
		lines = late
	}
	return newLogger(form, late), lines, late.Flush
}

// newLogger makes the log: rows for people, or JSON.
func newLogger(form string, w io.Writer) *slog.Logger {
	if form == "text" || form == "auto" && terminal(w) {
		return slog.New(telemetry.Console(w, nil))
	}
	return slog.New(slog.NewJSONHandler(w, nil))
}

// terminal reports whether somebody may be reading.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// logPause is how long written text may wait for more: a busy gateway then makes one system call for many lines.
const logPause = 20 * time.Millisecond

// logBuffer is how much text waits at most, in bytes.
const logBuffer = 32 << 10

// lateWriter writes what it is given a little later, and together.
type lateWriter struct {
	w io.Writer

	mu    sync.Mutex
	buf   []byte
	timer *time.Timer
}

func newLateWriter(w io.Writer) *lateWriter { return &lateWriter{w: w} }

// Write takes the text; it never fails, as there is nobody to tell that a log cannot be written.
func (l *lateWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buf) == 0 && l.timer != nil {
		l.timer.Reset(logPause)
	} else if l.timer == nil {
		l.timer = time.AfterFunc(logPause, l.Flush)
	}
	if l.buf = append(l.buf, p...); len(l.buf) >= logBuffer {
		l.write()
	}
	return len(p), nil
}

// Flush writes what waits.
func (l *lateWriter) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write()
}

func (l *lateWriter) write() {
	if len(l.buf) > 0 {
		_, _ = l.w.Write(l.buf)
		l.buf = l.buf[:0]
	}
}
