package main

import (
	"fmt"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/router"
)

// chosen renders how by_gain chose, and why the other tier lost.
func chosen(d *router.Decision, g *policies.ByGain) *choiceFacts {
	c := &d.Choice
	f := &choiceFacts{By: c.By, RunnerUp: c.Other, QualityValue: g.QualityValue, Unpriced: c.Unpriced, MaxRegret: g.MaxRegret, Uncalibrated: g.Uncalibrated}
	switch c.By {
	case "value":
		f.Worth, f.Extra, f.Slower = &c.Worth, &c.Extra, &c.Slower
		f.Why = fmt.Sprintf("gain %+.3f is worth $%.6f, the stronger answer costs $%.6f more and its wait $%.6f: %s loses", d.Gain, g.QualityValue*d.Gain, c.Extra, c.Slower, c.Other)
	case "preference":
		f.Why = fmt.Sprintf("the gain is unknown and the route prefers %s: %s loses", g.Prefer, c.Other)
	default:
		f.Threshold = &c.Threshold
		is := "is not above"
		if d.Gain > c.Threshold {
			is = "is above"
		}
		f.Why = fmt.Sprintf("gain %+.3f %s %.3f: %s loses", d.Gain, is, c.Threshold, c.Other)
		if c.Unpriced != "" {
			f.Why += fmt.Sprintf(" (the price of %s is unknown, so quality_value was not weighed)", c.Unpriced)
		}
	}
	if g.Calibration != nil {
		f.Bound, f.Confidence = g.Calibration.Bound, g.Calibration.Confidence
	}
	return f
}
