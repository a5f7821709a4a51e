//go:build unix

package http1

import (
	"net"
	"syscall"
)

// ear finds out whether something is to be read from a connection, without waiting.
type ear struct {
	raw   syscall.RawConn // nil = not to be had
	look  func(fd uintptr) bool
	quiet bool
}

func newEar(nc net.Conn) *ear {
	e := &ear{}
	if sc, ok := nc.(syscall.Conn); ok {
		e.raw, _ = sc.SyscallConn()
	}
	e.look = func(fd uintptr) bool {
		var one [1]byte
		_, err := syscall.Read(int(fd), one[:])
		e.quiet = err == syscall.EAGAIN
		return true
	}
	return e
}

// silent reports whether nothing is to be read, not even the end. What it hears is lost.
func (e *ear) silent() bool {
	return e.raw == nil || e.raw.Read(e.look) == nil && e.quiet
}
