//go:build real

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/redis"
)

// redisServer is a real server of the Redis protocol.
type redisServer struct {
	*harness.Process
	addr string
	rdb  *redis.Client
}

// startRedis starts the server that `scripts/fetch redis` has fetched.
func startRedis(t *testing.T) *redisServer {
	t.Helper()
	p, addr := harness.Redis(t, "..")
	s := &redisServer{Process: p, addr: addr}
	var err error
	if s.rdb, err = redis.Open(redis.Options{URL: "redis://" + addr, Timeout: harness.Patience}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.rdb.Close() })
	return s
}

// run gives the server a command of the test's own.
func (s *redisServer) run(t *testing.T, do func(ctx context.Context, r redis.Commands) error) {
	t.Helper()
	if err := s.rdb.Run(t.Context(), "test", do); err != nil {
		t.Fatal(err)
	}
}

// faultProxy stands between gateways and the server, and makes faults.
type faultProxy struct {
	addr string
	to   string
	slow atomic.Int64           // each answer waits so long
	says atomic.Pointer[string] // the answer to everything, in the server's place
	down atomic.Bool            // connections are dropped
	mute sync.RWMutex           // locked = no answer comes

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newFaultProxy(t *testing.T, to string) *faultProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &faultProxy{addr: l.Addr().String(), to: to, conns: map[net.Conn]bool{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.drop()
		wg.Wait()
	})
	return p
}

// drop ends every connection.
func (p *faultProxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *faultProxy) keep(c net.Conn, in bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if in {
		p.conns[c] = true
	} else {
		delete(p.conns, c)
		_ = c.Close()
	}
}

func (p *faultProxy) serve(c net.Conn) {
	p.keep(c, true)
	defer p.keep(c, false)
	if p.down.Load() {
		return
	}
	up, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	p.keep(up, true)
	defer p.keep(up, false)
	go func() {
		defer c.Close()
		p.answers(c, up)
	}()
	in := bufio.NewReader(c)
	for {
		cmd, err := command(in)
		if err != nil || p.down.Load() {
			return
		}
		if says := p.says.Load(); says != nil {
			_, err = c.Write([]byte("-" + *says + "\r\n"))
		} else {
			_, err = up.Write(cmd)
		}
		if err != nil {
			return
		}
	}
}

// answers passes the server's answers on.
func (p *faultProxy) answers(c, up net.Conn) {
	b := make([]byte, 64<<10)
	for {
		n, err := up.Read(b)
		if n > 0 {
			p.mute.RLock()
			slow := time.Duration(p.slow.Load())
			p.mute.RUnlock()
			time.Sleep(slow)
			if _, err := c.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// command reads one command as it is sent: an array of bulk strings.
func command(r *bufio.Reader) ([]byte, error) {
	head, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(head, "*")))
	if err != nil || !strings.HasPrefix(head, "*") {
		return nil, fmt.Errorf("no command: %q", head)
	}
	out := []byte(head)
	for range n {
		size, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		k, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(size, "$")))
		if err != nil {
			return nil, err
		}
		b := make([]byte, k+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		out = append(append(out, size...), b...)
	}
	return out, nil
}
