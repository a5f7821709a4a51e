package policies

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// Calibration is a threshold on the gain that was computed from judged prompts, and what it promises: of the prompts at most that gain, at most
// Bound lose a right answer that the strong tier would have given, with the Confidence. `sluice calibrate` writes it, `by_gain.calibration` names it.
type Calibration struct {
	Version    int       `json:"version"` // of the format: 1
	Route      string    `json:"route,omitempty"`
	Threshold  float64   `json:"threshold"`
	MaxRegret  float64   `json:"max_regret"` // what was asked for
	Bound      float64   `json:"bound"`      // what was found, at most MaxRegret
	Confidence float64   `json:"confidence"`
	Coverage   float64   `json:"coverage"` // share of the judged prompts that stay on the cheap tier
	Records    int       `json:"records"`
	Kept       int       `json:"kept"`
	Lost       int       `json:"lost"`
	Data       string    `json:"data"`       // sha256:<hex> of the judged prompts
	Classifier string    `json:"classifier"` // whose gains they are
	Made       time.Time `json:"made"`
}

// ParseCalibration reads a calibration file. Unknown members are errors: the file says what may be relied on.
func ParseCalibration(src []byte) (*Calibration, error) {
	dec := json.NewDecoder(bytes.NewReader(src))
	dec.DisallowUnknownFields()
	var c Calibration
	if err := dec.Decode(&c); err != nil {
		return nil, err
	}
	switch {
	case c.Version != 1:
		return nil, fmt.Errorf("its version is %d, this version of sluice reads 1", c.Version)
	case !(c.Threshold >= -1 && c.Threshold <= 1):
		return nil, fmt.Errorf("its threshold %v is no gain", c.Threshold)
	case !(c.Bound > 0 && c.Bound <= 1) || !(c.Confidence > 0 && c.Confidence < 1):
		return nil, errors.New("it has no bound with a confidence")
	}
	return &c, nil
}

// byGain compiles how a route chooses by the gain.
func (c *compiler) byGain(r *Route, n *node) {
	if n == nil {
		return
	}
	g := &r.ByGain
	g.Prefer = n.at("prefer").str("cheap")
	if g.Prefer == "strong" {
		g.Above = 0 // whoever prefers the strong end gives it every prompt that it is likelier to get right
	}
	g.Above = n.at("above").number(g.Above)
	g.QualityValue = n.at("quality_value").number(0)
	g.MaxRegret = n.at("max_regret").number(0)
	if f := n.at("calibration"); f != nil {
		c.calibration(g, f)
	}
	if g.MaxRegret > 0 && g.Calibration == nil && g.Uncalibrated == "" {
		g.Uncalibrated = "no calibration is named"
	}
	if g.QualityValue > 0 && g.MaxRegret > 0 {
		c.notice(n.at("quality_value"), "max_regret is a promise and prices are not looked at beside it: the threshold alone decides")
	}
}

// calibration reads the file that by_gain names. One that is not there yet leaves the route uncalibrated, and it says so: the records come from
// running it. One that promises less than the route does is a mistake.
func (c *compiler) calibration(g *ByGain, n *node) {
	g.File = n.text
	src, err := c.o.ReadFile(c.file(n.text))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		g.Uncalibrated = n.text + " does not exist yet"
		c.notice(n, "%s does not exist yet, so the route is uncalibrated: `sluice calibrate` makes it from judged prompts", n.text)
		return
	case err != nil:
		c.problem(n, "%s cannot be read: %s", n.text, plainError(err))
		return
	}
	cal, err := ParseCalibration(src)
	switch {
	case err != nil:
		c.problem(n, "%s is no calibration: %s", n.text, strings.TrimPrefix(err.Error(), "json: "))
	case g.MaxRegret > 0 && cal.Bound > g.MaxRegret:
		c.problem(n, "%s bounds the regret by %.3g, and max_regret promises %.3g", n.text, cal.Bound, g.MaxRegret)
	case cal.Classifier != c.o.Classifier && c.o.Classifier != "":
		g.Uncalibrated = n.text + " was made with the gains of another classifier"
		c.notice(n, "%s was made with the gains of classifier %s, this one is %s: the route is uncalibrated", n.text, cal.Classifier, c.o.Classifier)
	default:
		g.Calibration, g.Uncalibrated = cal, ""
		sum := sha256.Sum256(fmt.Append(nil, c.p.Version, cal.Threshold, " ", cal.Bound, " ", cal.Confidence))
		c.p.Version = hex.EncodeToString(sum[:8]) // another threshold is another policy
	}
}

// Threshold is the gain above which the last tier answers.
func (g *ByGain) Threshold() float64 {
	if g.Calibration != nil {
		return g.Calibration.Threshold
	}
	return g.Above
}
