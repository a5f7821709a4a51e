package policies

import "time"

// Stakes is what a choice by the gain weighs.
type Stakes struct {
	Gain   float64                // NaN: unknown, what the route prefers answers
	Tokens int                    // of the prompt, as estimated; 0 = unknown
	Out    int                    // most tokens that the answer may have; 0 = not said
	Pace   func(*Model) ModelPace // nil: nothing is known
}

// ModelPace is what has been seen of a model lately. Zero values are unknown.
type ModelPace struct {
	First time.Duration // a request's wait and its time to the first token
	Out   int           // tokens of an answer, on average
}

// Choice is how by_gain chose between the first and the last tier with an eligible model.
type Choice struct {
	By        string  // "above", "calibration", "value" or "preference"; "" = it was not asked, or there was nothing to choose
	Threshold float64 // with above and calibration
	Other     string  // the tier that lost
	Worth     float64 // with value: USD that the last tier's answer is worth more than the first's, its price and time taken off
	Extra     float64 // with value: USD that it costs more
	Slower    float64 // with value: USD that its longer wait is worth, negative where it is quicker
	Unpriced  string  // the model whose price is unknown, so that quality_value could not be weighed
}

// byGain chooses between the first and the last tier that has an eligible model which can be asked now, or, with nobody to be asked, between those that
// are eligible; nil when there is none.
func (pl *planner) byGain() *Tier {
	first, last, cheap, strong := pl.ends(pl.usable)
	if first == nil && pl.usable != nil {
		first, last, cheap, strong = pl.ends(nil)
	}
	if first == last {
		return first
	}
	c := &pl.decided.Choice
	if pl.prefersLast(c, cheap, strong) {
		c.Other = first.Name
		return last
	}
	c.Other = last.Name
	return first
}

// ends returns the first and the last tier with an eligible model, and their first such models.
func (pl *planner) ends(usable Usable) (first, last *Tier, cheap, strong *Model) {
	for _, t := range pl.p.Tiers {
		for _, m := range t.Models {
			if kind, _ := pl.unfit(m); kind != "" {
				continue
			}
			if usable != nil {
				if ok, why, after := usable(m); !ok {
					pl.down(m, why, after)
					continue
				}
			}
			if first == nil {
				first, cheap = t, m
			}
			last, strong = t, m
			break
		}
	}
	return first, last, cheap, strong
}

// prefersLast fills in how the choice is made, and makes it. A promise about regret is one about a threshold, so prices do not move it.
func (pl *planner) prefersLast(c *Choice, cheap, strong *Model) bool {
	g := &pl.r.ByGain
	gain := pl.stakes.Gain
	if gain != gain {
		c.By = "preference"
		return g.Prefer == "strong"
	}
	if g.QualityValue > 0 && g.MaxRegret == 0 && pl.weigh(c, cheap, strong) {
		c.By = "value"
		return c.Worth > 0
	}
	c.By, c.Threshold = "above", g.Threshold()
	if g.Calibration != nil {
		c.By = "calibration"
	}
	return gain > c.Threshold
}

// defaultOut is how long an answer is taken to be before a model has been seen to answer, in tokens.
const defaultOut = 300

// weigh reckons what the strong model's answer is worth more than the cheap one's: the value of being right more often, less what it costs
// more, less what it is slower. An answer whose first token comes at the route's limit is worth nothing, so a second is worth
// quality_value / first_token. It reports false when a price is unknown.
func (pl *planner) weigh(c *Choice, cheap, strong *Model) bool {
	value := pl.r.ByGain.QualityValue
	low, ok := pl.expected(c, cheap)
	high, known := pl.expected(c, strong)
	if !ok || !known {
		return false
	}
	c.Extra = high - low
	c.Slower = value * (pl.pace(strong).First - pl.pace(cheap).First).Seconds() / pl.r.Timeouts.FirstToken.Seconds()
	c.Worth = value*pl.stakes.Gain - c.Extra - c.Slower
	return true
}

// expected is the price of an answer in USD. A pool without a price is paid for already: one more answer costs nothing.
func (pl *planner) expected(c *Choice, m *Model) (usd float64, known bool) {
	switch {
	case m.Price != nil:
	case m.Provider.Own:
		return 0, true
	default:
		c.Unpriced = m.Key
		return 0, false
	}
	out := pl.pace(m).Out
	if out == 0 {
		out = defaultOut
	}
	if most := pl.stakes.Out; most > 0 {
		out = min(out, most)
	}
	return (float64(pl.stakes.Tokens)*m.Price.In + float64(out)*m.Price.Out) / 1e6, true
}

func (pl *planner) pace(m *Model) ModelPace {
	if pl.stakes.Pace == nil {
		return ModelPace{}
	}
	return pl.stakes.Pace(m)
}
