package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/ledger"
	"github.com/sluice-gateway/sluice/policies"
)

var errNoStore = errors.New("no place for state: set state.path, XDG_STATE_HOME or HOME")

// storeFolder returns the folder of a policy's embedded store. Where the policy names none it is one for each listen address in the user's state
// directory, and "" for a listener on a port of the system's choice: it has no address to be found by later.
func storeFolder(w *world, p *policies.Policy) (string, error) {
	if p.State.Path != "" {
		return p.State.Path, nil
	}
	if _, port, err := net.SplitHostPort(p.Server.Listen); err == nil && port == "0" {
		return "", nil
	}
	return defaultStore(w, p.Server.Listen)
}

// makeStore makes the folder of a policy's embedded store. One that cannot be found again is temporary: whoever stops removes it.
func makeStore(w *world, p *policies.Policy) (dir string, temporary bool, err error) {
	if dir, err = storeFolder(w, p); err != nil {
		return "", false, err
	}
	if dir == "" {
		dir, err = os.MkdirTemp("", "sluice-store-*")
		return dir, true, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", false, fmt.Errorf("state.path: %w", err)
	}
	return dir, false, nil
}

// defaultStore is the folder of a listen address, by the rules of the XDG base directories.
func defaultStore(w *world, listen string) (string, error) {
	root, _ := w.env("XDG_STATE_HOME")
	if !filepath.IsAbs(root) {
		home, _ := w.env("HOME")
		if !filepath.IsAbs(home) {
			return "", errNoStore
		}
		root = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(root, "sluice", strings.NewReplacer(":", "_", "[", "", "]", "", "/", "_").Replace(listen)), nil
}

// store is what a running gateway keeps on disk.
type store struct {
	dir       string // "" = there is none
	temporary bool
	ledger    *ledger.Ledger // nil = none is kept
}

// openStore opens the policy's embedded store. Where the policy names no folder and none can be had, the gateway says so and runs without.
func (s *server) openStore(w *world, p *policies.Policy) error {
	dir, temporary, err := makeStore(w, p)
	if err == nil {
		l := &losses{server: s}
		s.store.ledger, err = ledger.Open(dir, l.tell)
	}
	switch {
	case err == nil:
		s.store.dir, s.store.temporary = dir, temporary
	case p.State.Path != "":
		return err
	default:
		s.log.Warn("no ledger is kept: set state.path to a folder that can be written", "error", err)
	}
	return nil
}

// folder is where the store is, for what is kept beside the ledger.
func (st *store) folder() (string, error) {
	if st.dir == "" {
		return "", errNoStore
	}
	return st.dir, nil
}

// close writes what waits. It may be called more than once.
func (st *store) close(log *slog.Logger) {
	if st.ledger == nil {
		return
	}
	if err := st.ledger.Close(); err != nil {
		log.Error("the ledger was not closed", "error", err)
	}
	if st.temporary {
		_ = os.RemoveAll(st.dir) // what is left is in the system's folder for such things
	}
	st.ledger = nil
}

// losses says that the ledger loses rows, or cannot write them: each in a metric, at most once a minute in the log.
type losses struct {
	*server
	mu   sync.Mutex
	said time.Time
	lost int
}

func (l *losses) tell(lost int, err error) {
	l.sink.LedgerLost(lost)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost += lost
	if time.Since(l.said) < time.Minute {
		return
	}
	l.log.Error("the ledger cannot be written", "error", err, "rows_lost", l.lost)
	l.said, l.lost = time.Now(), 0
}
