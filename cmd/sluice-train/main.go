// Command sluice-train makes the router's model from labelled prompts, and measures it.
//
// It is for whoever changes the data or the trainer; the sluice binary holds the model that it wrote.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/router/train"
)

type commands struct {
	Train trainCmd `cmd:"" help:"Train the model and write it."`
	Eval  evalCmd  `cmd:"" help:"Measure a model on the rows for measuring, or on files."`
	Card  cardCmd  `cmd:"" help:"Write the card of the model in the binary: what it is, what it scores, what it is bad at. Many minutes."`
}

// trainCmd is `sluice-train train`.
type trainCmd struct {
	Data     string `help:"Folder of the training data." default:"cmd/sluice-train/data" placeholder:"DIR"`
	Out      string `help:"Where the model goes." default:"router/model.bin" placeholder:"FILE"`
	Seed     uint64 `help:"Seed of the order in which rows are seen." default:"1"`
	Outcomes string `help:"Labelled records of a gateway (feedback.jsonl): the class table is moved towards what they say." placeholder:"FILE"`
}

// Run trains.
func (c *trainCmd) Run(out io.Writer) error {
	d, err := train.Load(c.Data)
	if err != nil {
		return err
	}
	prior, err := c.prior(out)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := train.Fit(d, train.Options{Seed: c.Seed, Prior: prior}).Write(&b); err != nil {
		return err
	}
	if err := os.WriteFile(c.Out, b.Bytes(), 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: %d bytes, data %x\n", c.Out, b.Len(), d.Sum[:6])
	return err
}

// prior is the class table to train with. One that outcomes have moved is printed.
func (c *trainCmd) prior(out io.Writer) (table [router.NumClasses]float64, err error) {
	table = train.Prior()
	if c.Outcomes == "" {
		return table, nil
	}
	log, err := os.Open(c.Outcomes)
	if err != nil {
		return table, err
	}
	defer log.Close()
	moved, n, err := train.Outcomes(table, log)
	if err != nil {
		return table, fmt.Errorf("%s: %w", c.Outcomes, err)
	}
	fmt.Fprintf(out, "%s: %d judged records\n", c.Outcomes, n)
	for i, name := range router.Classes {
		fmt.Fprintf(out, "%-18s %+.3f -> %+.3f\n", name, table[i], moved[i])
	}
	return moved, nil
}

func main() {
	var c commands
	k := kong.Parse(&c, kong.Name("sluice-train"), kong.Description("Trains and measures the router's model."), kong.UsageOnError(),
		kong.BindTo(os.Stdout, (*io.Writer)(nil)))
	k.FatalIfErrorf(k.Run())
}
