package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/router/train"
)

// cardCmd is `sluice-train card`.
type cardCmd struct {
	Data string `help:"Folder of the training data." default:"cmd/sluice-train/data" placeholder:"DIR"`
	Out  string `help:"Where the card goes." default:"router/MODEL.md" placeholder:"FILE"`
	Seed uint64 `help:"Seed of everything that is drawn." default:"1"`

	Splits bool `help:"Train for the four splits and with the gold rows too: many minutes. Without it the card keeps what it says of them."`
}

//go:embed card.md
var cardText string

// card collects the parts of a model card.
type card struct {
	data  *train.Data
	model *router.Model
	eval  *train.Eval
	out   bytes.Buffer // of the part at hand
	parts []string     // names and texts in turn
}

// Run measures the model in the binary and writes its card.
func (c *cardCmd) Run(out io.Writer) error {
	d, err := train.Load(c.Data)
	if err != nil {
		return err
	}
	m := router.Embedded()
	k := &card{data: d, model: m}
	k.eval = &train.Eval{Classifier: m.Classifier(), Prior: m.Prior, Seed: c.Seed, Out: &k.out}
	o := train.Options{Seed: c.Seed, Prior: m.Prior, Quick: true}
	if c.Splits {
		k.part("splits", func() {
			k.eval.Splits(d, o)
			fmt.Fprintf(&k.out, "of data %x", d.Sum[:6])
		})
		err = k.gold(filepath.Join(c.Data, "routellm_mmlu_gold10.jsonl.gz"), o)
	} else {
		err = k.keep(c.Out)
	}
	if err != nil {
		return err
	}
	k.measures()
	k.costs()
	if err := os.WriteFile(c.Out, []byte(strings.NewReplacer(k.parts...).Replace(cardText)), 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: of the model of data %x\n", c.Out, m.Data[:6])
	return err
}

// part writes one part of the card.
func (k *card) part(name string, write func()) {
	k.out.Reset()
	write()
	k.parts = append(k.parts, "{{"+name+"}}", strings.TrimSpace(k.out.String()))
}

func (k *card) text(name, format string, args ...any) {
	k.part(name, func() { fmt.Fprintf(&k.out, format, args...) })
}

// keep takes from the card that there is what takes long to measure.
func (k *card) keep(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, name := range [...]string{"splits", "gold"} {
		mark := "{{" + name + "}}"
		before, behind, _ := strings.Cut(cardText, mark)
		// A part stands in a fence of its own, behind the line that announces it.
		before = before[strings.LastIndex(strings.TrimSuffix(before, "\n\n```\n"), "\n")+1:]
		behind = behind[:len("\n```\n")]
		_, rest, found := strings.Cut(string(b), before)
		text, _, closed := strings.Cut(rest, behind)
		if !found || !closed {
			return fmt.Errorf("%s does not hold %q: measure with --splits", file, name)
		}
		k.parts = append(k.parts, mark, text)
	}
	return nil
}

func (k *card) gold(file string, o train.Options) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	rows, err := train.Rows(file, bytes.NewReader(b))
	if err != nil {
		return err
	}
	k.part("gold", func() { k.eval.Gold(k.data, "RouteLLM's MMLU outcomes, a tenth", rows, o) })
	return nil
}

// measures are the parts that measure the model on the rows for measuring.
func (k *card) measures() {
	sets := k.data.Sets()
	k.part("sets", func() {
		for i := range sets {
			k.eval.Gain(&sets[i])
		}
	})
	k.part("behind", func() {
		if len(k.eval.Behind) == 0 {
			fmt.Fprint(&k.out, "On each of these the router is above length, the heuristic and the class table.")
			return
		}
		fmt.Fprint(&k.out, "Where the router is not above what costs nothing:\n")
		for _, line := range k.eval.Behind {
			fmt.Fprintf(&k.out, "\n- %s", line)
		}
	})
	natural := k.data.ForMeasuring()
	k.part("classes", func() { k.eval.Classes("natural prompts", natural) })
	k.text("accuracy", "%.2f", k.eval.Accuracy)
	const aim = .80
	k.part("short", func() {
		if k.eval.Accuracy < aim {
			fmt.Fprintf(&k.out, ", short of the %.2f that was aimed for", aim)
		}
	})
	k.part("confused", func() { k.eval.Confused(natural) })
	k.part("noise", func() {
		k.eval.Noise(natural)
		fmt.Fprintln(&k.out, "\neight of the hundred words that say most for a strong model, before or behind every prompt, in twenty ways")
		k.eval.Gadgets("caps", natural)
	})
	raw, calibrated := train.Calibration(k.model, natural)
	k.text("calibration", "expected calibration error %.3f and %.3f (dev split)", raw, calibrated)
	k.part("data", func() { k.data.Table(func(format string, a ...any) { fmt.Fprintf(&k.out, format, a...) }) })
	k.text("hash", "%x", k.model.Data[:6])
}

// costs is what the model adds to a binary, a start and a process.
func (k *card) costs() {
	var b bytes.Buffer
	if err := k.model.Write(&b); err != nil {
		panic(err) // a buffer takes everything
	}
	k.text("size", "%.2f", float64(b.Len())/1e6)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	m, err := router.ReadModel(b.Bytes())
	if err != nil {
		panic(err) // it was written just now
	}
	c := m.Classifier()
	c.Classify(router.Prompt{Text: "hello"})
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	k.text("cost", "%.2f MB of the binary, %.1f ms of a start and %.2f MB of memory beside that; the heuristic's word table, which is there without the model too, is not counted. Measured on the machine that wrote this; again: `go test -run TestModelCostsLittle -bench Start ./router`.",
		float64(b.Len())/1e6, float64(took.Microseconds())/1e3, float64(after.TotalAlloc-before.TotalAlloc)/1e6)
}
