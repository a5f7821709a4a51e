package policies

import (
	"fmt"
	"slices"
	"strings"
)

// Outcome is what a decision came to, for an in-file test to judge.
type Outcome struct {
	Tier      string
	Model     string // the first that would be asked
	Class     string
	Rule      string
	Providers []string // every provider that the plan holds
	Denied    bool     // nothing was eligible
}

// Check returns what is wrong with the outcome, or "".
func (t Test) Check(o Outcome) string {
	var wrong []string
	differ := func(what, want, got string) {
		if want != "" && want != got {
			wrong = append(wrong, fmt.Sprintf("%s is %q, expected %q", what, got, want))
		}
	}
	if t.Expect.Denied != o.Denied {
		if o.Denied {
			wrong = append(wrong, "the request is denied")
		} else {
			wrong = append(wrong, "the request is not denied")
		}
	}
	differ("tier", t.Expect.Tier, o.Tier)
	differ("model", t.Expect.Model, o.Model)
	differ("class", t.Expect.Class, o.Class)
	differ("rule", t.Expect.Rule, o.Rule)
	for _, n := range t.Expect.Never {
		if slices.Contains(o.Providers, n) {
			wrong = append(wrong, fmt.Sprintf("the plan holds provider %q", n))
		}
	}
	return strings.Join(wrong, "; ")
}
