package router

import (
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
)

// stuckAfter is how often in a row the same call must have failed before a conversation moves up.
const stuckAfter = 3

// failureSigns are how results of tools say that a call failed.
var failureSigns = [...]string{"error", "exception", "traceback", "failed", "failure", "not found", "no such file", "denied", "invalid", "timed out", "exit code"}

// failureHead is how much of a result is looked at, in bytes: what failed says so first.
const failureHead = 240

// stuck reports whether the conversation ends in the same calls of tools, failing again and again.
func stuck(e *llm.Envelope) bool {
	if e == nil || !e.ToolTurn {
		return false
	}
	var same []string
	for turns, times := e.Turns, 0; times < stuckAfter; times++ {
		calls, failing, before := lastRound(turns)
		if !failing || len(calls) == 0 || times > 0 && !slices.Equal(calls, same) {
			return false
		}
		turns, same = before, calls
	}
	return true
}

// lastRound is what a model called at the end of a conversation, from the last call to the first, whether any of it failed, and what was said before.
func lastRound(turns []llm.Turn) (calls []string, failing bool, before []llm.Turn) {
	n := len(turns)
	for ; n > 0 && turns[n-1].Role == "tool"; n-- {
		failing = failing || failed(&turns[n-1])
	}
	for ; n > 0 && turns[n-1].Role == "assistant"; n-- { // the Responses API has one for each call
		calls = append(calls, turns[n-1].Calls...)
	}
	return calls, failing, turns[:n]
}

func failed(t *llm.Turn) bool {
	for _, text := range t.Text {
		head := strings.ToLower(text[:min(len(text), failureHead)])
		for _, sign := range failureSigns {
			if strings.Contains(head, sign) {
				return true
			}
		}
	}
	return false
}

// climb is the rule with which a conversation leaves a model for a stronger one: the next tier, or what else the rule lists. nil = there is nothing
// stronger.
func climb(p *policies.Policy, rule *policies.Rule, kept *policies.Model) *policies.Rule {
	up := *rule
	up.ByGain, up.Tier, up.Models = false, nil, nil
	rank := p.Rank(kept.Tier)
	if rule.Models != nil {
		for _, m := range rule.Models {
			if p.Rank(m.Tier) > rank {
				up.Models = append(up.Models, m)
			}
		}
		if up.Models == nil {
			return nil
		}
		return &up
	}
	if rank < 0 || rank+1 >= len(p.Tiers) {
		return nil
	}
	up.Tier = p.Tiers[rank+1]
	return &up
}
