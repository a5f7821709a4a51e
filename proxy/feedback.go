package proxy

import (
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/sluice-gateway/sluice/feedback"
	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/router"
)

const feedbackPath = "/v1/feedback"

// maxJudgement bounds the body of a judgement, in bytes.
const maxJudgement = 16 << 10

// outcomes is the gateway's side of feedback: what may still be judged, and where records go.
type outcomes struct {
	memory *feedback.Memory
	seed   maphash.Seed
	write  func(feedback.Record)
}

func newOutcomes(write func(feedback.Record)) *outcomes {
	if write == nil {
		return nil
	}
	return &outcomes{memory: feedback.NewMemory(feedback.Remembered), seed: maphash.MakeSeed(), write: write}
}

// keepsOutcomes reports whether the exchange's policy asks for labelled records and there is somewhere to write them.
func (x *Exchange) keepsOutcomes() bool { return x.s.Policy.Feedback && x.g.outcomes != nil }

// asker names who may judge what the exchange's client asks.
func (x *Exchange) asker() string { return x.rec.Tenant + "\x00" + x.rec.Key }

// features keeps what a label will need of a decision: an exchange that an external proxy carries forgets the rest.
func (x *Exchange) features(d *router.Decision) {
	if !x.keepsOutcomes() || d.Class == "" || len(x.s.Policy.Tiers) < 2 {
		return
	}
	f := &d.Facts.Req
	words := uint64(0)
	if text := d.Content.Prompt.Text; text != "" && !x.env.ToolTurn { // a tool's result comes with words that were answered before
		words = max(maphash.String(x.g.outcomes.seed, text), 1)
	}
	x.outcome = &feedback.Exchange{
		ID: x.id, Owner: x.asker(), Words: words, Last: len(x.s.Policy.Tiers) - 1,
		Facts: feedback.Facts{
			Route: x.rec.Route, Rule: d.Rule, Class: d.Class, ClassP: classP(d), Gain: d.Gain, Novelty: d.Novelty, Classifier: router.ClassifierID(),
			Tokens: f.Tokens, Turns: f.Turns, Tools: f.Tools, Images: f.Images, JSON: f.JSON, Language: f.Language.String(),
		},
	}
}

// keepOutcome remembers an answered exchange, so that it can be judged, and writes what its signs say.
func (x *Exchange) keepOutcome() {
	e, r := x.outcome, &x.rec
	if e == nil || r.Outcome != "ok" {
		return
	}
	e.At, e.Bad = r.End, x.noUse() && x.sparedAt == nil
	for i := range r.Attempts { // an answer that was thrown away is a sign of its own, also if it was sent after all
		if a := &r.Attempts[i]; a.Escalated != "" {
			thrown := *e
			thrown.Rank, thrown.Tier, thrown.Model = x.s.Policy.Rank(a.Tier), a.Tier, a.Model
			x.g.outcomes.write(thrown.Sign(feedback.InvalidOutput, r.End))
		}
	}
	if e.Rank, e.Tier, e.Model = x.s.Policy.Rank(r.Tier), r.Tier, r.Model; e.Rank < 0 {
		return
	}
	for _, sign := range x.g.outcomes.memory.Saw(e) {
		x.g.outcomes.write(sign)
	}
}

// noUse reports an answer that ended by its length although the client had set none.
func (x *Exchange) noUse() bool {
	return x.env.MaxTokens == 0 && slices.Contains(x.rec.Finish, "length")
}

func classP(d *router.Decision) map[string]float64 {
	p := make(map[string]float64, len(router.Classes))
	for i, name := range router.Classes {
		p[name] = math.Round(d.ClassP[i]*1e4) / 1e4
	}
	return p
}

// takeFeedback answers POST /v1/feedback: {"request_id", "score", "expected_tier"}.
func (x *Exchange) takeFeedback(body []byte) *Reply {
	if len(body) > maxJudgement {
		return x.refuse(tooLarge(maxJudgement), false)
	}
	id, j, err := readJudgement(body, x.s.Policy)
	if err != nil {
		return x.refuse(err, false)
	}
	r, unknown := x.g.outcomes.memory.Judge(id, x.asker(), j, time.Now())
	if unknown != nil {
		return x.refuse(&llm.Error{Source: llm.SourceClient, Status: 404, Type: "invalid_request_error", Code: "unknown_request", Param: "request_id",
			Message: "No exchange of this key with that id can be judged: it is unknown, was not routed by a classifier, or is older than a day."}, false)
	}
	x.g.outcomes.write(r)
	answer := jsonedit.AppendString([]byte(`{"object":"feedback","request_id":`), id)
	return x.reply(200, append(answer, `,"recorded":true}`...))
}

// readJudgement reads the body of a judgement. Unknown members are errors: a misspelled one would be lost.
func readJudgement(body []byte, p *policies.Policy) (id string, j feedback.Judgement, err *llm.Error) {
	doc, bad := jsonedit.Admit(body, 4)
	if bad != nil {
		return "", j, invalidFeedback("", bad.Error())
	}
	doc.EachMember(func(key string, v jsonedit.Value) bool {
		switch key {
		case "request_id":
			if id = v.String(); v.Kind() != jsonedit.String || id == "" {
				err = invalidFeedback(key, `"request_id" is the x-sluice-request-id of an answer`)
			}
		case "score":
			score, perr := strconv.ParseFloat(v.Raw(), 64)
			if v.Kind() != jsonedit.Number || perr != nil || !(score >= 0 && score <= 1) {
				err = invalidFeedback(key, `"score" is a number from 0 (wrong) to 1 (right)`)
			}
			j.Score = &score
		case "expected_tier":
			j.ExpectedTier = v.String()
			if j.ExpectedRank = p.Rank(j.ExpectedTier); v.Kind() != jsonedit.String || j.ExpectedRank < 0 {
				err = invalidFeedback(key, fmt.Sprintf(`"expected_tier" is one of the policy's tiers: %s`, p.TierNames()))
			}
		default:
			err = invalidFeedback("", `a judgement has "request_id" and "score" or "expected_tier", and nothing else`)
		}
		return err == nil
	})
	switch {
	case err != nil:
	case id == "":
		err = invalidFeedback("request_id", `"request_id" is missing: it is the x-sluice-request-id of an answer`)
	case j.Score == nil && j.ExpectedTier == "":
		err = invalidFeedback("score", `"score" or "expected_tier" is missing`)
	}
	return id, j, err
}

func invalidFeedback(param, message string) *llm.Error {
	return &llm.Error{Source: llm.SourceClient, Status: 400, Type: "invalid_request_error", Code: "invalid_request_error", Param: param, Message: message}
}
