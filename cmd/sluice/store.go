package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluice-gateway/sluice/policies"
)

var errNoStore = errors.New("no place for state: set state.path, XDG_STATE_HOME or HOME")

// storeFolder returns the folder of a policy's embedded store and makes it. Where the policy names none it is one for each listen address in the
// user's state directory. A listener on a port of the system's choice has no address to be found by later, so its folder is temporary:
// whoever stops removes it.
func storeFolder(w *world, p *policies.Policy) (dir string, temporary bool, err error) {
	if dir = p.State.Path; dir == "" {
		if _, port, err := net.SplitHostPort(p.Server.Listen); err == nil && port == "0" {
			dir, err = os.MkdirTemp("", "sluice-store-*")
			return dir, true, err
		}
		if dir, err = defaultStore(w, p.Server.Listen); err != nil {
			return "", false, err
		}
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
