package tenants

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/policies"
)

// Account is a budget and how it stands in the present period.
type Account struct {
	Of        string    `json:"of"`   // tenant, key or route
	Name      string    `json:"name"` // a key's is tenant/id
	Limit     int64     `json:"micro_usd"`
	Spent     int64     `json:"spent_micro_usd"`
	Reserved  int64     `json:"reserved_micro_usd"`
	Used      float64   `json:"used"` // share spent or reserved
	Exhausted bool      `json:"exhausted"`
	Per       string    `json:"per"`
	Zone      string    `json:"zone"`
	Ends      time.Time `json:"ends"`
	OnExceed  string    `json:"on_exceed"`
}

// Balances returns how every budget of a policy stands: those of tenants and of their keys, then those of routes. The error is that of a store
// that is away: the balances are then those last seen.
func Balances(ctx context.Context, s Store, r *Register, p *policies.Policy, now time.Time) ([]Account, error) {
	t := newTab(s)
	var names []string
	add := func(a *Ask, name string, at int) {
		l := a.levels()[at]
		if l.budget == nil || slices.Contains(names, l.of+" "+name) {
			return
		}
		t.add(&level{of: l.of, key: l.key, budget: l.budget}, &Ask{Now: now})
		names = append(names, l.of+" "+name)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Tenants)) {
		tenant := p.Tenants[name]
		keys := slices.Clone(tenant.Keys)
		for i := range r.Keys {
			if r.Keys[i].Tenant == name {
				keys = append(keys, r.Keys[i].compile(p, tenant))
			}
		}
		add(&Ask{Key: &policies.Key{Tenant: tenant}}, name, 0)
		for _, k := range keys {
			add(&Ask{Key: k}, name+"/"+k.ID, 1)
		}
	}
	for _, route := range p.Routes {
		add(&Ask{Route: route}, route.Name, 2)
	}
	out := []Account{}
	if len(t.budgets) == 0 {
		return out, nil
	}
	receipt, err := s.Charge(ctx, &Charge{Accounts: t.charge.Accounts})
	if err != nil {
		return nil, err
	}
	t.receipt, t.balances = receipt, receipt.Accounts
	for i, b := range t.budgets {
		_, name, _ := strings.Cut(names[i], " ")
		out = append(out, Account{Of: b.of, Name: name, Limit: b.MicroUSD, Spent: t.balances[i].Spent, Reserved: t.balances[i].Held, Used: t.used(i),
			Exhausted: t.used(i) >= 1, Per: b.Per, Zone: b.Zone.String(), Ends: b.end, OnExceed: b.OnExceed})
	}
	return out, receipt.BudgetErr
}
