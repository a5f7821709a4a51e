package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
)

// endless gives bytes until it is closed.
type endless struct{ *body }

func newEndless() endless {
	e := endless{newBody(nil)}
	e.Reader = reader(func(p []byte) (int, error) {
		select {
		case <-e.closed:
			return 0, errors.New("read after Close")
		default:
			return len(p), nil
		}
	})
	return e
}

// An answer that comes before the request was read is an answer, also from a server that then reads no more; the connection is not used again.
func TestEarlyAnswer(t *testing.T) {
	for _, answer := range []string{"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno", "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"} {
		for _, size := range []int64{-1, 1 << 40} {
			s := serve(t, func(nc net.Conn, in *bufio.Reader) {
				if r, err := http.ReadRequest(in); err == nil && r != nil {
					_, _ = io.WriteString(nc, answer)
				}
				<-t.Context().Done()
			})
			up := newEndless()
			tr := transport(t)
			resp, _, err := ask(tr, stream(s.url, up, size))
			if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("answer %v, error %v", resp, err)
			}
			<-up.closed // the upload ends
			for _, all := range tr.idle {
				if len(all) > 0 {
					t.Error("the connection was kept")
				}
			}
		}
	}
}

// A server that takes no more, and has said why, is heard.
func TestLastWord(t *testing.T) {
	for _, said := range []string{"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno", ""} {
		p := newPeer()
		writes := 0
		p.write = func(b []byte) (int, error) {
			if writes++; writes == 1 {
				return len(b), nil
			}
			return 0, syscall.EPIPE
		}
		last := says(syscall.ECONNRESET, said)
		if said == "" {
			last = says(syscall.ECONNRESET)
		}
		p.read = func(b []byte) (int, error) {
			select {
			case <-p.patience:
				return last(b)
			case <-p.closed:
				return 0, net.ErrClosed
			}
		}
		up := newEndless()
		resp, b, err := ask(over(p), stream("http://a.test/", up, -1))
		switch {
		case said != "" && (err != nil || resp.StatusCode != 413 || b != "no"):
			t.Errorf("answer %v, %q, %v", resp, b, err)
		case said == "" && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET):
			t.Errorf("error %v", err)
		}
		<-up.closed
		<-p.closed
	}
}

// A server that takes no more and says nothing is not waited for without end.
func TestNoLastWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = theirs.Read(make([]byte, 4<<10))
		}()
		up := newEndless()
		_, _, err := ask(over(&deaf{Conn: ours}), stream("http://a.test/", up, -1))
		if !errors.Is(err, syscall.EPIPE) {
			t.Errorf("error %v", err)
		}
		<-up.closed
		theirs.Close()
	})
}

// The patience with a server that takes no more is not for a context that is done.
func TestCancelledUpload(t *testing.T) {
	p := newPeer()
	ctx, cancel := context.WithCancel(context.Background())
	aborts := make(chan struct{}, 2)
	p.deadline = func() { aborts <- struct{}{} }
	writes := 0
	p.write = func(b []byte) (int, error) {
		if writes++; writes == 1 {
			return len(b), nil
		}
		cancel()
		<-aborts
		return 0, os.ErrDeadlineExceeded
	}
	p.read = func([]byte) (int, error) {
		<-p.patience
		<-aborts
		return 0, os.ErrDeadlineExceeded
	}
	up := newEndless()
	if _, _, err := ask(over(p), stream("http://a.test/", up, -1).WithContext(ctx)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	<-up.closed
}

// deaf fails every write but the first.
type deaf struct {
	net.Conn
	heard bool
}

func (d *deaf) Write(p []byte) (int, error) {
	if d.heard {
		return 0, syscall.EPIPE
	}
	d.heard = true
	return d.Conn.Write(p)
}

// A body that fails, or is not as long as was said, breaks the request off: the server must not take what it got for whole, and the caller hears of the body and not of
// the connection.
func TestBodyFails(t *testing.T) {
	broken := errors.New("broken")
	cases := []struct {
		name string
		body io.Reader
		size int64
		want error
	}{
		{"fails", says(broken, "half"), 9, broken},
		{"fails at once", says(broken), 9, broken},
		{"chunked and fails", says(broken, "half"), -1, broken},
		{"chunked and fails at once", says(broken), -1, broken},
		{"fails after its length", says(broken, "whole"), 5, broken},
		{"short", strings.NewReader("half"), 9, io.ErrUnexpectedEOF},
		{"nothing", strings.NewReader(""), 9, io.ErrUnexpectedEOF},
		{"long", strings.NewReader("more than nine"), 9, errLong},
		{"long in pieces", says(io.EOF, "nine byte", "s and more"), 9, errLong},
		{"long by far", strings.NewReader(strings.Repeat("x", 1<<20)), 1<<19 + 1, errLong},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			whole := make(chan bool, 1)
			s := serve(t, func(nc net.Conn, in *bufio.Reader) {
				r, err := http.ReadRequest(in)
				if err != nil {
					whole <- false
					return
				}
				_, err = io.Copy(io.Discard, r.Body)
				whole <- err == nil
				_, _ = in.ReadByte() // no answer: the body's error ends the exchange
			})
			up := newBody(reader(c.body.Read))
			_, _, err := ask(transport(t), stream(s.url, up, c.size))
			if !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			<-up.closed
			// What is said to be nine bytes and was nine is whole for its server, whatever follows.
			if got := <-whole; got && c.name != "fails after its length" && c.name != "long in pieces" {
				t.Error("the server took it for whole")
			}
		})
	}
}

// A body in memory that fails is not sent at all, and costs no connection.
func TestMemoryFails(t *testing.T) {
	s := serve(t, answers(plainOK))
	tr := transport(t)
	mustAsk(t, tr, post(s.url, "x"), "ok")
	broken := errors.New("broken")
	r := post(s.url, "xxxx")
	b := newBody(says(broken, "xx"))
	r.Body = b
	if _, _, err := ask(tr, r); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	<-b.closed
	mustAsk(t, tr, post(s.url, "x"), "ok")
	if n := s.conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// Bodies of all kinds arrive, are closed once, and leave a connection that can be used again.
func TestUploads(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 1<<14)
	s := serve(t, func(nc net.Conn, in *bufio.Reader) {
		for {
			r := receive(in)
			if r == nil {
				return
			}
			b, _ := io.ReadAll(r.Body)
			w := http.Response{ProtoMajor: 1, ProtoMinor: 1, StatusCode: 200, ContentLength: int64(len(b)), Body: io.NopCloser(strings.NewReader(string(b)))}
			if w.Write(nc) != nil {
				return
			}
		}
	})
	tr := transport(t)
	for _, text := range []string{"x", long[:piece-200], long[:piece-1], long[:piece], long} {
		for _, size := range []int64{0, -1, int64(len(text))} {
			for _, memory := range []bool{false, true} {
				up := newBody(strings.NewReader(text))
				r := stream(s.url, up, size)
				if memory {
					r.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("not needed") }
				}
				mustAsk(t, tr, r, text)
				<-up.closed
				if n := up.times.Load(); n != 1 {
					t.Errorf("the body was closed %d times", n)
				}
			}
		}
	}
}

// A body whose end comes later than its answer: the connection is not used again while it may still be written to.
func TestBodyOutlivesAnswer(t *testing.T) {
	s := serve(t, func(nc net.Conn, in *bufio.Reader) {
		if _, err := http.ReadRequest(in); err == nil {
			_, _ = io.WriteString(nc, plainOK)
			_, _ = io.Copy(io.Discard, in)
		}
	})
	tr := transport(t)
	blocked := newBody(nil)
	release := make(chan struct{})
	blocked.Reader = reader(func([]byte) (int, error) {
		<-release
		return 0, io.EOF
	})
	mustAsk(t, tr, stream(s.url, blocked, -1), "ok")
	mustAsk(t, tr, post(s.url, "x"), "ok")
	if n := s.conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	close(release)
	<-blocked.closed
}
