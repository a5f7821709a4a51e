package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/router"
)

// explainCmd is `sluice explain`.
type explainCmd struct {
	Config string            `help:"Policy file." required:"" placeholder:"FILE"`
	JSON   bool              `help:"Print JSON instead of text."`
	Facts  string            `help:"JSON file of what the request itself cannot tell: the state of pools, sessions and budgets (see above)." placeholder:"FILE"`
	Header map[string]string `help:"Request header; may be repeated." short:"H" placeholder:"NAME=VALUE" mapsep:"none"`
	Key    string            `help:"Ask as this key of the policy." placeholder:"TENANT/ID"`
	Path   string            `help:"Path of the request." default:"/v1/chat/completions"`
}

// Help is what --help says beyond the flags.
func (c *explainCmd) Help() string {
	return `Reads a request body from standard input and prints its facts, every boundary and rule with the values it saw, the decision and the plan. Nobody is called: pools count as healthy, there is no session and no budget unless --facts says so.

  echo '{"model":"auto","messages":[{"role":"user","content":"hi"}]}' | sluice explain --config policy.yaml

The file of --facts holds any of these, in one object: budget (used, exhausted), session (id, turns, model, tool_turn), pools by name (inflight, tokens, waiting, endpoints, healthy, saturated), down (models that cannot be asked) and now (RFC 3339):

  {"budget": {"used": 0.95}, "pools": {"pool": {"inflight": 60, "saturated": true}}, "session": {"model": "gpt", "tool_turn": true}, "down": ["gemma-small"]}`
}

// maxRequest bounds what is read from standard input, in bytes: as much as a gateway takes by default.
const maxRequest = 32 << 20

// Run explains the request on standard input.
func (c *explainCmd) Run(w *world) error {
	p, err := policies.Load(c.Config, w.options(true))
	if err != nil {
		return w.refused(err)
	}
	q := question{path: c.Path, header: map[string]string{}, trace: true}
	for name, value := range c.Header {
		q.header[strings.ToLower(name)] = value
	}
	if c.Facts != "" {
		if q.given, err = readFacts(c.Facts); err != nil {
			return err
		}
		q.now = q.given.Now
	}
	if c.Key != "" {
		if q.key, err = declaredKey(p, c.Key); err != nil {
			return err
		}
	}
	if q.body, err = io.ReadAll(io.LimitReader(w.stdin, maxRequest+1)); err != nil {
		return err
	}
	if len(q.body) > maxRequest {
		return fmt.Errorf("the request is larger than %d bytes", maxRequest)
	}
	d, route, err := q.ask(p, router.New(router.Options{}))
	if d == nil {
		return err
	}
	e := explain(d, route, err)
	e.Cache = cached(d, route, q.env)
	if d.Class != "" {
		for _, f := range router.NewTrained().Why(d.Content.Prompt, topFeatures) {
			e.Decision.Features = append(e.Decision.Features, feature{f.Feature, f.Gain})
		}
	}
	if c.JSON {
		enc := json.NewEncoder(w.stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(e)
	}
	_, err = io.WriteString(w.stdout, e.text())
	return err
}

// declaredKey finds TENANT/ID in the policy.
func declaredKey(p *policies.Policy, name string) (*policies.Key, error) {
	tenant, id, _ := strings.Cut(name, "/")
	if t := p.Tenants[tenant]; t != nil {
		for _, k := range t.Keys {
			if k.ID == id {
				return k, nil
			}
		}
	}
	return nil, fmt.Errorf("the policy declares no key %q (write tenant/id)", name)
}

// givenFacts are facts that a request cannot tell by itself.
type givenFacts struct {
	Budget *struct {
		Used      float64 `json:"used"`
		Exhausted bool    `json:"exhausted"`
	} `json:"budget"`
	Session *struct {
		ID       string `json:"id"`
		Turns    int    `json:"turns"`
		Model    string `json:"model"`
		ToolTurn bool   `json:"tool_turn"`
	} `json:"session"`
	Pools map[string]struct {
		Inflight  int  `json:"inflight"`
		Tokens    int  `json:"tokens"`
		Waiting   int  `json:"waiting"`
		Endpoints int  `json:"endpoints"`
		Healthy   int  `json:"healthy"`
		Saturated bool `json:"saturated"`
	} `json:"pools"`
	Down []string  `json:"down"` // models that cannot be asked
	Now  time.Time `json:"now"`
}

func readFacts(path string) (givenFacts, error) {
	var g givenFacts
	f, err := os.Open(path)
	if err != nil {
		return g, err
	}
	defer f.Close()
	dec := json.NewDecoder(f)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&g); err != nil {
		return g, fmt.Errorf("%s: %w", path, err)
	}
	return g, nil
}

// fill puts the facts into the router's input.
func (g *givenFacts) fill(in *router.Input) {
	if g.Budget != nil {
		in.Budget = policies.BudgetFacts{Used: g.Budget.Used, Exhausted: g.Budget.Exhausted}
	}
	in.Session = &policies.SessionFacts{ToolTurn: in.Envelope.ToolTurn}
	if s := g.Session; s != nil {
		in.Session = &policies.SessionFacts{ID: s.ID, Known: s.Model != "", Turns: s.Turns, Model: s.Model, ToolTurn: s.ToolTurn || in.Envelope.ToolTurn}
	}
	in.Pool = func(name string) policies.PoolFacts { return policies.PoolFacts(g.Pools[name]) }
	in.Usable = func(m *policies.Model) (bool, string, time.Duration) {
		for _, down := range g.Down {
			if down == m.Key {
				return false, "it is down by --facts", 0
			}
		}
		return true, "", 0
	}
}

// explanation is what `explain --json` prints.
type explanation struct {
	Request    requestFacts        `json:"request"`
	Boundaries []policies.Trace    `json:"boundaries"`
	Rules      []policies.Trace    `json:"rules"`
	Decision   decisionFacts       `json:"decision"`
	Plan       []planned           `json:"plan"`
	Rejected   []policies.Rejected `json:"rejected"`
	Carrier    string              `json:"carrier"`
	CarrierWhy string              `json:"carrier_why"`
	Cache      *cacheFacts         `json:"cache"` // null: the route keeps no answers
	Problems   []problemFacts      `json:"problems"`
}

type requestFacts struct {
	Route     string `json:"route"`
	Model     string `json:"model"`
	Path      string `json:"path"`
	Op        string `json:"op"`
	Bytes     int    `json:"bytes"`
	Tokens    int    `json:"tokens"`
	MaxTokens int    `json:"max_tokens"`
	Turns     int    `json:"turns"`
	Messages  int    `json:"messages"`
	Tools     int    `json:"tools"`
	Images    int    `json:"images"`
	Audio     int    `json:"audio"`
	Files     int    `json:"files"`
	N         int    `json:"n"`
	Stream    bool   `json:"stream"`
	JSON      bool   `json:"json"`
	Logprobs  bool   `json:"logprobs"`
	Language  string `json:"language"`
	Tenant    string `json:"tenant,omitempty"`
	Key       string `json:"key,omitempty"`
}

type decisionFacts struct {
	Rule    string             `json:"rule"`
	Class   string             `json:"class"`
	ClassP  map[string]float64 `json:"class_p,omitempty"`
	Gain    float64            `json:"gain"`
	Novelty float64            `json:"novelty"`
	Tier    string             `json:"tier"`
	Reason  string             `json:"reason"`
	Session bool               `json:"session"`
	ByGain  *choiceFacts       `json:"by_gain,omitempty"`
	// Features say most of the gain, the largest first.
	Features []feature `json:"features,omitempty"`
}

// topFeatures is how many features of a gain are named.
const topFeatures = 5

type feature struct {
	Feature string  `json:"feature"`
	Gain    float64 `json:"gain"`
}

// choiceFacts are how by_gain chose between two tiers. Money is in USD an answer.
type choiceFacts struct {
	By           string   `json:"by"` // above, calibration, value or preference
	Threshold    *float64 `json:"threshold,omitempty"`
	RunnerUp     string   `json:"runner_up"`
	QualityValue float64  `json:"quality_value,omitempty"`
	Worth        *float64 `json:"worth,omitempty"`
	Extra        *float64 `json:"extra_price,omitempty"`
	Slower       *float64 `json:"latency_price,omitempty"`
	Unpriced     string   `json:"unpriced,omitempty"`
	MaxRegret    float64  `json:"max_regret,omitempty"`
	Bound        float64  `json:"bound,omitempty"`
	Confidence   float64  `json:"confidence,omitempty"`
	Uncalibrated string   `json:"uncalibrated,omitempty"`
	Why          string   `json:"why"`
}

type planned struct {
	Model    string `json:"model"`
	Provider string `json:"provider"`
	Tier     string `json:"tier"`
	By       string `json:"by"`
	Attempts int    `json:"attempts"` // of this model, one after the other
}

type problemFacts struct {
	Status  int    `json:"status"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// explain renders a decision. refusal is the error that was decided, nil when there is a plan.
func explain(d *router.Decision, route *policies.Route, refusal error) *explanation {
	f := &d.Facts
	r := &f.Req
	e := &explanation{
		Request: requestFacts{Route: route.Name, Model: r.Model, Path: r.Path, Op: r.Op, Bytes: r.Bytes, Tokens: r.Tokens, MaxTokens: r.MaxTokens, Turns: r.Turns, Messages: r.Messages, Tools: r.Tools,
			Images: r.Images, Audio: r.Audio, Files: r.Files, N: r.N, Stream: r.Stream, JSON: r.JSON, Logprobs: r.Logprobs, Language: r.Language.String(), Tenant: f.Key.Tenant, Key: f.Key.ID},
		Boundaries: append([]policies.Trace{}, d.Boundaries...),
		Rules:      append([]policies.Trace{}, d.Rules...),
		Decision:   decisionFacts{Rule: d.Rule, Class: d.Class, Gain: d.Gain, Novelty: d.Novelty, Tier: d.Tier, Reason: d.Reason, Session: d.Session},
		Plan:       []planned{},
		Rejected:   append([]policies.Rejected{}, d.Rejected...),
		Carrier:    d.Plan.Carrier,
		CarrierWhy: d.Plan.Why,
		Problems:   []problemFacts{},
	}
	if e.Carrier == "" {
		e.Carrier = cmp.Or(route.Carrier, "executor") // a path without a model has no route of its own
	}
	if d.Class != "" {
		e.Decision.ClassP = make(map[string]float64, len(router.Classes))
		for i, name := range router.Classes {
			e.Decision.ClassP[name] = d.ClassP[i]
		}
	}
	if d.Choice.By != "" {
		e.Decision.ByGain = chosen(d, &route.ByGain)
	}
	for _, a := range d.Plan.Attempts {
		if n := len(e.Plan); n > 0 && e.Plan[n-1].Model == a.Model.Key {
			e.Plan[n-1].Attempts++
			continue
		}
		e.Plan = append(e.Plan, planned{Model: a.Model.Key, Provider: a.Model.Provider.Name, Tier: a.Tier, By: a.By, Attempts: 1})
	}
	var le *llm.Error
	if errors.As(refusal, &le) {
		e.Problems = append(e.Problems, problemFacts{le.Status, le.Code, le.Message})
	}
	return e
}
