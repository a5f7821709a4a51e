package tenants

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Store is the state of limits, budgets and keys that outlives a policy: of one node, or of all that share it. It is safe for concurrent use.
type Store interface {
	// Charge moves rates, slots and accounts in one trip. The error is ErrUnavailable where the policy refuses what cannot be counted.
	Charge(ctx context.Context, c *Charge) (*Receipt, error)
	// Register returns what is registered of keys; nil without an error means that it is the version already known.
	Register(ctx context.Context, known string) (*Register, error)
	// Amend changes the register. edit may be called more than once; its error is returned and changes nothing.
	Amend(ctx context.Context, edit func(*Register) error) error
}

// ErrUnavailable is the error of a store that is away where nothing may be done without it.
var ErrUnavailable = errors.New("the state of limits and budgets is not available")

// Charge is what one exchange does to the state in one trip. Either all of it happens or, when anything of it is refused, nothing.
type Charge struct {
	ID       string        // of the exchange: what it holds is under this name
	Hold     time.Duration // how long it holds that, should it never settle
	Settle   bool          // give back slots and reservations; nothing is refused any more
	Later    bool          // nobody waits for it
	Patient  bool          // with Later or Settle: there is plenty of all that it gives back, and it may wait a little for others
	Ahead    bool          // it may be one that was made ahead: its ID and all that it takes are then that one's
	Local    bool          // with Settle: what the receipt of the limits said
	Rates    []RateCharge
	Slots    []SlotCharge
	Accounts []AccountCharge
	Note     *Note // nil = none

	into *receiptRoom // of whoever asks, for what he is answered; nil = he has none
}

// Note is what gateways that share a store tell each other of a conversation, beside a charge and in its trip. A store of one node has none.
type Note struct {
	Key   string
	Known bool              // it is read where there is a trip anyway, and not waited for where there is none
	Text  string            // what is left with a settlement: a number, then anything. A text whose number is not larger than the store's changes nothing
	Keep  time.Duration     // how long it stays
	Told  func(text string) // called with what is there then, "" = nothing: before Charge returns, or in the background with Settle
}

// notesOnly reports whether there is nothing to charge.
func (c *Charge) notesOnly() bool { return len(c.Rates)+len(c.Slots)+len(c.Accounts) == 0 }

// clone is a charge that shares nothing with c but the note.
func (c *Charge) clone() *Charge {
	own := *c
	own.into = nil
	own.Rates, own.Slots, own.Accounts = slices.Clone(c.Rates), slices.Clone(c.Slots), slices.Clone(c.Accounts)
	return &own
}

// uses are the uses of the shared state that the charge has.
func (c *Charge) uses() []string {
	switch limits, money := len(c.Rates)+len(c.Slots) > 0, len(c.Accounts) > 0; {
	case limits && money:
		return []string{UseLimits, UseBudget}
	case money:
		return []string{UseBudget}
	case limits:
		return []string{UseLimits}
	}
	return []string{UseSessions}
}

// RateCharge takes from a rate, or gives back where Take is negative.
type RateCharge struct {
	Key    string // the rate's name, a slash, and whose it is
	Limit  int64
	Window time.Duration
	Take   int64
}

// SlotCharge takes one of a number of slots.
type SlotCharge struct {
	Key   string // whose they are
	Limit int64
}

// AccountCharge reads an account and reserves, or settles, on it.
type AccountCharge struct {
	Key     string
	Limit   int64     // micro-dollars a period
	Reserve int64     // micro-dollars to hold, in place of what the exchange holds; 0 is never refused
	Force   bool      // hold it whatever the balance is
	Soft    bool      // hold it where every account has room for many times as much; else hold nothing, and refuse nothing
	Lower   int64     // hold what is to be held instead of exactly this much; where the exchange holds something else by now, nothing changes
	Spend   int64     // micro-dollars spent, with Settle
	Floor   int64     // what is known to be spent at least, by whoever asks
	End     time.Time // of the period
}

// Receipt is the state after a charge.
type Receipt struct {
	Refused  int             // which of the rates, then of the slots, refused; -1 = none
	Short    []bool          // by account: it cannot hold the reservation
	Soft     bool            // what was to be held softly is held
	Rates    []time.Duration // by rate: how far it is used ahead of time; the rate's window = all of it
	Slots    []int64         // by slot: how many are taken
	Accounts []Balance       // by account
	// Local says that the limits were not taken from the shared store, BudgetErr why the balances are not those of all nodes.
	Local     bool
	BudgetErr error
}

// roomy is how many times a soft reservation must fit into what an account has left: it may be larger than what the exchange turns out to need, and must not
// keep others from what there is.
const roomy = 100

// Balance is an account's state, in micro-dollars.
type Balance struct{ Spent, Held int64 }

// short reports whether any account is.
func (r *Receipt) short() bool {
	for _, s := range r.Short {
		if s {
			return true
		}
	}
	return false
}

// maxLevels is how many may have limits and a budget in one exchange: a tenant, a key, a route.
const maxLevels = 3

// receiptRoom is a receipt with room for all that an exchange can be charged.
type receiptRoom struct {
	Receipt
	short    [maxLevels]bool
	rates    [2 * maxLevels]time.Duration
	slots    [maxLevels]int64
	accounts [maxLevels]Balance
}

// newReceipt returns the receipt of a charge that nothing has refused, in the charge's room for it if it has one.
func newReceipt(c *Charge) *Receipt {
	of := c.into
	if of == nil {
		of = new(receiptRoom)
	}
	*of = receiptRoom{Receipt: Receipt{Refused: -1}}
	r := &of.Receipt
	r.Short, r.Rates = slices.Grow(of.short[:0], len(c.Accounts))[:len(c.Accounts)], slices.Grow(of.rates[:0], len(c.Rates))[:len(c.Rates)]
	r.Slots, r.Accounts = slices.Grow(of.slots[:0], len(c.Slots))[:len(c.Slots)], slices.Grow(of.accounts[:0], len(c.Accounts))[:len(c.Accounts)]
	return r
}

// cost is how much of the window a count takes. Rounding down lets the full count through at once; with 10,000 a minute or
// less it is not one more.
func (r *RateCharge) cost() time.Duration {
	micros := float64(r.Take) * float64(r.Window.Microseconds()) / float64(r.Limit)
	return time.Duration(max(-longestCost, min(micros, longestCost))) * time.Microsecond
}

// longestCost is in microseconds: a hundred years, which no window has, and every clock and the script can count.
const longestCost = 100 * 365 * 24 * 3600 * 1e6

// left is how many are left of a rate that is used so far ahead of time.
func (r *RateCharge) left(ahead time.Duration) int64 {
	free := r.Window - ahead
	if free <= 0 {
		return 0
	}
	return int64(float64(free.Microseconds()) * float64(r.Limit) / float64(r.Window.Microseconds()))
}

// wait is how long until the count can be taken.
func (r *RateCharge) wait(ahead time.Duration) time.Duration {
	return max(ahead+min(r.cost(), r.Window)-r.Window, time.Millisecond)
}
