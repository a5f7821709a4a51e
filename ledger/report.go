package ledger

import (
	"cmp"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/llm"
)

// dimension is something that rows can be summed by.
type dimension struct {
	name  string
	of    func(*Row) string
	asked bool // shown only when asked for
}

// dimensions stand in the order of the columns when nobody asks for another.
var dimensions = []dimension{
	{"tenant", func(r *Row) string { return r.Tenant }, false},
	{"key", func(r *Row) string { return r.Key }, false},
	{"route", func(r *Row) string { return r.Route }, false},
	{"model", func(r *Row) string { return r.Model }, false},
	{"provider", func(r *Row) string { return r.Provider }, false},
	{"usage", func(r *Row) string { return r.Kind.String() }, false},
	{"day", func(r *Row) string { return r.Time.UTC().Format(time.DateOnly) }, true},
}

// Query says what a report shows.
type Query struct {
	By     []string  // dimensions; empty = tenant, key, route, model, provider, usage
	Since  time.Time // zero = from the first row on
	Until  time.Time // of what GPUs cost in full; zero = now
	Format string    // csv or jsonl
	Raw    bool      // every row, not sums
	// GPU is what each own pool costs in USD an hour. With it a column full_micro_usd stands behind micro_usd: the hours of the period, idle ones too,
	// shared out as the marginal costs are.
	GPU map[string]float64
}

// ParseQuery reads a query as the command line and the admin API write it: by is a list with commas, since a duration before now, a date (UTC) or an
// RFC 3339 time.
func ParseQuery(by, since, format string, raw bool, now time.Time) (Query, error) {
	q := Query{Format: cmp.Or(format, "csv"), Raw: raw, Until: now}
	if q.Format != "csv" && q.Format != "jsonl" {
		return q, fmt.Errorf("format must be csv or jsonl, not %q", format)
	}
	if by != "" {
		q.By = strings.Split(by, ",")
	}
	for i, name := range q.By {
		q.By[i] = strings.TrimSpace(name)
		if !slices.ContainsFunc(dimensions, func(d dimension) bool { return d.name == q.By[i] }) {
			return q, fmt.Errorf("by must be of tenant, key, route, model, provider, usage, day, not %q", q.By[i])
		}
		if slices.Contains(q.By[:i], q.By[i]) {
			return q, fmt.Errorf("by names %s twice", q.By[i])
		}
	}
	if since == "" {
		return q, nil
	}
	var err error
	q.Since, err = moment(since, now)
	return q, err
}

// moment reads a time as one before now, a day or an RFC 3339 time.
func moment(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.Add(-time.Duration(n) * 24 * time.Hour), nil
		}
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errSince
}

var errSince = errors.New("since must be a duration such as 24h or 7d, a date (UTC) or an RFC 3339 time")

// sum is what a report shows of one group.
type sum struct {
	values                    []string
	attempts, in, out, cached int64
	micro                     int64
	full                      float64
	unknown                   bool // a price of what was used is not known
}

// Report writes a report. Money that is not known is an empty field in CSV and null in JSONL.
func (l *Ledger) Report(w io.Writer, q Query) error {
	out := newTable(w, q.Format)
	if q.Raw {
		return l.raw(out, q)
	}
	dims := q.dimensions()
	var columns []string
	for _, d := range dims {
		columns = append(columns, d.name)
	}
	columns = append(columns, "attempts", "tokens_in", "tokens_out", "tokens_cached", "micro_usd")
	if q.GPU != nil {
		columns = append(columns, "full_micro_usd")
	}
	groups, err := l.sums(q, dims)
	if err != nil {
		return err
	}
	if err := out.head(columns); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		s := groups[key]
		var cells []any
		for _, v := range s.values {
			cells = append(cells, v)
		}
		cells = append(cells, s.attempts, s.in, s.out, s.cached, money(s.micro, !s.unknown))
		if q.GPU != nil {
			cells = append(cells, money(int64(s.full+0.5), !s.unknown))
		}
		if err := out.line(cells); err != nil {
			return err
		}
	}
	return out.flush()
}

// money is an amount, or nothing where it is not known.
func money(micro int64, known bool) any {
	if !known {
		return nil
	}
	return micro
}

func (q *Query) dimensions() (dims []dimension) {
	for _, name := range q.By {
		i := slices.IndexFunc(dimensions, func(d dimension) bool { return d.name == name })
		dims = append(dims, dimensions[i])
	}
	if len(dims) > 0 {
		return dims
	}
	for _, d := range dimensions {
		if !d.asked {
			dims = append(dims, d)
		}
	}
	return dims
}

// sums adds the rows up, group by group.
func (l *Ledger) sums(q Query, dims []dimension) (map[string]*sum, error) {
	groups := map[string]*sum{}
	scale, err := l.scale(q)
	if err != nil {
		return nil, err
	}
	values := make([]string, len(dims))
	err = l.Rows(q.Since, func(r *Row) bool {
		for i, d := range dims {
			values[i] = d.of(r)
		}
		key := strings.Join(values, "\x00")
		s := groups[key]
		if s == nil {
			s = &sum{values: slices.Clone(values)}
			groups[key] = s
		}
		s.add(r, scale)
		return true
	})
	return groups, err
}

func (s *sum) add(r *Row, scale map[string]float64) {
	if r.Attempt > 0 {
		s.attempts++
	}
	s.in += int64(r.Usage.Input)
	s.out += int64(r.Usage.Output)
	s.cached += int64(r.Usage.Cached)
	if r.Kind == llm.UsageNone {
		return
	}
	s.micro += r.Cost.MicroUSD
	s.unknown = s.unknown || !r.Cost.Known
	full := float64(r.Cost.MicroUSD)
	if f, ok := scale[r.Provider]; ok && r.Cost.Price == PriceGPU {
		full *= f
	}
	s.full += full
}

// scale is by how much the hours of each pool's GPUs cost more than the share of them in which something was computed.
func (l *Ledger) scale(q Query) (map[string]float64, error) {
	if q.GPU == nil {
		return nil, nil
	}
	busy, from := map[string]int64{}, q.Since
	err := l.Rows(q.Since, func(r *Row) bool {
		if from.IsZero() {
			from = r.Time.Add(-r.Took)
		}
		if r.Cost.Price == PriceGPU {
			busy[r.Provider] += r.Cost.MicroUSD
		}
		return true
	})
	scale := map[string]float64{}
	for name, micro := range busy {
		if hours := q.Until.Sub(from).Hours(); micro > 0 && hours > 0 {
			scale[name] = max(1, q.GPU[name]*hours*1e6/float64(micro))
		}
	}
	return scale, err
}

// rawColumns are those of Query.Raw.
var rawColumns = []string{"time", "exchange", "attempt", "tenant", "key", "route", "model", "provider", "region", "usage", "tokens_in", "tokens_out",
	"tokens_cached", "tokens_written", "tokens_reasoning", "micro_usd", "price", "cache", "status", "class", "milliseconds"}

func (l *Ledger) raw(out *table, q Query) error {
	err := out.head(rawColumns)
	if err != nil {
		return err
	}
	rerr := l.Rows(q.Since, func(r *Row) bool {
		err = out.line([]any{
			r.Time.Format(time.RFC3339Nano), hex.EncodeToString(r.Exchange[:]), int64(r.Attempt), r.Tenant, r.Key, r.Route, r.Model, r.Provider, r.Region,
			r.Kind.String(), int64(r.Usage.Input), int64(r.Usage.Output), int64(r.Usage.Cached), int64(r.Usage.CacheWrite), int64(r.Usage.Reasoning),
			money(r.Cost.MicroUSD, r.Cost.Known), r.Cost.Price, r.Cache, int64(r.Status), r.Class, r.Took.Milliseconds(),
		})
		return err == nil
	})
	return errors.Join(err, rerr, out.flush())
}

// table writes lines as CSV or as JSON objects.
type table struct {
	w       io.Writer
	csv     *csv.Writer // nil = JSONL
	columns []string
}

func newTable(w io.Writer, format string) *table {
	t := &table{w: w}
	if format != "jsonl" {
		t.csv = csv.NewWriter(w)
	}
	return t
}

func (t *table) head(columns []string) error {
	t.columns = columns
	if t.csv == nil {
		return nil
	}
	return t.csv.Write(columns)
}

// line writes one line of strings, int64s and nils.
func (t *table) line(cells []any) error {
	if t.csv != nil {
		texts := make([]string, len(cells))
		for i, c := range cells {
			switch c := c.(type) {
			case string:
				texts[i] = c
			case int64:
				texts[i] = strconv.FormatInt(c, 10)
			}
		}
		return t.csv.Write(texts)
	}
	b := []byte{'{'}
	for i, c := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(strconv.AppendQuote(b, t.columns[i]), ':')
		v, err := json.Marshal(c)
		if err != nil {
			return err
		}
		b = append(b, v...)
	}
	_, err := t.w.Write(append(b, '}', '\n'))
	return err
}

func (t *table) flush() error {
	if t.csv == nil {
		return nil
	}
	t.csv.Flush()
	return t.csv.Error()
}
