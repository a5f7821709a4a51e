package main

import (
	"io"
	"log/slog"
	"os"

	"github.com/sluice-gateway/sluice/telemetry"
)

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
