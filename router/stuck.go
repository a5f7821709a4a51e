package router

import (
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

// stuck reports whether the conversation ends in the same tool call, failing again and again.
func stuck(e *llm.Envelope) bool {
	if e == nil || !e.ToolTurn {
		return false
	}
	turns, times, call := e.Turns, 0, ""
	for i := len(turns) - 1; i > 0 && times < stuckAfter; i -= 2 {
		result, asked := &turns[i], &turns[i-1]
		if result.Role != "tool" || asked.Role != "assistant" || asked.Call == "" || call != "" && asked.Call != call || !failed(result) {
			return false
		}
		call = asked.Call
		times++
	}
	return times == stuckAfter
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
