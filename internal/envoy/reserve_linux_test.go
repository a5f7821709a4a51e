package envoy

import (
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
)

// TestReserve: nobody gets a reserved port but who shares ports as Envoy does, and to that one all connections go.
func TestReserve(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "localhost", "", "[::1]"} {
		address, release, err := Reserve(host + ":0")
		if err != nil {
			if host == "[::1]" {
				t.Logf("no IPv6 here: %v", err)
				continue
			}
			t.Fatal(err)
		}
		if _, port, _ := net.SplitHostPort(address); port == "0" || !strings.HasPrefix(address, host) {
			t.Errorf("%q became %s", host, address)
		}
		if l, err := net.Listen("tcp", address); err == nil {
			t.Errorf("somebody else got %s", address)
			_ = l.Close()
		}
		shared := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
			_ = c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, reusePort, 1) })
			return err
		}}
		network := "tcp4"
		if host == "[::1]" {
			network = "tcp6"
		}
		l, err := shared.Listen(t.Context(), network, address)
		if err != nil {
			t.Fatal(err)
		}
		for range 8 {
			c, err := net.Dial(network, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
			if c, err = l.Accept(); err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		}
		_ = l.Close()
		release()
		if l, err = net.Listen(network, address); err != nil {
			t.Errorf("released: %v", err)
		} else {
			_ = l.Close()
		}
	}
	for _, address := range []string{"127.0.0.1:8080", "0.0.0.0:1"} {
		if got, release, err := Reserve(address); err != nil || got != address {
			t.Errorf("%s %v", got, err)
		} else {
			release()
		}
	}
	for _, bad := range []string{"nonsense", "nobody.invalid:0", netip.MustParseAddr("192.0.2.1").String() + ":0"} {
		if got, _, err := Reserve(bad); err == nil {
			t.Errorf("%s became %s", bad, got)
		}
	}
}
