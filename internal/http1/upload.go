package http1

import (
	"context"
	"io"
	"time"
)

// upload is what follows of a request's body, on a goroutine of its own: an upstream may well answer before it has read everything, and then read no more.
type upload struct {
	c    *conn
	body io.ReadCloser
	left int64 // in bytes; -1 = unknown

	over chan struct{} // closed when nothing more is read and written
	err  error         // why not all was written; read after over is closed
}

// Waiting for the other direction of a connection.
const (
	// An answer may have come before the goroutine that wrote the request's last byte has said so.
	settling = 50 * time.Millisecond
	// An upstream that took no more may have said why.
	lastWord = time.Second
)

func (u *upload) run(ctx context.Context) {
	var unreadable bool
	u.err, unreadable = u.send()
	close(u.over)
	switch {
	case u.err == nil:
	case unreadable: // what is half written cannot be answered
		u.c.close()
	default:
		_ = u.c.nc.SetReadDeadline(time.Now().Add(lastWord))
		if ctx.Err() != nil { // its deadline, which may have been replaced just now, was nearer
			u.c.abort()
		}
	}
	u.body.Close()
}

// send writes the body as it comes; unreadable = it failed, and not the connection.
func (u *upload) send() (err error, unreadable bool) {
	pooled := buffers.Get().(*[]byte)
	defer buffers.Put(pooled)
	buf, chunked := *pooled, u.left < 0
	room := buf
	if chunked {
		room = buf[chunkHead : len(buf)-len(crlf)]
	}
	for {
		n, rerr := u.body.Read(room)
		out := room[:n]
		if chunked && n > 0 {
			out = chunk(buf, n)
		} else if u.left -= int64(n); !chunked && u.left < 0 {
			return errLong, true
		}
		if len(out) > 0 {
			if _, err := u.c.nc.Write(out); err != nil {
				return err, false
			}
		}
		switch {
		case rerr == nil:
		case rerr != io.EOF:
			return rerr, true
		case chunked:
			_, err := io.WriteString(u.c.nc, "0\r\n\r\n")
			return err, false
		case u.left > 0:
			return errShort, true
		default:
			return nil, false
		}
	}
}

const (
	crlf      = "\r\n"
	chunkHead = 4 + len(crlf) // of a buffer of piece bytes
)

// chunk frames the n bytes that stand in a buffer after chunkHead, for one write.
func chunk(buf []byte, n int) []byte {
	at := chunkHead - copy(buf[chunkHead-len(crlf):], crlf)
	for v := n; v > 0; v >>= 4 {
		at--
		buf[at] = "0123456789abcdef"[v&15]
	}
	return buf[at : chunkHead+n+copy(buf[chunkHead+n:], crlf)]
}

// failed returns why the upload has ended early; nil = it has not.
func (u *upload) failed() error {
	select {
	case <-u.over:
		return u.err
	default:
		return nil
	}
}

// settle waits a little for the upload's end and reports whether all was written.
func (u *upload) settle() bool {
	select {
	case <-u.over:
		return u.err == nil
	default:
	}
	t := time.NewTimer(settling)
	defer t.Stop()
	select {
	case <-u.over:
		return u.err == nil
	case <-t.C:
		return false
	}
}
