package envoy

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// reusePort is SO_REUSEPORT, which package syscall has for some architectures only.
const reusePort = 0xf

// Reserve gives an address with port 0 a free port, and keeps that from everybody but an Envoy of the same user until release is called: Envoy would choose
// one and not tell. The socket is bound with SO_REUSEPORT, as those of Envoy's listeners are, and never listens.
func Reserve(address string) (fixed string, release func(), err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port != "0" {
		return address, func() {}, err
	}
	to, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return "", nil, err
	}
	family, at := syscall.AF_INET, syscall.Sockaddr(&syscall.SockaddrInet4{}) // of no host: every address
	if v4 := to.IP.To4(); v4 != nil {
		at = &syscall.SockaddrInet4{Addr: [4]byte(v4)}
	} else if to.IP != nil {
		family, at = syscall.AF_INET6, &syscall.SockaddrInet6{Addr: [16]byte(to.IP)}
	}
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, os.NewSyscallError("socket", err)
	}
	release = func() { _ = syscall.Close(fd) } // it held nothing
	err = os.NewSyscallError("setsockopt", syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, reusePort, 1))
	if err == nil {
		err = os.NewSyscallError("bind", syscall.Bind(fd, at))
	}
	if err == nil {
		at, err = syscall.Getsockname(fd)
	}
	if err != nil {
		release()
		return "", nil, fmt.Errorf("reserve %s: %w", address, err)
	}
	n := 0
	switch at := at.(type) {
	case *syscall.SockaddrInet4:
		n = at.Port
	case *syscall.SockaddrInet6:
		n = at.Port
	}
	return net.JoinHostPort(host, fmt.Sprint(n)), release, nil
}
