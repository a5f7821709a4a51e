package proxy

import (
	"time"

	"github.com/sluice-gateway/sluice/tenants"
)

// converse prepares what gateways that share a store tell each other of the exchange's conversation; without such a store there is nothing to tell. What
// another one remembers is then known before the decision.
func (x *Exchange) converse() {
	r := x.g.router
	if !r.Shares(x.route) {
		return
	}
	c := r.Conversation(x.input())
	if c == nil {
		return
	}
	x.talk = c
	x.note = &tenants.Note{Key: c.Name, Known: c.Known || !c.Begun, Keep: c.Sticky, Told: func(memory string) { r.Learn(c, memory, time.Now()) }}
}

// remember lets the session keep the model that answered.
func (x *Exchange) remember(a *attempt) {
	if x.decision == nil || x.route == nil || !x.env.Op.Generates() {
		return
	}
	memory := x.g.router.Remember(x.decision, a.plan.Model, time.Now())
	if x.note != nil {
		x.note.Text = memory
	}
}
