//go:build !linux

package envoy

import (
	"net"
	"os/exec"
)

// bindToParent does nothing here: only Linux ends a process with its parent.
func bindToParent(*exec.Cmd) {}

// Reserve gives an address with port 0 a port that is free at this moment: Envoy would choose one and not tell.
func Reserve(address string) (fixed string, release func(), err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port != "0" {
		return address, func() {}, err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", nil, err
	}
	defer l.Close()
	_, port, err = net.SplitHostPort(l.Addr().String())
	return net.JoinHostPort(host, port), func() {}, err
}
