package httpproxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/proxy"
)

// receive takes the request's body the way the exchange wants it; false = the client was answered or is gone.
func (c *call) receive() bool {
	switch c.x.BodyMode() {
	case proxy.BodyWhole:
		return c.readWhole()
	case proxy.BodyForm:
		c.stream()
		c.up.spooling = true
		in := c.patiently(c.up.src)
		c.up.src = in
		reply := c.x.Form(c.up)
		in.stop()
		if reply != nil {
			c.reply(reply)
			return false
		}
		c.up.src, c.up.spooling = in.ReadCloser, false
	case proxy.BodyStream:
		c.stream()
	}
	return true
}

// stream prepares a body that goes up while it comes in.
func (c *call) stream() {
	_ = http.NewResponseController(c.w).EnableFullDuplex() // HTTP/1 only; HTTP/2 always is
	c.up = &upload{src: c.r.Body, size: c.r.ContentLength, limit: c.x.BodyLimit(), check: c.x.FormRest}
}

func (c *call) readWhole() bool {
	limit := c.x.BodyLimit()
	size := min(max(c.r.ContentLength, 0), limit, claimable)
	if c.r.ContentLength < 0 {
		size = 4 << 10
	}
	in := c.patiently(c.r.Body)
	body := &reckoned{r: io.LimitReader(in, limit+1), claim: c.x.Claim, told: min(max(c.r.ContentLength, 0), claimable)}
	b, err := readAll(body, size, c.r.ContentLength)
	in.stop()
	if body.refused != nil {
		c.run(c.x.Fail(proxy.CauseBody, body.refused))
		return false
	}
	if err != nil {
		c.x.Fail(proxy.CauseClientGone, err)
		panic(http.ErrAbortHandler) // a client that only stopped sending must not read an empty 200
	}
	c.body = b
	return true
}

// readAll is io.ReadAll that begins with room for size bytes and takes no more in the end than for all; -1 = how many there are is not known.
func readAll(r io.Reader, size, all int64) ([]byte, error) {
	b := make([]byte, 0, size+1) // with a byte in which to meet the end
	for {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return b, err
		case len(b) == cap(b):
			more := len(b)
			if left := all + 1 - int64(len(b)); left > 0 {
				more = int(min(int64(more), left))
			}
			b = append(make([]byte, 0, len(b)+more), b...)
		}
	}
}

// Limits of a client that sends a body which is read before anything else happens.
const (
	bodyIdle = 30 * time.Second // between two reads
	bodyTime = 10 * time.Minute
)

// reckoned is a body whose growth the exchange is told of, step by step, and may refuse.
type reckoned struct {
	r       io.Reader
	claim   func(n int64) error
	n, told int64
	refused error
}

func (b *reckoned) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	if b.n > b.told {
		b.told = b.n + reckonStep
		b.refused = b.claim(b.told)
	}
	if b.refused != nil {
		return 0, b.refused
	}
	return n, err
}

// reckonStep is how far ahead of its bytes a body is reckoned.
const reckonStep = 64 << 10

// claimable is how much memory a Content-Length alone gets, in bytes: more comes with the bytes themselves.
const claimable = 256 << 10

// patient is a body whose reader does not wait for ever.
type patient struct {
	io.ReadCloser
	c     *call
	timer *time.Timer
	end   time.Time

	mu   sync.Mutex
	over bool // the connection is no longer this body's to break: it may be another request's
}

func (c *call) patiently(body io.ReadCloser) *patient {
	p := &patient{ReadCloser: body, c: c, end: time.Now().Add(bodyTime)}
	p.timer = time.AfterFunc(bodyIdle, p.breakOff)
	return p
}

// breakOff makes reads fail, now and from now on.
func (p *patient) breakOff() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		_ = http.NewResponseController(p.c.w).SetReadDeadline(time.Unix(1, 0)) // not supported = nobody to wait for
	}
}

func (p *patient) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	p.timer.Reset(min(bodyIdle, time.Until(p.end)))
	return n, err
}

func (p *patient) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.timer.Stop()
}

// memorySpool is how much of a form is kept in memory before it goes to a file.
const memorySpool = 1 << 20

// upload is a request body that streams: what was read to find the model is kept and sent first, then the rest as it comes.
type upload struct {
	src      io.ReadCloser
	size     int64 // Content-Length; -1 = unknown
	limit    int64
	check    func([]byte) error // looks at what is streamed and was not spooled
	spooling bool

	n    int64 // bytes read from src
	mem  []byte
	file *os.File

	mu  sync.Mutex
	err error // why the client's body failed
}

// Read reads from the client; while spooling it keeps what it read.
func (u *upload) Read(p []byte) (int, error) {
	n, err := u.src.Read(p)
	u.n += int64(n)
	if u.n > u.limit {
		return 0, u.fail(proxy.ErrTooLarge)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return n, u.fail(err)
	}
	if u.spooling {
		if kerr := u.keep(p[:n]); kerr != nil {
			return 0, u.fail(kerr)
		}
		return n, err
	}
	if cerr := u.check(p[:n]); cerr != nil {
		return 0, u.fail(cerr)
	}
	return n, err
}

func (u *upload) keep(p []byte) error {
	if u.file == nil && len(u.mem)+len(p) <= memorySpool {
		u.mem = append(u.mem, p...)
		return nil
	}
	if u.file == nil {
		f, err := os.CreateTemp("", "sluice-upload-*")
		if err != nil {
			return err
		}
		_ = os.Remove(f.Name()) // the open file lives until it is closed, and no longer
		u.file = f
		if _, err := f.Write(u.mem); err != nil {
			return err
		}
		u.mem = nil
	}
	_, err := u.file.Write(p)
	return err
}

func (u *upload) fail(err error) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil {
		u.err = err
	}
	return err
}

func (u *upload) failure() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

// reader is the whole body: the spooled part with its splice, then the rest.
func (u *upload) reader(s *proxy.Splice) io.ReadCloser {
	if u.size == 0 {
		return http.NoBody
	}
	var kept io.ReaderAt = bytes.NewReader(u.mem)
	n := int64(len(u.mem))
	if u.file != nil {
		kept = u.file
		n, _ = u.file.Seek(0, io.SeekCurrent)
	}
	parts := []io.Reader{io.NewSectionReader(kept, 0, n)}
	if s != nil {
		parts = []io.Reader{io.NewSectionReader(kept, 0, s.At), bytes.NewReader(s.Insert), io.NewSectionReader(kept, s.At+s.Del, n-s.At-s.Del)}
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(append(parts, u)...), u.src}
}

// length is the Content-Length that goes up: -1 = chunked.
func (u *upload) length(s *proxy.Splice) int64 {
	if u.size < 0 || s == nil {
		return u.size
	}
	return u.size - s.Del + int64(len(s.Insert))
}

func (u *upload) close() {
	if u.file != nil {
		u.file.Close()
	}
}
