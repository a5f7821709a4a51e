package train

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/sluice-gateway/sluice/feedback"
	"github.com/sluice-gateway/sluice/router"
)

// priorWeight is how many judged answers of a class its entry in the table stands for: so many more move it half of the way to what they say.
const priorWeight = 50

// maxOutcome bounds a line of a log of outcomes, in bytes.
const maxOutcome = 1 << 20

// Outcomes moves a class table towards what the records say that a gateway with `feedback: on` writes, a JSON object a line. They hold no prompts, so that nothing but the
// table can be learned from them. Each counts for every class as far as the classifier took the request for it. A strong answer that nobody has judged counts as right
// where the cheap one was, and as half right where it was not. n is how many records could be used: those that say nothing of a cheap answer are left out, and so are signs that nobody has
// judged, which are complaints only. Of two judgements of one request the last one counts.
func Outcomes(table [router.NumClasses]float64, log io.Reader) (moved [router.NumClasses]float64, n int, err error) {
	type outcome struct {
		RequestID string             `json:"request_id"`
		Signal    string             `json:"signal"`
		ClassP    map[string]float64 `json:"class_p"`
		Cheap     *bool              `json:"cheap"`
		Strong    *bool              `json:"strong"`
	}
	var kept []outcome
	latest := map[string]int{}
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, maxOutcome)
	for at := 1; lines.Scan(); at++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var o outcome
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return table, 0, fmt.Errorf("line %d: %w", at, err)
		}
		for name, p := range o.ClassP {
			if classIndex(name) < 0 {
				return table, 0, fmt.Errorf("line %d: there is no class %q", at, name)
			}
			if p < 0 || p > 1 {
				return table, 0, fmt.Errorf("line %d: %v is no probability", at, p)
			}
		}
		if o.Cheap == nil || len(o.ClassP) == 0 || o.Signal != "" && o.Signal != feedback.Told {
			continue
		}
		if i, known := latest[o.RequestID]; known && o.RequestID != "" {
			kept[i] = o
			continue
		}
		latest[o.RequestID] = len(kept)
		kept = append(kept, o)
	}
	if err := lines.Err(); err != nil {
		return table, 0, err
	}
	var gain, weight [router.NumClasses]float64
	for _, o := range kept {
		for name, p := range o.ClassP {
			i := classIndex(name)
			gain[i] += p * judgedGain(*o.Cheap, o.Strong)
			weight[i] += p
		}
	}
	for i := range table {
		moved[i] = (priorWeight*table[i] + gain[i]) / (priorWeight + weight[i])
	}
	return moved, len(kept), nil
}

// judgedGain is what the strong answer added to the cheap one.
func judgedGain(cheap bool, strong *bool) float64 {
	switch {
	case strong == nil && cheap:
		return 0
	case strong == nil:
		return .5
	case *strong == cheap:
		return 0
	case cheap:
		return -1
	}
	return 1
}
