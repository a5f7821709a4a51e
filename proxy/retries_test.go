package proxy

import (
	"testing"

	"github.com/sluice-gateway/sluice/policies"
)

func TestRetries(t *testing.T) {
	g := &Gateway{retries: retries{spent: map[RetryTarget]int{}}}
	m := &policies.Model{Name: "m", Provider: &policies.Provider{Name: "p"}}
	other := &policies.Model{Name: "m", Provider: &policies.Provider{Name: "q"}}
	n := 0
	for g.retries.may(m) {
		n++
	}
	if n != retryCap/retryCost {
		t.Errorf("%d retries of a full account", n)
	}
	if !g.retries.may(other) {
		t.Error("another target pays for it")
	}
	for range retryCost - 1 {
		g.retries.answered(m)
	}
	if g.retries.may(m) {
		t.Error("a retry before it is earned")
	}
	g.retries.answered(m)
	if !g.retries.may(m) {
		t.Error("no retry though it is earned")
	}
	for range retryCap {
		g.retries.answered(m)
		g.retries.answered(other)
	}
	if left := g.Retries(); len(left) != 0 {
		t.Errorf("accounts that are full again: %v", left)
	}
}
