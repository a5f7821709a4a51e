package proxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers"
	"github.com/sluice-gateway/sluice/providers/openai"
	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/telemetry"
)

// Request takes the whole body (nil when the body is streamed) and decides: a plan, whose attempts the plane asks for from index 0, or a
// reply. The exchange keeps body until End.
func (x *Exchange) Request(body []byte) (*policies.Plan, *Reply) {
	if x.ep.label == feedbackPath {
		return nil, x.takeFeedback(body)
	}
	if err := x.decide(body); err != nil {
		return nil, x.refuse(err, x.mode != BodyWhole)
	}
	x.total = x.rec.Start.Add(x.timeouts().Total)
	x.sweepAt.Store(x.total.UnixNano())
	x.limit(time.Time{})
	if r := x.fromCache(); r != nil {
		return nil, r
	}
	return &x.plan, nil
}

func (x *Exchange) decide(body []byte) *llm.Error {
	x.body = body
	x.rec.BytesIn = int64(len(body))
	if x.mode == BodyWhole && int64(len(body)) > x.BodyLimit() {
		return tooLarge(x.BodyLimit())
	}
	if err := x.claimBody(int64(len(body))); err != nil {
		return err
	}
	if x.pass != nil {
		return x.decidePass()
	}
	if err := x.scan(body); err != nil {
		return err
	}
	x.rec.Stream, x.rec.MaxTokens, x.rec.Choices = x.env.Stream, x.env.MaxTokens, x.env.N
	if x.env.HasTemp {
		x.rec.Temperature = &x.env.Temperature
	}
	route, ok := x.s.Policy.Route(x.env.Model, x.key)
	if !ok {
		return UnknownModel(x.s.Policy, x.env.Model)
	}
	x.route, x.rec.Route = route, route.Name
	if limit := route.MaxTokens.Cap; limit > 0 && x.env.MaxTokens > limit {
		x.warnings = append(x.warnings, fmt.Sprintf("max_tokens lowered to %d", limit))
	}
	x.converse()
	if err := x.meter(); err != nil {
		return err
	}
	d, err := x.g.router.Decide(x.s.Policy, x.input())
	if x.decided(d); err == nil && !x.recorded() {
		err = x.reserve()
	}
	if err == nil && x.mode != BodyWhole {
		x.plan.Attempts = x.plan.Attempts[:1] // a streamed body can be sent once only
	}
	return err
}

// scan admits the body and reads the envelope. A form's envelope holds nothing but the model.
func (x *Exchange) scan(body []byte) *llm.Error {
	if x.mode == BodyForm {
		x.env = &llm.Envelope{Op: llm.OpOpaque, Model: x.form.model, N: 1}
		return nil
	}
	env, err := openai.Codec{}.Scan(x.ep.op, body)
	if err != nil {
		var e *llm.Error
		if errors.As(err, &e) {
			return e
		}
		return &llm.Error{Source: llm.SourceClient, Status: 400, Type: "invalid_request_error", Message: "The request could not be read.", Err: err}
	}
	x.env = env
	return nil
}

func (x *Exchange) input() *router.Input {
	in := &router.Input{
		Envelope: x.env,
		Path:     x.head.URL.Path,
		Method:   x.head.Method,
		Header:   x.header,
		Bytes:    len(x.body),
		Unread:   x.mode != BodyWhole && x.head.ContentLength != 0,
		Key:      x.key,
		Route:    x.route,
		Usable:   x.asUsable(),
		Pool:     x.g.asPool,
		Pace:     x.g.asPace,
		Now:      x.rec.Start,

		Conversation: x.talk,
	}
	x.budgetFacts(in)
	return in
}

// header is req.headers: values joined by ", ", and the empty string when absent.
func (x *Exchange) header(lower string) string {
	for name, values := range x.head.Header {
		if strings.EqualFold(name, lower) {
			if len(values) == 1 {
				return values[0]
			}
			return strings.Join(values, ", ")
		}
	}
	if lower == "host" {
		return x.head.URL.Host
	}
	return ""
}

func (x *Exchange) decided(d *router.Decision) {
	x.decision, x.plan = d, d.Plan
	r := &x.rec
	r.Rule, r.Class, r.Gain, r.Novelty, r.Tier, r.Reason, r.Session = d.Rule, d.Class, d.Gain, d.Novelty, d.Tier, d.Reason, d.Session
	if d.Class != "" {
		r.ClassP = slices.Max(d.ClassP[:])
		for i, why := range d.Reasons {
			r.Why[i] = telemetry.Reason{Feature: why.Feature.String(), Gain: why.Gain}
		}
	}
	r.Boundaries = d.Bounds.Names
	x.features(d)
	if len(d.Plan.Attempts) > 0 {
		r.RequestModel = d.Plan.Attempts[0].Model.Key
	}
}

// decidePass binds a passthrough path to its provider: boundaries hold there as everywhere.
func (x *Exchange) decidePass() *llm.Error {
	x.env = &llm.Envelope{Op: llm.OpOpaque, N: 1}
	x.rec.Route = "passthrough"
	if err := x.meter(); err != nil {
		return err
	}
	d, _, err := DecidePassthrough(x.g.router, x.s.Policy, x.pass, x.input(), x.g.reachable)
	x.decided(d)
	return err
}

// DecidePassthrough decides what becomes of a request to a passthrough path that pass gets. It returns the route that stands for the path.
func DecidePassthrough(r *router.Router, p *policies.Policy, pass *policies.Provider, in *router.Input, usable func(*policies.Provider) (ok bool, after time.Duration)) (*router.Decision, *policies.Route, *llm.Error) {
	in.Route = passthroughRoute
	d, err := r.DecidePassthrough(p, pass, in, usable)
	if err == nil {
		d.Plan = policies.Plan{Attempts: []policies.Attempt{{Model: &policies.Model{Provider: pass}, By: "rule"}}, Total: 1}
	}
	return d, passthroughRoute, err
}

// passthroughRoute stands for the route of paths that name no model: no rule of its own, the default limits.
var passthroughRoute = &policies.Route{Name: "passthrough", Timeouts: policies.DefaultTimeouts(), Attempts: policies.AttemptLimits{PerModel: 1, Total: 1}}

// ruling is the route in force, or what stands for one.
func (x *Exchange) ruling() *policies.Route {
	if x.route != nil {
		return x.route
	}
	return passthroughRoute
}

func (x *Exchange) timeouts() policies.Timeouts { return x.ruling().Timeouts }

// edits are the named changes of a body that goes to a model of the same dialect.
func (x *Exchange) edits(a *attempt) openai.Edits {
	ed := openai.Edits{Model: a.plan.Model.Name}
	if !x.env.Op.Generates() {
		return ed
	}
	traits := providers.TraitsOf(a.provider)
	ed.MaxTokensField = traits.MaxTokensField
	ed.MaxTokensDefault, ed.MaxTokensCap = x.route.MaxTokens.Default, x.route.MaxTokens.Cap
	if a.fold {
		stream := true
		ed.Stream = &stream
	}
	ed.AskUsage = (a.fold || x.env.Stream) && !traits.NoStreamUsage
	ed.Begun = x.begun(a)
	return ed
}

// folds reports whether the attempt asks for a stream and folds it: an engine that runs on after a hang-up is freed only by a dropped stream.
func (x *Exchange) folds(m *policies.Model) bool {
	return x.env.Op.Generates() && !x.env.Stream && x.env.Unfoldable == "" && providers.EngineOf(m.Provider).RunsOnAfterHangup
}
