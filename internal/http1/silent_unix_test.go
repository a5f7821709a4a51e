//go:build unix

package http1

import (
	"bufio"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
)

// A kept connection that its server has closed, or on which it said something unasked, is not used: a request is not sent into it.
func TestStale(t *testing.T) {
	for _, unasked := range []string{"", "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n", "x"} {
		t.Run(unasked, func(t *testing.T) {
			var conns atomic.Int64
			s := serve(t, func(nc net.Conn, in *bufio.Reader) {
				stale := conns.Add(1) == 1
				for {
					r := receive(in)
					if r == nil {
						return
					}
					if b, _ := io.ReadAll(r.Body); stale && string(b) != "one" {
						t.Errorf("%q was sent to the stale connection", b)
					}
					_, _ = io.WriteString(nc, plainOK)
					if !stale {
						continue
					}
					_, _ = io.WriteString(nc, unasked)
					if unasked == "" {
						return
					}
				}
			})
			tr := transport(t)
			mustAsk(t, tr, post(s.url, "one"), "ok")
			audible(t, tr)
			mustAsk(t, tr, post(s.url, "two"), "ok")
			mustAsk(t, tr, post(s.url, "three"), "ok")
			if n := conns.Load(); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
		})
	}
}

// audible waits until something can be read from the connections that a transport keeps, and leaves it there.
func audible(t *testing.T, tr *Transport) {
	for _, all := range tr.idle {
		for _, c := range all {
			err := c.ear.raw.Read(func(fd uintptr) bool {
				_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
				return err != syscall.EAGAIN
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}
