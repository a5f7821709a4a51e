package httpproxy

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// deadlines is a client's connection that counts how often its reads are limited.
type deadlines struct {
	*httptest.ResponseRecorder
	set int
}

func (d *deadlines) SetReadDeadline(time.Time) error { d.set++; return nil }

// A timer may fire in the very moment in which the body is there, and its function run when the request is over: it must not touch what is then another's.
func TestPatienceIsOver(t *testing.T) {
	client := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	p := (&call{w: client}).patiently(io.NopCloser(strings.NewReader("")))
	p.breakOff()
	p.stop()
	p.breakOff()
	if client.set != 1 {
		t.Errorf("reads were limited %d times, want once: before the end", client.set)
	}
}
