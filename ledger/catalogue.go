package ledger

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/sluice-gateway/sluice/policies"
)

//go:embed prices.csv
var pricesCSV []byte

// catalogue is the embedded file as a table, read when it is first asked for.
var catalogue = sync.OnceValues(func() (map[string]*policies.Price, error) { return parseCatalogue(pricesCSV) })

// Catalogue returns what the embedded catalogue says that a preset's model costs, by its name there; nil = unknown.
func Catalogue(preset, model string) *policies.Price {
	all, err := catalogue()
	if err != nil {
		return nil // a test holds the embedded file to its form
	}
	return all[preset+":"+model]
}

// parseCatalogue reads the form that scripts/prices.py writes: a comment with source and date, a head, then a row for each price. Rows of one model
// that hold above a length of the prompt follow its first.
func parseCatalogue(src []byte) (map[string]*policies.Price, error) {
	comment, _, _ := bytes.Cut(src, []byte("\n"))
	source, _, _ := strings.Cut(strings.TrimPrefix(string(comment), "# "), ",")
	r := csv.NewReader(bytes.NewReader(src))
	r.Comment = '#'
	lines, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	all := make(map[string]*policies.Price, len(lines))
	for i, l := range lines[min(1, len(lines)):] {
		if len(l) != 8 {
			return nil, fmt.Errorf("catalogue: row %d has %d fields", i+1, len(l))
		}
		n, err := numbers(l[2:])
		if err != nil {
			return nil, fmt.Errorf("catalogue: row %d: %w", i+1, err)
		}
		name := l[0] + ":" + l[1]
		t := policies.PriceTier{Above: int(or(n[0], 0)), In: or(n[1], 0), Out: or(n[2], 0), Cached: or(n[3], or(n[1], 0)), Written: or(n[4], or(n[1], 0)), Reasoning: or(n[5], or(n[2], 0))}
		switch p := all[name]; {
		case p != nil:
			p.Tiers = append(p.Tiers, t)
		case t.Above > 0:
			return nil, fmt.Errorf("catalogue: row %d: %s has no price for short prompts", i+1, name)
		default:
			all[name] = &policies.Price{In: t.In, Out: t.Out, Cached: t.Cached, Written: t.Written, Reasoning: t.Reasoning, Row: source + " " + name}
		}
	}
	return all, nil
}

// numbers reads fields of which some may be empty: nil.
func numbers(fields []string) ([]*float64, error) {
	out := make([]*float64, len(fields))
	for i, f := range fields {
		if f == "" {
			continue
		}
		v, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return nil, err
		}
		out[i] = &v
	}
	return out, nil
}

func or(v *float64, absent float64) float64 {
	if v == nil {
		return absent
	}
	return *v
}
