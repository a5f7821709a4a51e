//go:build unix

package http1

import "syscall"

// silent reports whether nothing is to be read from a connection at the moment.
func silent(raw syscall.RawConn) bool {
	if raw == nil {
		return true
	}
	quiet := false
	err := raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, err := syscall.Read(int(fd), one[:])
		quiet = err == syscall.EAGAIN
		return true
	})
	return err == nil && quiet
}
