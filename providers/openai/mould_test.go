package openai

import (
	"path/filepath"
	"testing"

	"github.com/sluice-gateway/sluice/internal/sse"
)

// FuzzMould: what fits the mould of one chunk is read, if it is read, as the same event.
func FuzzMould(f *testing.F) {
	files, _ := filepath.Glob("testdata/*")
	for _, name := range files {
		if _, stream := opOf(name); !stream {
			continue
		}
		var frames sse.Scanner
		frames.Feed(read(f, filepath.Base(name)))
		last := []byte(nil)
		for {
			frame, ok := frames.Next()
			if !ok {
				break
			}
			f.Add(last, frame.Data, false)
			f.Add(last, frame.Data, true)
			last = append([]byte(nil), frame.Data...)
		}
	}
	f.Add([]byte(`{"choices":[{"delta":{"content":"a"}}]}`), []byte(`{"choices":[{"delta":{"content":"a","content":"b"}}]}`), false)
	f.Add([]byte(`{"choices":[{"delta":{"content":"a"}}]}`), []byte(`{"choices":[{"delta":{"content":"\"}}]}`), false)
	f.Fuzz(func(t *testing.T, first, second []byte, completions bool) {
		d, ok := readDelta(first, completions)
		if !ok {
			return
		}
		var m mould
		m.cast(first, &d)
		text, ok := m.fits(second)
		if !ok {
			return
		}
		got, ok := readDelta(second, completions)
		if !ok || got.kind != m.kind || got.index != m.index || got.text.Raw() != text.Raw() {
			t.Fatalf("%q fits the mould of %q with %q, and is read as %+v, %t", second, first, text.Raw(), got, ok)
		}
	})
}
