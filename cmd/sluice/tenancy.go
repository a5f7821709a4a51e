package main

import (
	"fmt"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/tenants"
)

// openTenants opens what is kept of limits, budgets and keys, in the store's folder. Where the policy names none and there is none, it is kept in
// memory only.
func (s *server) openTenants(p *policies.Policy) error {
	var err error
	if s.tenants, err = tenants.OpenEmbedded(s.store.dir); err == nil {
		return nil
	}
	if p.State.Path != "" {
		return fmt.Errorf("state.path: %w", err)
	}
	s.log.Warn("budgets and keys are kept in memory only: set state.path to a folder that can be written", "error", err)
	s.tenants = tenants.NewMemory()
	return nil
}

// closeTenants writes what waits. It may be called more than once.
func (s *server) closeTenants() {
	if err := s.tenants.Close(); err != nil {
		s.log.Error("what was spent is not all on disk", "error", err)
	}
}
