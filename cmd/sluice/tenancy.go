package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/sluice-gateway/sluice/admin"
	"github.com/sluice-gateway/sluice/cache"
	"github.com/sluice-gateway/sluice/internal/redis"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/tenants"
)

// tenancy is what is kept of limits, budgets and keys: by this node, and by all that share a Redis.
type tenancy struct {
	store  tenants.Store // the one in force
	own    *tenants.Embedded
	shared *tenants.Shared // nil = nothing is shared
	rdb    *redis.Client   // of shared
}

// openTenants opens what is kept of limits, budgets and keys, in the store's folder. Where the policy names none and there is none, it is kept in
// memory only.
func (s *server) openTenants(p *policies.Policy) error {
	own, err := tenants.OpenEmbedded(s.store.dir)
	switch {
	case err == nil:
	case p.State.Path != "":
		return fmt.Errorf("state.path: %w", err)
	default:
		s.log.Warn("budgets and keys are kept in memory only: set state.path to a folder that can be written", "error", err)
		own = tenants.NewMemory()
	}
	s.tenancy.own, s.tenancy.store = own, own
	if p.State.Redis != nil {
		if err := s.tenancy.share(p.State.Redis, s.log, s.degraded); err != nil {
			return errors.Join(fmt.Errorf("state.redis: %w", err), own.Close())
		}
		for _, use := range []string{tenants.UseLimits, tenants.UseBudget, tenants.UseKeys, tenants.UseSessions, cache.Use} {
			s.degraded(use, false) // shown from the start
		}
	}
	if s.audit, err = admin.OpenAudit(s.store.dir, s.log); err != nil {
		s.closeTenants()
	}
	return err
}

// degraded shows that a use has lost the shared state, or has it again.
func (s *server) degraded(use string, away bool) {
	if away {
		s.sink.StateDegraded(use)
	} else {
		s.sink.StateRestored(use)
	}
}

// share has the store of all gateways stand over the own one.
func (t *tenancy) share(o *policies.Redis, log *slog.Logger, changed func(use string, away bool)) (err error) {
	t.rdb, err = redis.Open(redis.Options{URL: o.URL.Reveal(), Timeout: o.Timeout, Logger: log, Changed: changed})
	if err != nil {
		return err
	}
	if t.shared, err = tenants.OpenShared(t.rdb, o, t.own); err != nil {
		return errors.Join(err, t.rdb.Close())
	}
	t.store = t.shared
	return nil
}

// recorded is where gateways that share a store keep recorded answers; nil where nothing is shared.
func (t *tenancy) recorded() cache.Store {
	if t.rdb == nil {
		return nil
	}
	return cache.NewShared(t.rdb)
}

// closeTenants writes what waits. It may be called more than once.
func (s *server) closeTenants() {
	if err := errors.Join(s.tenancy.close(), s.audit.Close()); err != nil {
		s.log.Error("what was spent is not all written", "error", err)
	}
}

func (t *tenancy) close() error {
	var errs []error
	if t.shared != nil {
		errs = append(errs, t.shared.Close(), t.rdb.Close())
		t.shared = nil
	}
	return errors.Join(append(errs, t.own.Close())...)
}
