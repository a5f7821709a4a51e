package proxy

import (
	"cmp"
	"slices"
	"sync"

	"github.com/sluice-gateway/sluice/policies"
)

// The account of a target's retries: asking the same target once more costs, an answer gives back. A target that fails now and then is asked again
// as ever; one that fails for everybody is soon asked only for what is new, whatever the plans say.
const (
	retryCost = 5
	retryGain = 1
	retryCap  = 500
)

// maxAccounts bounds how many targets are remembered: reloads bring new ones.
const maxAccounts = 4096

// retries holds the accounts of all targets. It outlives policies.
type retries struct {
	mu    sync.Mutex
	spent map[RetryTarget]int // what is missing from retryCap; absent = nothing
}

// RetryTarget is what an account of retries is kept for.
type RetryTarget struct {
	Provider string `json:"provider"`
	Model    string `json:"model"` // its name at the provider
}

// RetryAccount is one account as the admin listener shows it.
type RetryAccount struct {
	RetryTarget
	Tokens int `json:"tokens"` // of 500; a retry costs 5, an answer gives 1
}

func retryTarget(m *policies.Model) RetryTarget { return RetryTarget{m.Provider.Name, m.Name} }

// may reports whether a model's target may be asked once more, and takes the price if so.
func (r *retries) may(m *policies.Model) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := retryTarget(m)
	if r.spent[k]+retryCost > retryCap {
		return false
	}
	if len(r.spent) >= maxAccounts {
		clear(r.spent)
	}
	r.spent[k] += retryCost
	return true
}

// answered gives back for an answer.
func (r *retries) answered(m *policies.Model) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.spent) == 0 {
		return
	}
	k := retryTarget(m)
	switch n := r.spent[k]; {
	case n > retryGain:
		r.spent[k] = n - retryGain
	case n > 0:
		delete(r.spent, k)
	}
}

// Retries returns the accounts of targets that were asked again and have not earned it back, sorted.
func (g *Gateway) Retries() []RetryAccount {
	r := &g.retries
	r.mu.Lock()
	out := make([]RetryAccount, 0, len(r.spent))
	for k, n := range r.spent {
		out = append(out, RetryAccount{k, retryCap - n})
	}
	r.mu.Unlock()
	slices.SortFunc(out, func(a, b RetryAccount) int {
		return cmp.Or(cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Model, b.Model))
	})
	return out
}
