package tenants

import (
	"crypto/rand"
	"math/bits"
	"slices"
	"strconv"
	"time"
)

// shelf holds charges that were made ahead, for exchanges of one kind: whoever is next takes one and waits for no trip. A spare is a charge like any other, so that
// nothing is ever let through that the store has not granted; one that nobody takes is given back. There are spares only where there is plenty.
type shelf struct {
	ready   []*spare // oldest first
	ordered int      // on their way
	asked   time.Time
}

// spare is a charge that was made ahead.
type spare struct {
	*Charge
	receipt *Receipt
	made    time.Time
}

const (
	// spareLife is how long a spare can be taken: what it says of limits and budgets is no older.
	spareLife = time.Second
	// spareShare is the share of a limit, and of what is left of a budget, that the spares of one kind may take at a gateway.
	spareShare = 100
	// maxSpares bounds the spares of one kind.
	maxSpares = 32
	// keepShelf is how long a shelf stays that nobody asks.
	keepShelf = time.Minute
)

// shape names a kind of charge: those that touch the same limits and budgets.
func (c *Charge) shape() string {
	b := make([]byte, 0, 256)
	add := func(key string, numbers ...int64) {
		b = append(append(b, key...), 0)
		for _, n := range numbers {
			b = append(strconv.AppendInt(b, n, 36), ' ')
		}
	}
	for i := range c.Rates {
		add(c.Rates[i].Key, c.Rates[i].Limit, int64(c.Rates[i].Window))
	}
	for _, q := range c.Slots {
		add(q.Key, q.Limit)
	}
	for i := range c.Accounts {
		add(c.Accounts[i].Key, c.Accounts[i].Limit)
	}
	return string(b)
}

// ahead reports whether a charge may be one that was made ahead, and has others made: what it holds of budgets need not be held exactly, and it does not have to
// learn anything of its conversation.
func (c *Charge) ahead() bool {
	return c.Ahead && !c.notesOnly() && (c.Note == nil || c.Note.Known) && !slices.ContainsFunc(c.Accounts, func(q AccountCharge) bool { return !q.Soft })
}

// fits reports whether the spare takes at least what the charge wants.
func (p *spare) fits(c *Charge, now time.Time) bool {
	if age := now.Sub(p.made); age > spareLife || p.Hold-age < c.Hold {
		return false
	}
	for i := range c.Rates {
		if p.Rates[i].Take < c.Rates[i].Take {
			return false
		}
	}
	for i := range c.Accounts {
		if p.Accounts[i].Reserve < c.Accounts[i].Reserve {
			return false
		}
	}
	return true
}

// take makes the charge a spare that fits, if there is one, and orders the next. busy says that spares would be used: another charge of this kind was made no longer
// ago than one lives.
func (s *Shared) take(c *Charge, shape string) (r *Receipt, busy bool) {
	p, busy := s.spareFor(c, shape)
	if p == nil {
		return nil, busy
	}
	s.order(c, shape, p.receipt, 1)
	c.ID = p.ID
	for i := range c.Rates {
		c.Rates[i].Take = p.Rates[i].Take
	}
	for i := range c.Accounts {
		c.Accounts[i].Reserve = p.Accounts[i].Reserve
	}
	return p.receipt, true
}

func (s *Shared) spareFor(c *Charge, shape string) (p *spare, busy bool) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.shelves[shape]
	if from == nil {
		s.shelves[shape] = &shelf{asked: now}
		return nil, false
	}
	busy, from.asked = now.Sub(from.asked) < spareLife, now
	at := slices.IndexFunc(from.ready, func(p *spare) bool { return p.fits(c, now) })
	if at < 0 {
		return nil, busy
	}
	p = from.ready[at]
	from.ready = slices.Delete(from.ready, at, at+1)
	return p, true
}

// order has up to n spares made after a charge that left plenty.
func (s *Shared) order(c *Charge, shape string, r *Receipt, n int) {
	if !c.plenty(r) {
		return
	}
	like := Charge{Hold: c.Hold + spareLife, Later: true, Patient: true, Slots: slices.Clone(c.Slots)}
	for _, q := range c.Rates {
		if q.Take > 1 {
			q.Take = roundUp(q.Take)
		}
		like.Rates = append(like.Rates, q)
	}
	for _, q := range c.Accounts {
		q.Reserve = roundUp(q.Reserve)
		like.Accounts = append(like.Accounts, q)
	}
	room := like.room(r)
	if room <= 0 {
		return
	}
	s.mu.Lock()
	to := s.shelves[shape]
	if to == nil {
		to = &shelf{asked: time.Now()}
		s.shelves[shape] = to
	}
	n = min(n, room-len(to.ready)-to.ordered)
	for range n {
		p := like
		p.ID, p.Accounts = rand.Text(), slices.Clone(like.Accounts)
		to.ordered++
		s.push(&debt{Charge: &p, shelf: to})
	}
	s.mu.Unlock()
	if n > 0 {
		call(s.wake)
	}
}

// room is how many charges of this kind there may be ahead.
func (c *Charge) room(r *Receipt) int {
	n := int64(maxSpares)
	for i := range c.Rates {
		if take := c.Rates[i].Take; take > 0 {
			n = min(n, c.Rates[i].Limit/spareShare/take)
		}
	}
	for i := range c.Slots {
		n = min(n, c.Slots[i].Limit/spareShare)
	}
	for i := range c.Accounts {
		if q := &c.Accounts[i]; q.Reserve > 0 {
			n = min(n, (q.Limit-r.Accounts[i].Spent-r.Accounts[i].Held)/spareShare/q.Reserve)
		}
	}
	return int(n)
}

// roundUp is the next power of two: a spare fits whoever needs a little more than the one before.
func roundUp(n int64) int64 {
	if n <= 1 {
		return n
	}
	return 1 << bits.Len64(uint64(n-1))
}

// plenty reports whether half of every limit is left after a charge, and of every budget as much as a soft reservation wants: nobody waits for what it gives back.
func (c *Charge) plenty(r *Receipt) bool {
	for i := range c.Rates {
		if 2*r.Rates[i] > c.Rates[i].Window {
			return false
		}
	}
	for i := range c.Slots {
		if 2*r.Slots[i] > c.Slots[i].Limit {
			return false
		}
	}
	return r.Refused < 0 && (r.Soft || len(c.Accounts) == 0)
}

// noOrders drops what is ordered and not yet sent.
func (s *Shared) noOrders() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owed = slices.DeleteFunc(s.owed, func(d *debt) bool { return d.shelf != nil })
}

// shelve keeps a spare that the store has made; one that it made of what is no longer plenty goes back.
func (s *Shared) shelve(d *debt, r *Receipt) {
	keep := d.plenty(r)
	s.mu.Lock()
	d.shelf.ordered--
	if keep {
		d.shelf.ready = append(d.shelf.ready, &spare{d.Charge, r, time.Now()})
	}
	s.mu.Unlock()
	if !keep && r.Refused < 0 {
		s.owe(d.cancel())
	}
}

// cancel gives back all that a charge took.
func (c *Charge) cancel() *Charge {
	back := &Charge{ID: c.ID, Settle: true, Patient: true, Slots: c.Slots}
	for _, q := range c.Rates {
		q.Take = -q.Take
		back.Rates = append(back.Rates, q)
	}
	for _, q := range c.Accounts {
		q.Reserve, q.Soft = 0, false
		back.Accounts = append(back.Accounts, q)
	}
	return back
}

// unmade gives back what a charge holds that the store may have made and has not told of, or not. Its rates are not given back: they recover by themselves.
func (c *Charge) unmade() *Charge {
	back := c.cancel()
	back.Rates = nil
	return back
}

// clear gives back the spares that are older than life; 0 = all.
func (s *Shared) clear(life time.Duration) {
	now := time.Now()
	var old []*spare
	s.mu.Lock()
	for shape, shelf := range s.shelves {
		for len(shelf.ready) > 0 && (life == 0 || now.Sub(shelf.ready[0].made) >= life) {
			old, shelf.ready = append(old, shelf.ready[0]), shelf.ready[1:]
		}
		if len(shelf.ready) == 0 && now.Sub(shelf.asked) >= keepShelf {
			delete(s.shelves, shape)
		}
	}
	s.mu.Unlock()
	for _, p := range old {
		s.owe(p.cancel())
	}
}
