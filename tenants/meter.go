package tenants

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
)

// Ask is what an exchange asks of limits and budgets before it is decided.
type Ask struct {
	ID     string
	Now    time.Time
	Key    *policies.Key   // nil = nobody in particular
	Route  *policies.Route // nil = a path without one
	Tokens int             // estimated: the prompt and what may be answered
	Guess  bool            // nobody limits the answer: what a rate lets through at all is enough
	Hold   time.Duration   // the longest that the exchange can take
	Note   *Note           // of the conversation; nil = it has none
	Ahead  func() int64    // micro-dollars that no plan costs more than: they are held in the trip that is made anyway, where there is plenty; 0 = unknown. Asked where there is a budget
}

// Tab is what one exchange runs up against its limits and budgets. A nil tab has none: everything is allowed, nothing is kept.
type Tab struct {
	store    Store
	charge   Charge // what Close settles
	hold     Charge // what Reserve holds
	rates    []rate
	budgets  []budget
	receipt  *Receipt
	balances []Balance
	ahead    int64 // held in the first trip, or what that was lowered to
	lowered  int64 // what was held before it was lowered; 0 = it was not
	plenty   bool  // there is so much of everything that nobody waits for what it gives back
	closed   bool

	room struct { // of what is above, so that a tab is a single allocation
		opened   receiptRoom
		other    receiptRoom
		charges  [2 * maxLevels]RateCharge
		settled  [2 * maxLevels]RateCharge
		slots    [maxLevels]SlotCharge
		accounts [maxLevels]AccountCharge
		rates    [2 * maxLevels]rate
		budgets  [maxLevels]budget
	}
}

// rate says what one of the charge's rates limits.
type rate struct {
	tokens bool
	of     string // tenant, key or route
}

// budget is one of the charge's accounts.
type budget struct {
	*policies.Budget
	of  string
	end time.Time
}

// level is one who may have limits and a budget.
type level struct {
	of, key string
	limits  *policies.Limits
	budget  *policies.Budget
}

// levels are the tenant, the key and the route, as far as the exchange has them and they have limits or a budget.
func (a *Ask) levels() (out [maxLevels]level) {
	if k := a.Key; k != nil {
		if t := k.Tenant; t.Limits != nil || t.Budget != nil {
			out[0] = level{"tenant", "tenant/" + t.Name, t.Limits, t.Budget}
		}
		if k.Limits != nil || k.Budget != nil {
			out[1] = level{"key", "key/" + k.Tenant.Name + "/" + k.ID, k.Limits, k.Budget}
		}
	}
	if r := a.Route; r != nil && (r.Limits != nil || r.Budget != nil) {
		out[2] = level{"route", "route/" + r.Name, r.Limits, r.Budget}
	}
	return out
}

// metered reports whether there is anything to ask.
func (a *Ask) metered() bool {
	k, r := a.Key, a.Route
	return r != nil && (r.Limits != nil || r.Budget != nil) ||
		k != nil && (k.Limits != nil || k.Budget != nil || k.Tenant.Limits != nil || k.Tenant.Budget != nil)
}

// Open takes an exchange's limits and reads its budgets, in one trip, or none where that was made ahead. Beside an error the tab still says what the limits are.
func Open(ctx context.Context, s Store, a *Ask) (*Tab, *llm.Error) {
	if !a.metered() && a.Note == nil {
		return nil, nil
	}
	t := newTab(s)
	t.charge.ID, t.charge.Hold, t.charge.Note = a.ID, a.Hold+holdMargin, a.Note
	levels := a.levels()
	for i := range levels {
		t.add(&levels[i], a)
	}
	if t.charge.notesOnly() && a.Note.Known {
		t.receipt = newReceipt(&t.charge)
		return t, nil
	}
	t.charge.Ahead = true
	t.charge.soft(a)
	r, err := s.Charge(ctx, &t.charge)
	if err != nil {
		t.closed = true
		return nil, unavailable(err)
	}
	t.receipt, t.balances, t.charge.Ahead = r, r.Accounts, false
	if r.Soft { // its own hold tells the exchange nothing
		t.ahead = t.charge.Accounts[0].Reserve
		for i := range t.balances {
			t.balances[i].Held -= t.ahead
		}
	}
	for i := range t.charge.Accounts {
		t.charge.Accounts[i].Reserve, t.charge.Accounts[i].Soft = 0, false
	}
	if r.Refused >= 0 {
		t.closed = true
		return t, t.refusal()
	}
	t.plenty = t.charge.plenty(r)
	return t, nil
}

// newTab returns a tab of nothing.
func newTab(s Store) *Tab {
	t := &Tab{store: s}
	t.charge.Rates, t.charge.Slots, t.charge.Accounts = t.room.charges[:0], t.room.slots[:0], t.room.accounts[:0]
	t.rates, t.budgets = t.room.rates[:0], t.room.budgets[:0]
	t.charge.into = &t.room.opened
	return t
}

// soft has the charge hold what no plan costs more than, where somebody says what that is.
func (c *Charge) soft(a *Ask) {
	if a.Ahead == nil || len(c.Accounts) == 0 {
		return
	}
	if ahead := a.Ahead(); ahead > 0 {
		for i := range c.Accounts {
			c.Accounts[i].Reserve, c.Accounts[i].Soft = ahead, true
		}
	}
}

// take is what a rate of tokens is asked for.
func (a *Ask) take(limit int64) int64 {
	if a.Guess {
		return min(int64(a.Tokens), limit)
	}
	return int64(a.Tokens)
}

// holdMargin is what a hold outlives the longest exchange by: its end is settled in the background.
const holdMargin = time.Minute

// add puts a level's limits and budget on the charge.
func (t *Tab) add(l *level, a *Ask) {
	if q := l.limits; q != nil {
		if q.Requests.Count > 0 {
			t.rates = append(t.rates, rate{of: l.of})
			t.charge.Rates = append(t.charge.Rates, RateCharge{Key: "requests/" + l.key, Limit: int64(q.Requests.Count), Window: q.Requests.Window, Take: 1})
		}
		if q.Tokens.Count > 0 {
			t.rates = append(t.rates, rate{of: l.of, tokens: true})
			t.charge.Rates = append(t.charge.Rates, RateCharge{Key: "tokens/" + l.key, Limit: int64(q.Tokens.Count), Window: q.Tokens.Window, Take: a.take(int64(q.Tokens.Count))})
		}
		if q.Concurrent > 0 {
			t.charge.Slots = append(t.charge.Slots, SlotCharge{Key: l.key, Limit: int64(q.Concurrent)})
		}
	}
	if b := l.budget; b != nil {
		name, end := b.Period(a.Now)
		t.budgets = append(t.budgets, budget{b, l.of, end})
		t.charge.Accounts = append(t.charge.Accounts, AccountCharge{Key: l.key + "/" + name, Limit: b.MicroUSD, End: end})
	}
}

// unavailable is the answer where nothing may be done without the state.
func unavailable(err error) *llm.Error {
	return &llm.Error{Source: llm.SourceGateway, Class: llm.ClassCapacity, Status: http.StatusServiceUnavailable, Type: "server_error", Code: "state_unavailable",
		Message: "The state of limits and budgets is not available, and the policy lets nothing through without it.", RetryAfter: time.Second, Err: err}
}

// refusal is the answer to an exchange beyond a limit.
func (t *Tab) refusal() *llm.Error {
	e := &llm.Error{Source: llm.SourceGateway, Class: llm.ClassThrottle, Status: http.StatusTooManyRequests, Type: "rate_limit_error", Code: "rate_limit_exceeded"}
	i := t.receipt.Refused
	if i >= len(t.charge.Rates) {
		s := t.charge.Slots[i-len(t.charge.Rates)]
		e.Message, e.RetryAfter = fmt.Sprintf("Too many requests at once: the limit is %d.", s.Limit), time.Second
		return e
	}
	q, what := &t.charge.Rates[i], "requests"
	if t.rates[i].tokens {
		what = "tokens"
	}
	e.RetryAfter = q.wait(t.receipt.Rates[i])
	e.Message = fmt.Sprintf("Rate limit reached for this %s: %d %s in %s, %d left, %d needed.", t.rates[i].of, q.Limit, what, windowName(q.Window), q.left(t.receipt.Rates[i]), q.Take)
	if q.Take > q.Limit {
		e.Message = fmt.Sprintf("The request needs %d %s, more than the limit of this %s lets through at all: %d in %s.", q.Take, what, t.rates[i].of, q.Limit, windowName(q.Window))
	}
	return e
}

func windowName(d time.Duration) string {
	switch d {
	case time.Second:
		return "a second"
	case time.Minute:
		return "a minute"
	case time.Hour:
		return "an hour"
	}
	return "a day"
}

// Budgeted reports whether money is counted at all.
func (t *Tab) Budgeted() bool { return t != nil && len(t.budgets) > 0 }

// Facts returns what rules may read of the budgets: the share that is spent or reserved, of the fullest one. The error says that they could not
// be had.
func (t *Tab) Facts() (f policies.BudgetFacts, err error) {
	if !t.Budgeted() {
		return f, nil
	}
	for i := range t.budgets {
		used := t.used(i)
		f.Used, f.Exhausted = max(f.Used, used), f.Exhausted || used >= 1
	}
	return f, t.receipt.BudgetErr
}

func (t *Tab) used(i int) float64 {
	b, limit := t.balances[i], t.budgets[i].MicroUSD
	if limit <= 0 {
		return 1
	}
	return float64(b.Spent+b.Held) / float64(limit)
}

// Exceeded reports whether a budget that is to be met in this way (refuse, lowest_tier, warn) is used up.
func (t *Tab) Exceeded(how string) bool {
	if t == nil {
		return false
	}
	for i, b := range t.budgets {
		if b.OnExceed == how && t.used(i) >= 1 {
			return true
		}
	}
	return false
}

// Unpriced returns how a model without a price is met: the strictest of the budgets'. "" = nobody minds.
func (t *Tab) Unpriced() string {
	how := ""
	if t != nil {
		for _, b := range t.budgets {
			if how == "" || strictness[b.UnknownPrice] > strictness[how] {
				how = b.UnknownPrice
			}
		}
	}
	return how
}

var strictness = map[string]int{policies.OnWarn: 0, policies.OnLowestTier: 1, policies.OnRefuse: 2}

// Reserve holds micro-dollars on every budget, or on none. With lowest the budgets that only move requests to the lowest tier do not refuse.
// The refusal is nil where the money is held; what else is to be known of it is in Exceeded.
func (t *Tab) Reserve(ctx context.Context, microUSD int64, lowest bool) *llm.Error {
	if !t.Budgeted() {
		return nil
	}
	if microUSD <= t.ahead {
		t.lower(ctx, microUSD)
		return nil
	}
	t.plenty = false
	if microUSD == t.lowered {
		microUSD++ // by which the lowering, if it comes now, sees that it comes too late
	}
	c := t.reservation(microUSD)
	for i := range c.Accounts {
		how := t.budgets[i].OnExceed
		c.Accounts[i].Soft, c.Accounts[i].Force = false, how == policies.OnWarn || lowest && how == policies.OnLowestTier
	}
	r, err := t.store.Charge(ctx, c)
	if err != nil {
		return unavailable(err)
	}
	t.balances = r.Accounts
	if err := r.BudgetErr; err != nil {
		t.receipt.BudgetErr = err
	}
	if !r.short() {
		return nil
	}
	return t.usedUp(r, microUSD)
}

// ReserveAmply holds micro-dollars on every budget if each has room for many times as many: they may then be more than need be. Else it holds nothing.
func (t *Tab) ReserveAmply(ctx context.Context, microUSD int64) bool {
	c := t.reservation(microUSD)
	for i := range c.Accounts {
		c.Accounts[i].Soft = true
	}
	r, err := t.store.Charge(ctx, c)
	return err == nil && r.Soft
}

// reservation is the charge of one.
func (t *Tab) reservation(microUSD int64) *Charge {
	c := &t.hold
	*c = Charge{ID: t.charge.ID, Hold: t.charge.Hold, Accounts: t.charge.Accounts, into: &t.room.other}
	for i := range c.Accounts {
		c.Accounts[i].Reserve = microUSD
	}
	return c
}

// lower gives back what was held ahead of the decision and is not needed, if that is more than half of it. Nobody waits for it, so it may be done when Reserve has held more: it
// then finds another amount than it is to lower, and does nothing.
func (t *Tab) lower(ctx context.Context, microUSD int64) {
	if 2*microUSD >= t.ahead {
		return
	}
	c := Charge{ID: t.charge.ID, Hold: t.charge.Hold, Later: true, Patient: true, Accounts: slices.Clone(t.charge.Accounts)}
	for i := range c.Accounts {
		c.Accounts[i].Reserve, c.Accounts[i].Lower = microUSD, t.ahead
	}
	t.ahead, t.lowered = microUSD, t.ahead
	_, _ = t.store.Charge(ctx, &c) // it is never refused
}

// usedUp marks the budgets that cannot hold a reservation as used up and returns the refusal.
func (t *Tab) usedUp(r *Receipt, microUSD int64) *llm.Error {
	e := &llm.Error{Source: llm.SourceGateway, Class: llm.ClassQuotaHard, Status: http.StatusTooManyRequests, Type: "insufficient_quota", Code: "insufficient_quota"}
	for i, short := range r.Short {
		if !short {
			continue
		}
		b, now := t.budgets[i], r.Accounts[i]
		if t.balances[i].Spent+t.balances[i].Held < b.MicroUSD { // what is left is not enough
			t.balances[i].Held = b.MicroUSD - t.balances[i].Spent
		}
		if wait := max(time.Until(b.end), time.Second); wait > e.RetryAfter { // the period may have ended meanwhile
			e.RetryAfter = wait
			e.Message = fmt.Sprintf("The budget of this %s is used up: %s USD a %s, %s spent. It begins anew at %s.", b.of, dollars(b.MicroUSD), b.Per,
				dollars(now.Spent), b.end.Format(time.RFC3339))
			if now.Spent < b.MicroUSD {
				e.Message = fmt.Sprintf("The budget of this %s has no room for the request, which may cost %s USD: %s USD a %s, %s spent, %s reserved. It begins anew at %s.", b.of,
					dollars(microUSD), dollars(b.MicroUSD), b.Per, dollars(now.Spent), dollars(now.Held), b.end.Format(time.RFC3339))
			}
		}
	}
	return e
}

// dollars writes micro-dollars with as many places as they need.
func dollars(micro int64) string {
	s := fmt.Sprintf("%d.%06d", micro/1e6, micro%1e6)
	for len(s) > 2 && s[len(s)-1] == '0' && s[len(s)-3] != '.' {
		s = s[:len(s)-1]
	}
	return s
}

// Close settles the tab: what was spent, the tokens that were used instead of the estimate, the slots. Only the first call counts.
func (t *Tab) Close(tokens int, microUSD int64) {
	t.settle(int64(tokens), microUSD, false)
}

// Cancel gives everything back, the request too: the exchange begins afresh elsewhere.
func (t *Tab) Cancel() { t.settle(0, 0, true) }

func (t *Tab) settle(tokens, microUSD int64, requests bool) {
	if t == nil || t.closed {
		return
	}
	t.closed = true
	c := &t.hold
	*c = t.charge
	c.Settle, c.Local, c.Rates, c.into = true, t.receipt.Local, t.room.settled[:0], &t.room.other
	for i, q := range t.charge.Rates {
		switch {
		case t.rates[i].tokens:
			q.Take = tokens - q.Take
		case requests:
			q.Take = -q.Take
		default:
			continue
		}
		if q.Take != 0 {
			c.Rates = append(c.Rates, q)
		}
	}
	for i := range c.Accounts {
		c.Accounts[i].Reserve, c.Accounts[i].Force, c.Accounts[i].Soft, c.Accounts[i].Spend = 0, false, false, microUSD
	}
	if c.Note != nil && c.Note.Text == "" {
		c.Note = nil
	}
	c.Patient = t.plenty && c.Note == nil
	if !c.notesOnly() || c.Note != nil {
		_, _ = t.store.Charge(context.Background(), c) // settling is never refused
	}
}

// Standing is what a client is told of one of its limits.
type Standing struct {
	Limit, Remaining int64
	Reset            time.Duration // until the whole count is there again
}

// Standing returns the limit of requests, or of tokens, that leaves the least, or that has refused; false without one.
func (t *Tab) Standing(tokens bool) (s Standing, ok bool) {
	if t == nil {
		return s, false
	}
	for i := range t.charge.Rates {
		q, ahead := &t.charge.Rates[i], t.receipt.Rates[i]
		if t.rates[i].tokens != tokens {
			continue
		}
		here := Standing{q.Limit, q.left(ahead), ahead}
		if t.receipt.Refused == i {
			return here, true
		}
		if !ok || here.Remaining < s.Remaining || here.Remaining == s.Remaining && here.Limit < s.Limit {
			s, ok = here, true
		}
	}
	return s, ok
}
