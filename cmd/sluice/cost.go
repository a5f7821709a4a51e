package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/sluice-gateway/sluice/ledger"
	"github.com/sluice-gateway/sluice/policies"
)

// costCmd is `sluice cost`.
type costCmd struct {
	Amount float64 `arg:"" help:"How much."`
	Unit   string  `arg:"" help:"neurons, usd, tokens-in, tokens-out or gpu-seconds." enum:"neurons,usd,tokens-in,tokens-out,gpu-seconds"`
	Model  string  `help:"Model whose price turns tokens into money: PRESET:NAME of the catalogue, such as openai:gpt-5.5, or with --config a model of the policy." placeholder:"MODEL"`
	Config string  `help:"Policy that names the model." placeholder:"FILE"`
	Prompt uint    `help:"Tokens of one prompt: of a model whose long prompts cost more, the price of this length." placeholder:"TOKENS"`
	GPU    float64 `name:"gpu-hour" help:"What the GPUs cost, USD an hour all together; with --config and a model of an own pool, the pool's."`
	JSON   bool    `help:"Print a JSON object."`
}

// Help is what --help says beyond the flags.
func (c *costCmd) Help() string {
	return `1,000 neurons are 0.011 USD. Tokens need a model with a price, GPU seconds a price by the hour; what cannot be told is left out.`
}

// amounts are one sum of money in every unit. Absent = it cannot be told.
type amounts struct {
	USD        float64  `json:"usd"`
	Neurons    float64  `json:"neurons"`
	TokensIn   *float64 `json:"tokens_in,omitempty"`
	TokensOut  *float64 `json:"tokens_out,omitempty"`
	GPUSeconds *float64 `json:"gpu_seconds,omitempty"`
	Price      string   `json:"price,omitempty"` // the price row of the tokens
	Above      int      `json:"above,omitempty"` // it is that of prompts of more tokens
}

// Run converts and prints.
func (c *costCmd) Run(w *world) error {
	switch {
	case !amount(c.Amount):
		return errors.New("the amount must be a number that is not negative")
	case !amount(c.GPU):
		return errors.New("--gpu-hour must be a number that is not negative")
	}
	price, hour, err := c.prices(w)
	if err != nil {
		return err
	}
	var rates policies.PriceTier
	if price != nil {
		rates = price.For(int(c.Prompt))
	}
	usd, err := c.usd(price != nil, rates, hour)
	if err != nil {
		return err
	}
	a := amounts{USD: usd, Neurons: ledger.NeuronsOf(usd)}
	if price != nil {
		a.TokensIn, a.TokensOut, a.Price, a.Above = per(usd*1e6, rates.In), per(usd*1e6, rates.Out), price.Row, rates.Above
	}
	a.GPUSeconds = per(usd*3600, hour)
	if c.JSON {
		return json.NewEncoder(w.stdout).Encode(a)
	}
	million := "a million" + ofPrompts(price, rates)
	t := tabwriter.NewWriter(w.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "usd\t%s\nneurons\t%s\n", decimal(a.USD), decimal(a.Neurons))
	for _, l := range []struct {
		unit  string
		n     *float64
		under float64
		per   string
	}{{"tokens-in", a.TokensIn, rates.In, million}, {"tokens-out", a.TokensOut, rates.Out, million}, {"gpu-seconds", a.GPUSeconds, hour, "an hour"}} {
		if l.n != nil {
			fmt.Fprintf(t, "%s\t%s\tat %s USD %s\n", l.unit, decimal(*l.n), decimal(l.under), l.per)
		}
	}
	return t.Flush()
}

// prices are those of the model and of the GPUs.
func (c *costCmd) prices(w *world) (*policies.Price, float64, error) {
	if c.Config == "" {
		preset, name, _ := strings.Cut(c.Model, ":")
		p := ledger.Catalogue(preset, name)
		if c.Model != "" && p == nil {
			return nil, 0, fmt.Errorf("the catalogue has no price for %q (write PRESET:NAME)", c.Model)
		}
		return p, c.GPU, nil
	}
	p, err := policies.Load(c.Config, w.options(true))
	if err != nil {
		return nil, 0, w.refused(err)
	}
	m := p.Models[c.Model]
	switch {
	case c.Model == "":
		return nil, c.GPU, nil
	case m == nil:
		return nil, 0, fmt.Errorf("the policy has no model %q", c.Model)
	}
	hour := c.GPU
	if hour == 0 {
		hour = m.Provider.GPUPerHour
	}
	return m.Price, hour, nil
}

// ofPrompts says of which prompts the rates are, where there are others.
func ofPrompts(p *policies.Price, rates policies.PriceTier) string {
	switch {
	case p == nil || len(p.Tiers) == 0:
		return ""
	case rates.Above == 0:
		return fmt.Sprintf(", prompts of up to %d tokens", p.Tiers[0].Above)
	}
	return fmt.Sprintf(", prompts of more than %d tokens", rates.Above)
}

// usd is what the amount costs.
func (c *costCmd) usd(priced bool, rates policies.PriceTier, hour float64) (float64, error) {
	rate, per := 0.0, 1e6
	switch c.Unit {
	case "usd":
		return c.Amount, nil
	case "neurons":
		return ledger.USDOf(c.Amount), nil
	case "gpu-seconds":
		if rate, per = hour, 3600; rate == 0 {
			return 0, errors.New("GPU seconds need a price: --gpu-hour")
		}
	case "tokens-in", "tokens-out":
		if !priced {
			return 0, errors.New("tokens need a model with a price: --model")
		}
		if rate = rates.In; c.Unit == "tokens-out" {
			rate = rates.Out
		}
	}
	return c.Amount * rate / per, nil
}

func amount(n float64) bool { return n >= 0 && !math.IsInf(n, 0) }

// per is an amount over a rate; nothing where there is no rate.
func per(amount, rate float64) *float64 {
	if rate == 0 {
		return nil
	}
	n := amount / rate
	return &n
}

// decimal writes a number to nine significant digits.
func decimal(f float64) string { return strconv.FormatFloat(round(f), 'f', -1, 64) }

func round(f float64) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(f, 'g', 9, 64), 64)
	if err != nil {
		return f
	}
	return r
}
