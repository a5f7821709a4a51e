package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-gateway/sluice/feedback"
	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/router/regret"
)

// calibrateCmd is `sluice calibrate`.
type calibrateCmd struct {
	Labels     string  `required:"" help:"Judged prompts, one JSON object a line; - reads standard input." placeholder:"FILE"`
	Config     string  `help:"Take the limit and the file to write from this policy's route." placeholder:"FILE"`
	Route      string  `help:"The route; without it the only one that says max_regret." placeholder:"NAME"`
	MaxRegret  float64 `help:"Largest share of the kept prompts that may lose a right answer; overrides the policy's (default 0.10)." placeholder:"SHARE"`
	Confidence float64 `help:"Confidence of the bound." default:"0.95"`
	Implicit   bool    `help:"Read the implicit signs (a question asked again, of a stronger model, an answer of no use) too. They are complaints only, so the bound is a pessimist's."`
	Out        string  `help:"File to write; without it the policy's by_gain.calibration, or nothing is written." placeholder:"FILE"`
	JSON       bool    `help:"Print the calibration as JSON instead of the report."`
}

// Help is what --help says beyond the flags.
func (c *calibrateCmd) Help() string {
	return `Finds the largest gain up to which prompts may stay on the cheap tier, so that with the stated confidence at most max_regret of them lose a right answer that the strong tier would have given. Each line of the labels is one of

  {"gain": 0.08, "cheap": 1, "strong": 1}            cheap and strong: was that tier's answer right (true, false, or 0 to 1; 0.5 and more is right)
  {"prompt": "…", "cheap": 0, "strong": 1}           or "messages"; the gain is computed here. "weak" is read as cheap
  the records that a gateway with "feedback: on" writes

A record without "strong" whose cheap answer was wrong counts as lost: nothing better is known. Exit codes: 0 a threshold was found, 1 not attainable, 2 could not do it.`
}

// Run calibrates.
func (c *calibrateCmd) Run(w *world) error {
	if !(c.Confidence > 0 && c.Confidence < 1) || !(c.MaxRegret >= 0 && c.MaxRegret < 1) {
		return errors.New("--confidence lies between 0 and 1, --max-regret from 0 to below 1")
	}
	route, err := c.target(w)
	if err != nil {
		return err
	}
	limit := c.MaxRegret
	if limit == 0 && route != nil {
		limit = route.ByGain.MaxRegret
	}
	if limit == 0 {
		limit = .10
	}
	l, err := c.labels(w)
	if err != nil {
		return err
	}
	res := regret.Calibrate(l.records, limit, c.Confidence)
	cal := policies.Calibration{
		Version: 1, Route: c.Route, Threshold: res.Threshold, MaxRegret: limit, Bound: res.Bound, Confidence: c.Confidence, Coverage: res.Coverage,
		Records: res.Records, Kept: res.Kept, Lost: res.Lost, Data: "sha256:" + hex.EncodeToString(l.sum), Classifier: router.ClassifierID(), Made: time.Now().UTC().Truncate(time.Second),
	}
	if err := c.report(w, res, &cal, l); err != nil {
		return err
	}
	if !res.Attainable {
		return found()
	}
	return c.write(w, &cal)
}

// target finds the route that is calibrated; nil without a policy.
func (c *calibrateCmd) target(w *world) (*policies.Route, error) {
	if c.Config == "" {
		return nil, nil
	}
	src, err := os.ReadFile(c.Config)
	if err != nil {
		return nil, err
	}
	o := w.options(true)
	o.ReadFile = func(string) ([]byte, error) { return nil, fs.ErrNotExist } // the calibration that there is may be the reason for a new one
	p, ps := policies.LoadBytes(c.Config, src, o)
	if len(ps) > 0 {
		return nil, w.refused(ps)
	}
	var hit *policies.Route
	for _, r := range p.Routes {
		if r.Name == c.Route || c.Route == "" && r.ByGain.MaxRegret > 0 {
			if hit != nil {
				return nil, fmt.Errorf("routes %s and %s both say max_regret: name one with --route", hit.Name, r.Name)
			}
			hit = r
		}
	}
	if hit == nil {
		return nil, errors.New("the policy has no such route; name one with --route, or write max_regret in it")
	}
	c.Route = hit.Name
	if file := hit.ByGain.File; c.Out == "" && file != "" {
		c.Out = file
		if !filepath.IsAbs(file) {
			c.Out = filepath.Join(filepath.Dir(c.Config), file)
		}
	}
	return hit, nil
}

// judged are the labels as they were read.
type judged struct {
	records []regret.Record
	skipped int // records that say nothing of a cheap answer
	signs   int // implicit records that were not asked for
	foreign int // records whose gain another classifier gave
	sum     []byte
}

func (c *calibrateCmd) labels(w *world) (*judged, error) {
	in := w.stdin
	if c.Labels != "-" {
		f, err := os.Open(c.Labels)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	hash := sha256.New()
	lines := bufio.NewScanner(io.TeeReader(in, hash))
	lines.Buffer(nil, maxLine)
	l := &judged{}
	latest := map[string]int{} // places in l.records, from 1, by request id
	classifier := router.NewTrained()
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		r, id, ok, err := labelled(line, classifier)
		switch {
		case errors.Is(err, errSign) && !c.Implicit:
			l.signs++
		case errors.Is(err, errForeign):
			l.foreign++
		case err != nil && !errors.Is(err, errSign):
			return nil, fmt.Errorf("%s:%d: %w", c.Labels, n, err)
		case ok && id != "" && latest[id] > 0: // somebody thought again: the last word counts
			l.records[latest[id]-1] = r
		case ok:
			l.records = append(l.records, r)
			latest[id] = len(l.records)
		default:
			l.skipped++
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Labels, err)
	}
	l.sum = hash.Sum(nil)
	return l, nil
}

// errSign says that a record is nobody's word, errForeign that its gain is another classifier's: no threshold on this one's follows from it.
var (
	errSign    = errors.New("an implicit sign")
	errForeign = errors.New("another classifier's gain")
)

// labelled reads one judged prompt. The error is errSign beside a record that is nobody's word. It is not ok if nothing is known of a cheap answer.
func labelled(line []byte, classifier router.Classifier) (r regret.Record, id string, ok bool, err error) {
	var l struct {
		ID     string   `json:"request_id"`
		Signal string   `json:"signal"`
		Gain   *float64 `json:"gain"`
		By     string   `json:"classifier"`
		Cheap  *verdict `json:"cheap"`
		Weak   *verdict `json:"weak"`
		Strong *verdict `json:"strong"`
	}
	if err := json.Unmarshal(line, &l); err != nil {
		return r, l.ID, false, err
	}
	if l.Cheap == nil {
		l.Cheap = l.Weak
	}
	if l.Cheap == nil {
		return r, l.ID, false, nil
	}
	r.Lost = !bool(*l.Cheap) && (l.Strong == nil || bool(*l.Strong))
	if l.Gain != nil && l.By != "" && l.By != router.ClassifierID() {
		return r, l.ID, false, errForeign
	}
	if l.Gain == nil {
		var doc jsonedit.Doc
		env := llm.Envelope{Op: llm.OpChat}
		if err := conversation(&env, &doc, line); err != nil {
			return r, l.ID, false, fmt.Errorf(`without "gain": %w`, err)
		}
		content := router.Extract(&env)
		class := classifier.Classify(content.Prompt)
		l.Gain = &class.Gain
	}
	if r.Gain = *l.Gain; !(r.Gain >= -1 && r.Gain <= 1) {
		return r, l.ID, false, fmt.Errorf("gain %v is not between -1 and 1", r.Gain)
	}
	if l.Signal != "" && l.Signal != feedback.Told {
		return r, l.ID, true, errSign
	}
	return r, l.ID, true, nil
}

// verdict is whether an answer was right: a boolean, or a share of at least a half.
type verdict bool

// UnmarshalJSON reads true, false or a number from 0 to 1.
func (v *verdict) UnmarshalJSON(b []byte) error {
	var share float64
	if err := json.Unmarshal(b, (*bool)(v)); err == nil {
		return nil
	}
	if err := json.Unmarshal(b, &share); err != nil || share < 0 || share > 1 {
		return fmt.Errorf("%s is neither true, false nor a number from 0 to 1", b)
	}
	*v = share >= .5
	return nil
}

func (c *calibrateCmd) report(w *world, res regret.Result, cal *policies.Calibration, l *judged) error {
	if c.JSON {
		enc := json.NewEncoder(w.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(struct {
			Attainable bool `json:"attainable"`
			*policies.Calibration
		}{res.Attainable, cal})
	}
	fmt.Fprintf(w.stdout, "records     %d judged, data %.19s…\n", res.Records, cal.Data)
	if l.signs > 0 {
		fmt.Fprintf(w.stdout, "            %d are signs, not judgements, and were left out (--implicit reads them)\n", l.signs)
	}
	if l.foreign > 0 {
		fmt.Fprintf(w.stdout, "            %d have the gains of another classifier and were left out\n", l.foreign)
	}
	if l.skipped > 0 {
		fmt.Fprintf(w.stdout, "            %d say nothing of a cheap answer and were left out\n", l.skipped)
	}
	fmt.Fprintf(w.stdout, "all cheap   %.1f %% would lose a right answer\n", 100*res.Rate)
	if !res.Attainable {
		_, err := fmt.Fprintf(w.stdout, "regret      not attainable: no threshold keeps it below %.3g with %.3g %% confidence (%s)\n", cal.MaxRegret, 100*cal.Confidence, shortage(res, cal))
		return err
	}
	fmt.Fprintf(w.stdout, "threshold   gain %.4f: %.1f %% of the judged prompts stay on the cheap tier\n", res.Threshold, 100*res.Coverage)
	_, err := fmt.Fprintf(w.stdout, "regret      %d of %d kept lost a right answer (%.1f %%); at most %.1f %% with %.3g %% confidence (limit %.3g %%)\n",
		res.Lost, res.Kept, 100*float64(res.Lost)/float64(res.Kept), 100*res.Bound, 100*cal.Confidence, 100*cal.MaxRegret)
	return err
}

// shortage says what stands in the way.
func shortage(res regret.Result, cal *policies.Calibration) string {
	if need := regret.Fewest(cal.MaxRegret, cal.Confidence); res.Records < need {
		return fmt.Sprintf("%d records cannot show it, not even without a loss: %d are needed", res.Records, need)
	}
	return "the gain does not tell the prompts apart well enough, or there are too few records"
}

// write puts the file in place in one step: a gateway may be reading it.
func (c *calibrateCmd) write(w *world, cal *policies.Calibration) error {
	if c.Out == "" {
		if !c.JSON {
			fmt.Fprintln(w.stdout, "written     nothing: name a file with --out, or by_gain.calibration in a policy with --config")
		}
		return nil
	}
	text, err := json.MarshalIndent(cal, "", "  ")
	if err != nil {
		return err
	}
	part := c.Out + ".part"
	if err := os.WriteFile(part, append(text, '\n'), 0o644); err != nil {
		return err
	}
	if err := os.Rename(part, c.Out); err != nil {
		return err
	}
	if !c.JSON {
		fmt.Fprintf(w.stdout, "written     %s (a running gateway takes it on SIGHUP)\n", c.Out)
	}
	return nil
}
