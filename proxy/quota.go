package proxy

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/sluice-gateway/sluice/ledger"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers"
	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/tenants"
)

// meter takes the exchange's limits and reads its budgets, before anything is decided.
func (x *Exchange) meter() (err *llm.Error) {
	x.tab, err = tenants.Open(context.Background(), x.g.store, &tenants.Ask{
		ID: x.id, Now: x.rec.Start, Key: x.key, Route: x.route, Hold: x.timeouts().Total, Note: x.note, Ahead: x.ahead,
		Tokens: x.env.PromptTokens() + x.outputTokens(nil), Guess: x.env.MaxTokens == 0 && x.ruling().MaxTokens.Default == 0,
	})
	x.lowest = x.tab.Exceeded(policies.OnLowestTier)
	return err
}

// outputTokens is the most that the answer may have: what the request allows, else the route's default, else what nearly all of the model's answers
// stay below. m is nil while no model is chosen.
func (x *Exchange) outputTokens(m *policies.Model) int {
	n := x.env.MaxTokens
	if x.env.Op.Generates() {
		limit := x.ruling().MaxTokens
		if n == 0 {
			n = limit.Default
		}
		if n == 0 && m != nil {
			n = x.g.outputs.P95(m.Key)
		} else if n == 0 {
			n = tenants.UnknownOutput
		}
		if limit.Cap > 0 {
			n = min(n, limit.Cap)
		}
	}
	if answers := max(1, x.env.Answers); n <= mostTokens/answers {
		return n * answers
	}
	return mostTokens
}

// mostTokens is more than anybody answers: what a client asks for is no number to reckon with.
const mostTokens = 1 << 40

// reserve holds the price of the plan's dearest attempt on every budget. A refusal is answered by deciding once more, with the budget used up.
func (x *Exchange) reserve() *llm.Error {
	if !x.tab.Budgeted() {
		return nil
	}
	if err := x.priced(); err != nil {
		return err
	}
	if x.tab.Exceeded(policies.OnWarn) {
		x.warnings = append(x.warnings, "the budget is used up")
	}
	if x.reserveAmply() {
		return nil
	}
	refusal := x.hold(x.dearest()+x.lookup(), x.lowest)
	if refusal == nil || refusal.Status != 429 {
		return refusal
	}
	x.forgoLookup()
	x.lowest = x.tab.Exceeded(policies.OnLowestTier)
	d, err := x.g.router.Decide(x.s.Policy, x.input())
	x.decided(d)
	if err != nil {
		return err
	}
	if err := x.priced(); err != nil {
		return err
	}
	if !x.lowest && x.quote(x.plan.Attempts[0].Model) == 0 { // what costs nothing is not refused, but nothing dearer may follow it
		x.plan.Attempts = slices.DeleteFunc(x.plan.Attempts, func(a policies.Attempt) bool { return x.quote(a.Model) > 0 })
	}
	return x.hold(x.dearest(), x.lowest)
}

// hold reserves micro-dollars in place of what is reserved, for the lowest tier or for any.
func (x *Exchange) hold(micro int64, lowest bool) *llm.Error {
	err := x.tab.Reserve(context.Background(), micro, lowest)
	if err == nil {
		x.reserved = micro
	}
	return err
}

// afford reserves more where an attempt at the model may cost more than is left of what is reserved: an attempt before it was paid for, and its answer broke off or
// was thrown away; or the answer was thought to be recorded.
func (x *Exchange) afford(m *policies.Model) *llm.Error {
	if !x.tab.Budgeted() {
		return nil
	}
	need := x.quote(m)
	if need == 0 {
		return nil
	}
	for a := range x.rec.Requests {
		need += a.MicroUSD
	}
	if need <= x.reserved {
		return nil
	}
	if x.ample { // nobody is refused for what was not weighed
		x.bound, x.ample = nil, false
		return x.afford(m)
	}
	return x.hold(need, x.lowest || x.s.Policy.Rank(m.Tier) == 0)
}

// unaffordable goes on where there is no money for the plan's attempt i: with a cheaper one after it, else it ends the exchange, with the answer that was doubted
// if there is one.
func (x *Exchange) unaffordable(i int, err *llm.Error) Verdict {
	if j, ok := x.cheaper(i); ok && err.Status == 429 {
		return Verdict{Action: Next, Attempt: j}
	}
	x.warnings = append(x.warnings, "the budget has no room for another attempt")
	if x.committed {
		return x.interrupt()
	}
	if v, ok := x.spared(); ok {
		return v
	}
	return x.answer(err)
}

// cheaper finds the plan's next entry after i that costs less and can be asked now. A doubted answer that is whole is better than a cheaper one.
func (x *Exchange) cheaper(i int) (j int, ok bool) {
	if x.spare != nil {
		return 0, false
	}
	than, escalates := x.quote(x.plan.Attempts[i].Model), x.plan.Attempts[i].By == policies.ByEscalation
	for j := i + 1; j < len(x.plan.Attempts); j++ {
		a := &x.plan.Attempts[j]
		if (a.By != policies.ByEscalation || escalates) && x.quote(a.Model) < than && x.stillUsable(a.Model) {
			return j, true
		}
	}
	return 0, false
}

// reserveAmply reserves for the plan and the cache's lookup by the rough bound of the prompt, where all budgets have room for many times as much: to weigh each word costs as
// much as all else that budgets do.
func (x *Exchange) reserveAmply() bool {
	if x.bound != nil || len(x.env.Media) > 0 {
		return false
	}
	rough := x.env.RoughBound()
	x.bound = &rough
	micro := x.dearest() + x.lookup()
	if x.ample = x.tab.ReserveAmply(context.Background(), micro); x.ample {
		x.reserved = micro
	} else {
		x.bound = nil
	}
	return x.ample
}

// promptBound is what the prompt comes to at most, in tokens at the model. It is found out for the first who asks.
func (x *Exchange) promptBound(m *policies.Model) int {
	if x.bound == nil {
		b := x.env.Bound()
		x.bound = &b
	}
	n := x.bound.Text + x.bound.Media
	if x.committed { // what carries an answer on may be given all that was delivered of it
		n += llm.TextBound(x.delivered.text)
	}
	if x.bound.Images > 0 {
		n += x.bound.Images * providers.ImageTokens(m)
	}
	if m.Context > 0 { // what does not fit is refused
		n = min(n, m.Context)
	}
	return n
}

// quote is the most that an attempt at the model should cost, in micro-dollars.
func (x *Exchange) quote(m *policies.Model) int64 {
	return x.most(m, x.promptBound(m), x.outputTokens(m))
}

// most is the most that so many tokens should cost. An own pool without a price costs nothing more for one more request; one that is paid by the hour costs what
// its tokens have lately cost.
func (x *Exchange) most(m *policies.Model, in, out int) int64 {
	switch {
	case m.Price != nil:
		return ledger.MostOf(m.Price, in, out)
	case m.Provider.Own && m.Provider.GPUPerHour > 0:
		return max(1, x.g.outputs.Cost(m.Key, in+out))
	}
	return 0
}

func (x *Exchange) dearest() (micro int64) {
	for _, a := range x.plan.Attempts {
		micro = max(micro, x.quote(a.Model))
	}
	return micro
}

// ahead is the most that a plan of the route may cost, where it is worth knowing before there is one: a store elsewhere is then asked once.
func (x *Exchange) ahead() (micro int64) {
	if !x.g.far || x.route == nil {
		return 0
	}
	tiers := false
	for _, rule := range x.route.Rules {
		tiers = tiers || rule.Models == nil
		for _, m := range rule.Models {
			micro = max(micro, x.quote(m))
		}
	}
	if !tiers {
		return micro
	}
	for _, t := range x.s.Policy.Tiers {
		for _, m := range t.Models {
			micro = max(micro, x.quote(m))
		}
	}
	return micro
}

// unpriced reports whether nobody can say what an attempt at the model costs: an external one has no price, or the answer is not read.
func (x *Exchange) unpriced(m *policies.Model) bool {
	return !m.Provider.Own && (m.Price == nil || x.env.Op == llm.OpOpaque)
}

// priced does with models of unknown price what the budgets say: they leave the plan, or the request moves to the lowest tier, or it goes on
// with a warning.
func (x *Exchange) priced() *llm.Error {
	i := slices.IndexFunc(x.plan.Attempts, func(a policies.Attempt) bool { return x.unpriced(a.Model) })
	if i < 0 {
		return nil
	}
	m := x.plan.Attempts[i].Model
	unknown := "the price of model " + strconv.Quote(m.Key)
	if m.Price != nil {
		unknown = "what model " + strconv.Quote(m.Key) + " costs on this path"
	}
	switch x.tab.Unpriced() {
	case policies.OnWarn:
		x.warnings = append(x.warnings, unknown+" is not known to the budget")
		return nil
	case policies.OnLowestTier:
		if x.lowest { // the lowest tier is this one
			return nil
		}
		x.lowest = true
		d, err := x.g.router.Decide(x.s.Policy, x.input())
		x.decided(d)
		return err
	}
	x.plan.Attempts = slices.DeleteFunc(x.plan.Attempts, func(a policies.Attempt) bool { return x.unpriced(a.Model) })
	if len(x.plan.Attempts) > 0 {
		return nil
	}
	return &llm.Error{Source: llm.SourceGateway, Class: llm.ClassClient, Status: 403, Type: "policy_denied", Code: "policy_denied",
		Message: "A budget needs prices, and " + unknown + " is not known (unknown_price: refuse)."}
}

// closeTab settles what the exchange used: the tokens of all its attempts, and their price.
func (x *Exchange) closeTab() {
	tokens := 0
	for a := range x.rec.Requests {
		if a.UsageKind == llm.UsageNone {
			continue
		}
		used := a.Usage.Input + a.Usage.Output
		tokens += used
		if a.Price == ledger.PriceGPU {
			x.g.outputs.Spent(a.Model, used, a.MicroUSD)
		}
		if a.UsageKind == llm.UsageReported && a.Class == "" && a.By != byCache && x.env != nil && x.env.Op.Generates() {
			x.g.outputs.Observe(a.Model, a.Usage.Output)
		}
	}
	x.tab.Close(tokens, x.rec.MicroUSD)
}

// quotaFields says how the limits stand, by the names that OpenAI's SDKs read.
func (x *Exchange) quotaFields(fields []Field) []Field {
	if s, ok := x.tab.Standing(false); ok {
		limit, remaining, reset := standingText(s)
		fields = append(fields, Field{"X-Ratelimit-Limit-Requests", limit}, Field{"X-Ratelimit-Remaining-Requests", remaining}, Field{"X-Ratelimit-Reset-Requests", reset})
	}
	if s, ok := x.tab.Standing(true); ok {
		limit, remaining, reset := standingText(s)
		fields = append(fields, Field{"X-Ratelimit-Limit-Tokens", limit}, Field{"X-Ratelimit-Remaining-Tokens", remaining}, Field{"X-Ratelimit-Reset-Tokens", reset})
	}
	return fields
}

// standingText writes the parts of a standing, all of them in one string.
func standingText(s tenants.Standing) (limit, remaining, reset string) {
	b := strconv.AppendInt(make([]byte, 0, 64), s.Limit, 10)
	i := len(b)
	b = strconv.AppendInt(b, s.Remaining, 10)
	j := len(b)
	all := string(appendReset(b, s.Reset))
	return all[:i], all[i:j], all[j:]
}

// appendReset writes a time as 1s, 6m0s or 20ms.
func appendReset(b []byte, d time.Duration) []byte {
	switch {
	case d <= 0:
		return append(b, "0s"...)
	case d <= time.Second-time.Millisecond:
		return append(strconv.AppendInt(b, int64((d+time.Millisecond-1)/time.Millisecond), 10), "ms"...)
	}
	return append(b, (d + time.Second - 1).Truncate(time.Second).String()...)
}

// budgetFacts gives the rules what they may read of the budgets.
func (x *Exchange) budgetFacts(in *router.Input) {
	in.Budget, in.BudgetErr = x.tab.Facts()
	in.Lowest = x.lowest
}
