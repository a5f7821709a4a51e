package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// newTransport is a keep-alive pool for one host; it never asks for compression.
func newTransport(idle int) *http.Transport {
	return &http.Transport{MaxIdleConns: idle, MaxIdleConnsPerHost: idle, DisableCompression: true, IdleConnTimeout: time.Minute}
}

// client sends one kind of request to one target and checks every answer: an answer that is short, late in its frames or not a 200 is a
// failure and no measurement.
type client struct {
	pool    http.RoundTripper
	url     string
	bodies  [][]byte
	want    shape
	buffers sync.Pool
}

func newClient(pool http.RoundTripper, url, model string, size int) (*client, error) {
	s, ok := shapeOf(model)
	if !ok {
		return nil, fmt.Errorf("model %q names no shape", model)
	}
	c := &client{pool: pool, url: url, bodies: requests(model, size, s.events > 0), want: s}
	c.buffers.New = func() any { b := make([]byte, 32<<10); return &b }
	return c, nil
}

// call sends the n-th request and reads its whole answer; first is the time from sending to the first byte of the body.
func (c *client) call(ctx context.Context, n int) (first time.Duration, err error) {
	start := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(c.bodies[n%len(c.bodies)]))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer sk-bench")
	resp, err := c.pool.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		return 0, fmt.Errorf("status %d: %s", resp.StatusCode, text)
	}
	buf := c.buffers.Get().(*[]byte)
	defer c.buffers.Put(buf)
	var got answer
	for {
		k, err := resp.Body.Read(*buf)
		if k > 0 {
			if first == 0 {
				first = time.Since(start)
			}
			got.add((*buf)[:k])
		}
		if err == io.EOF {
			return first, got.check(c.want, resp.Header.Get("Content-Type"))
		}
		if err != nil {
			return 0, err
		}
	}
}

// answer sums up a body as its chunks arrive, however they are cut.
type answer struct {
	bytes  int
	frames int
	tail   [16]byte // the last bytes, enough for `data: [DONE]` and its blank line
}

func (a *answer) add(chunk []byte) {
	if len(chunk) == 0 {
		return
	}
	if a.bytes > 0 && a.tail[len(a.tail)-1] == '\n' && chunk[0] == '\n' {
		a.frames++ // the blank line was cut in two; a third newline would count twice and is caught by check
	}
	a.frames += bytes.Count(chunk, []byte("\n\n"))
	a.bytes += len(chunk)
	if keep := len(a.tail) - len(chunk); keep > 0 {
		copy(a.tail[:], a.tail[len(chunk):])
		copy(a.tail[keep:], chunk)
		return
	}
	copy(a.tail[:], chunk[len(chunk)-len(a.tail):])
}

func (a *answer) check(want shape, kind string) error {
	if want.events == 0 {
		if a.bytes != want.bytes {
			return fmt.Errorf("answer of %d bytes, want %d", a.bytes, want.bytes)
		}
		return nil
	}
	if !strings.HasPrefix(kind, "text/event-stream") {
		return fmt.Errorf("answer is %q and no stream", kind)
	}
	if a.frames != want.frames() {
		return fmt.Errorf("stream of %d frames, want %d", a.frames, want.frames())
	}
	if !bytes.HasSuffix(a.tail[:], []byte("data: [DONE]\n\n")) {
		return errors.New("stream does not end in [DONE]")
	}
	return nil
}
