package main

import (
	"os"
	"path/filepath"
	"testing"
)

// gateways is what a benchmark of gateways begins with: the null upstream, and the binary to serve with, which $SLUICE_BINARY may name.
type gateways struct {
	*bed
	binary   string
	upstream *target
}

func openGateways(b *testing.B) *gateways {
	b.Helper()
	g := &gateways{bed: &bed{dir: b.TempDir()}}
	b.Cleanup(g.close)
	self, err := build(b.Context(), g.dir, "bench")
	if err != nil {
		b.Fatal(err)
	}
	if g.binary, err = sluiceBinary(b.Context(), options{sluice: os.Getenv("SLUICE_BINARY")}, g.dir); err != nil {
		b.Fatal(err)
	}
	if g.upstream, err = g.launchNull(b.Context(), options{starts: 1}, self); err != nil {
		b.Fatal(err)
	}
	return g
}

// serve starts a gateway with the policy that is written for its two addresses.
func (g *gateways) serve(b *testing.B, name string, policy func(listen, admin string) []byte) *target {
	b.Helper()
	file := filepath.Join(g.dir, name+".yaml")
	t, err := g.launch(b.Context(), options{starts: 1}, name, func(listen string) ([]string, string, error) {
		admin, err := freeAddress()
		if err != nil {
			return nil, "", err
		}
		return []string{g.binary, "serve", "--config", file}, admin, os.WriteFile(file, policy(listen, admin), 0o600)
	})
	if err != nil {
		b.Fatal(err)
	}
	return t
}
