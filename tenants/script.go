package tenants

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/internal/redis"
)

//go:embed charge.lua
var chargeSource string

var chargeScript = redis.NewScript(chargeSource)

// charge runs the script for somebody who waits for it.
func charge(ctx context.Context, cmd redis.Commands, c *Charge) (*Receipt, error) {
	call := scriptCall(c, "", 0)
	said, err := chargeScript.Run(ctx, cmd, call.Keys, call.Args...).Slice()
	if err != nil {
		return nil, err
	}
	return read(c, said)
}

// scriptCall is a charge as the script takes it. gateway and number are those of a settlement.
func scriptCall(c *Charge, gateway string, number int64) redis.Call {
	levels := c.levels()
	keys := make([]string, 0, len(levels)+len(c.Accounts)+1)
	args := make([]any, 0, 8+2*len(levels)+3*len(c.Rates)+6*len(c.Accounts)+2)
	args = append(args, "slot:"+c.ID, "hold:"+c.ID, "from:"+gateway, c.Hold.Milliseconds(), flag(c.Settle), number, len(levels), len(c.Accounts))
	for _, l := range levels {
		keys, args = append(keys, redis.Prefix+"limits:"+l.key), append(args, l.slots, len(l.rates))
		for i := range l.rates {
			name, _, _ := strings.Cut(l.rates[i].Key, "/")
			args = append(args, name)
		}
		for i := range l.rates {
			args = append(args, l.rates[i].cost().Microseconds(), l.rates[i].Window.Microseconds())
		}
	}
	for i := range c.Accounts {
		q := &c.Accounts[i]
		keep := int64(max(time.Until(q.End), 0)/time.Second) + int64(keepEnded/time.Second)
		keys, args = append(keys, redis.Prefix+"budget:"+q.Key), append(args, q.Limit, q.Reserve, q.force(), q.Spend+q.Lower, q.Floor, keep)
	}
	if c.Note != nil {
		keys, args = append(keys, redis.Prefix+"session:"+c.Note.Key), append(args, c.Note.Text, c.Note.Keep.Milliseconds())
	}
	return redis.Call{Keys: keys, Args: args}
}

// levelCharge is what a charge has of the limits of one level, which one key keeps.
type levelCharge struct {
	key   string
	rates []RateCharge
	slots int64 // the limit of its slots; -1 = it has none
}

// levels are the charge's rates and slots by their levels, both in their order.
func (c *Charge) levels() []levelCharge {
	out := make([]levelCharge, 0, len(c.Rates)+len(c.Slots))
	slots := c.Slots
	for rates := c.Rates; len(rates) > 0; {
		l := levelCharge{key: rates[0].level(), slots: -1}
		n := 1
		for n < len(rates) && rates[n].level() == l.key {
			n++
		}
		l.rates, rates = rates[:n], rates[n:]
		for len(slots) > 0 && slots[0].Key != l.key && !hasLevel(rates, slots[0].Key) {
			out, slots = append(out, levelCharge{key: slots[0].Key, slots: slots[0].Limit}), slots[1:]
		}
		if len(slots) > 0 && slots[0].Key == l.key {
			l.slots, slots = slots[0].Limit, slots[1:]
		}
		out = append(out, l)
	}
	for _, q := range slots {
		out = append(out, levelCharge{key: q.Key, slots: q.Limit})
	}
	return out
}

func hasLevel(rates []RateCharge, key string) bool {
	for i := range rates {
		if rates[i].level() == key {
			return true
		}
	}
	return false
}

// level is whose rate it is: its key without the rate's name.
func (r *RateCharge) level() string {
	_, of, _ := strings.Cut(r.Key, "/")
	return of
}

// force is how the script is told what kind of reservation it is.
func (q *AccountCharge) force() string {
	switch {
	case q.Soft:
		return "2"
	case q.Lower > 0:
		return "3"
	}
	return flag(q.Force)
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// read makes a receipt of what the script said.
func read(c *Charge, said []any) (*Receipt, error) {
	n := 1 + len(c.Rates) + len(c.Slots) + 3*len(c.Accounts)
	note := ""
	if c.Note != nil && len(said) == n+1 {
		note, _ = said[n].(string)
		said = said[:n]
	}
	if len(said) != n {
		return nil, fmt.Errorf("the script answered %d values", len(said))
	}
	out := make([]int64, n)
	for i, v := range said {
		number, ok := v.(int64)
		if !ok {
			return nil, fmt.Errorf("the script answered %T", v)
		}
		out[i] = number
	}
	if c.Note != nil {
		c.Note.Told(note)
	}
	r := newReceipt(c)
	r.Refused, out = int(out[0]), out[1:]
	rates, slots := r.Rates, r.Slots
	for _, l := range c.levels() {
		for i := range l.rates {
			rates[i] = time.Duration(out[i]) * time.Microsecond
		}
		rates, out = rates[len(l.rates):], out[len(l.rates):]
		if l.slots >= 0 {
			slots[0], slots, out = out[0], slots[1:], out[1:]
		}
	}
	for i := range c.Accounts {
		r.Accounts[i], r.Short[i] = Balance{out[3*i], out[3*i+1]}, out[3*i+2] == 1
		r.Soft = r.Soft || out[3*i+2] == 2
	}
	return r, nil
}
