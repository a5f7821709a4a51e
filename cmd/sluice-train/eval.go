package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/router/train"
)

// evalCmd is `sluice-train eval`.
type evalCmd struct {
	Files   []string `arg:"" optional:"" help:"Files in the data's format; without one the rows for measuring." placeholder:"FILE"`
	Data    string   `help:"Folder of the training data." default:"cmd/sluice-train/data" placeholder:"DIR"`
	Model   string   `help:"Model to measure; without one the binary's own." placeholder:"FILE"`
	Weak    string   `help:"Weak model of the pair, as the files' scores name it; without one the rows' own means." placeholder:"NAME"`
	Strong  string   `help:"Strong model of the pair." placeholder:"NAME"`
	Diagram string   `help:"Where the reliability diagram goes." placeholder:"FILE.svg"`
	Splits  bool     `help:"Train for the four splits too: minutes."`
	Caps    bool     `help:"Train without caps too, to see what they are worth against gadgets."`
	Seed    uint64   `help:"Seed of everything that is drawn." default:"1"`
}

// Run measures.
func (c *evalCmd) Run(out io.Writer) error {
	m := router.Embedded()
	if c.Model != "" {
		b, err := os.ReadFile(c.Model)
		if err != nil {
			return err
		}
		if m, err = router.ReadModel(b); err != nil {
			return fmt.Errorf("%s: %w", c.Model, err)
		}
	}
	if (c.Weak == "") != (c.Strong == "") {
		return errors.New("--weak and --strong name a pair: give both or neither")
	}
	e := &train.Eval{Classifier: m.Classifier(), Prior: m.Prior, Seed: c.Seed, Out: out}
	if len(c.Files) > 0 {
		return c.files(e)
	}
	d, err := train.Load(c.Data)
	if err != nil {
		return err
	}
	if c.Splits {
		e.Splits(d, train.Options{Seed: c.Seed, Prior: m.Prior, Quick: true})
	}
	for _, s := range d.Sets() {
		e.Gain(&s)
	}
	natural := d.ForMeasuring()
	if err := c.classes(e, "natural prompts", natural); err != nil {
		return err
	}
	e.Noise(natural)
	fmt.Fprintln(out, "\neight of the hundred words that say most for a strong model, before or behind every prompt, in twenty ways")
	e.Gadgets("caps", natural)
	if c.Caps {
		free := *e
		free.Classifier = train.Fit(d, train.Options{Seed: c.Seed, Prior: m.Prior, Uncapped: true}).Classifier()
		free.Gadgets("no caps", natural)
	}
	return nil
}

func (c *evalCmd) classes(e *train.Eval, name string, rows []*train.Row) error {
	bins := e.Classes(name, rows)
	if c.Diagram == "" {
		return nil
	}
	var b bytes.Buffer
	if err := train.Diagram(&b, bins); err != nil {
		return err
	}
	return os.WriteFile(c.Diagram, b.Bytes(), 0o644)
}

// files measures files that are not the repository's own.
func (c *evalCmd) files(e *train.Eval) error {
	for _, name := range c.Files {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rows, err := train.Rows(name, bytes.NewReader(b))
		if err != nil {
			return err
		}
		s := train.Set{Name: name, Weak: c.Weak, Strong: c.Strong}
		for i := range rows {
			s.Rows = append(s.Rows, &rows[i])
		}
		e.Gain(&s)
		if err := c.classes(e, name, s.Rows); err != nil {
			return err
		}
	}
	return nil
}
