//go:build real

package envoyplane

import (
	"context"
	"net"
	"sync"
	"syscall"
	"testing"

	"github.com/sluice-gateway/sluice/internal/testkit"
)

// doors are upstreams' real listeners on loopback: Envoy reaches the scripted upstreams through them. A door opens, refuses or hangs as the
// host's next script says.
type doors struct {
	t   testing.TB
	ups *testkit.Upstreams

	mu   sync.Mutex
	of   map[string]*door
	wait sync.WaitGroup
}

type door struct {
	addr  string
	held  int // a bound socket that never listens: connections are refused, and the port stays ours
	open  net.Listener
	stuck []int // sockets that fill a listener's queue, so that connections are not even refused
	conns map[*net.TCPConn]bool
}

func newDoors(t testing.TB, ups *testkit.Upstreams) *doors {
	d := &doors{t: t, ups: ups, of: map[string]*door{}}
	t.Cleanup(d.close)
	return d
}

const soReusePort = 15 // package syscall does not have it everywhere

// bound returns a socket with the address; port 0 = any.
func (d *doors) bound(port int) (fd int, addr *syscall.SockaddrInet4) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err == nil {
		err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, soReusePort, 1)
	}
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port})
	}
	var at syscall.Sockaddr
	if err == nil {
		at, err = syscall.Getsockname(fd)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return fd, at.(*syscall.SockaddrInet4)
}

// add gives a host an address.
func (d *doors) add(host string) string {
	fd, at := d.bound(0)
	a := &net.TCPAddr{IP: net.IP(at.Addr[:]), Port: at.Port}
	d.mu.Lock()
	d.of[host] = &door{addr: a.String(), held: fd, conns: map[*net.TCPConn]bool{}}
	d.mu.Unlock()
	d.turn(host)
	return a.String()
}

// turn makes the host's door what its next script wants.
func (d *doors) turn(host string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	o := d.of[host]
	if o == nil {
		return
	}
	state := d.ups.Door(host)
	if state != "" && o.open != nil {
		_ = o.open.Close()
		o.open = nil
	}
	if state != "dialhang" {
		o.unstick()
	}
	switch {
	case state == "" && o.open == nil:
		d.listen(host, o)
	case state == "dialhang" && o.stuck == nil:
		d.stick(o)
	}
}

func (o *door) unstick() {
	for _, fd := range o.stuck {
		_ = syscall.Close(fd)
	}
	o.stuck = nil
}

func (d *doors) listen(host string, o *door) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if control := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soReusePort, 1) }); control != nil {
			return control
		}
		return err
	}}
	l, err := lc.Listen(context.Background(), "tcp", o.addr)
	if err != nil {
		d.t.Error(err)
		return
	}
	o.open = l
	d.wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.serve(host, o, c.(*net.TCPConn))
		}
	})
}

func (d *doors) serve(host string, o *door, c *net.TCPConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	o.conns[c] = true
	d.wait.Go(func() {
		d.ups.Talk(host, testkit.TCP{TCPConn: c})
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(o.conns, c)
	})
}

// stick listens without ever accepting, and fills the queue.
func (d *doors) stick(o *door) {
	a, _ := net.ResolveTCPAddr("tcp", o.addr)
	fd, at := d.bound(a.Port)
	o.stuck = append(o.stuck, fd)
	if err := syscall.Listen(fd, 0); err != nil {
		d.t.Error(err)
	}
	for range 4 {
		c, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
		if err != nil {
			d.t.Error(err)
			return
		}
		o.stuck = append(o.stuck, c)
		_ = syscall.Connect(c, at) // in progress, or for ever
	}
}

func (d *doors) close() {
	d.mu.Lock()
	for _, o := range d.of {
		if o.open != nil {
			_ = o.open.Close()
		}
		o.unstick()
		_ = syscall.Close(o.held)
		for c := range o.conns {
			_ = c.Close()
		}
	}
	d.of = map[string]*door{}
	d.mu.Unlock()
	d.wait.Wait()
}
