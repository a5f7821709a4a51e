package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// spread is a median with the lowest and highest round.
type spread struct{ mid, low, high float64 }

// over sums the rounds up; the zero spread when there is none.
func over(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	v := slices.Sorted(slices.Values(values))
	mid := v[len(v)/2]
	if len(v)%2 == 0 {
		mid = (v[len(v)/2-1] + mid) / 2
	}
	return spread{mid, v[0], v[len(v)-1]}
}

func (s spread) text(format string) string {
	return fmt.Sprintf(format+" ("+format+"–"+format+")", s.mid, s.low, s.high)
}

// each maps the rounds of one target.
func (r *results) each(work, name string, f func(sample) float64) []float64 {
	var v []float64
	for _, s := range r.samples[work][name] {
		v = append(v, f(s))
	}
	return v
}

// paired combines the same round of two targets, so that what disturbed both is left out.
func paired(a, b []float64, f func(a, b float64) float64) []float64 {
	var v []float64
	for i := range min(len(a), len(b)) {
		v = append(v, f(a[i], b[i]))
	}
	return v
}

func minus(a, b float64) float64    { return a - b }
func quotient(a, b float64) float64 { return a / b }

func p50(s sample) float64  { return millis(s.p50) }
func rate(s sample) float64 { return s.rate }

func millis(d time.Duration) float64 { return float64(d) / 1e6 }
func micros(d time.Duration) float64 { return float64(d) / 1e3 }
func mega(b int64) float64           { return float64(b) / 1e6 }

// added is each round's p50 above the direct p50 of the same round, in milliseconds.
func (r *results) added(work, name string) []float64 {
	return paired(r.each(work, name, p50), r.each(work, direct, p50), minus)
}

// times is how many times the lean proxy's added p50 a target adds, round by round. A round in which noise made the lean proxy no slower
// than nothing has no such number and is left out: its quotient would be meaningless and could even pass a bound.
func (r *results) times(work, name string) []float64 {
	yard := r.added(work, lean)
	var v []float64
	for i, ms := range r.added(work, name) {
		if i < len(yard) && yard[i] > 0 {
			v = append(v, ms/yard[i])
		}
	}
	return v
}

// report prints the tables and says whether every bound was judged and met.
func (r *results) report(out io.Writer) bool {
	r.head(out)
	fmt.Fprint(out, "\n### Latency and throughput\n\n")
	fmt.Fprintln(out, "| workload | target | p50 ms | p99 ms | p99.9 ms | added p50 ms | × lean's added | answers/s | of lean's | CPU µs/answer | first byte p50 ms | failed |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, w := range r.kinds {
		for _, t := range r.bed.targets {
			r.row(out, w, t.name)
		}
	}
	fmt.Fprint(out, "\n### Processes\n\n")
	fmt.Fprintln(out, "| target | start to ready ms | RSS MB after the soak | highest RSS MB by then | highest RSS MB of the run | soak requests | soak answers/s | soak CPU µs/answer |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|")
	for _, t := range r.bed.targets {
		fmt.Fprintf(out, "| %s | %s | %.1f | %.1f | %.1f | %d | %.0f | %.0f |\n", t.name, over(starts(t)).text("%.0f"), mega(t.soak.rss), mega(t.soak.peak),
			mega(r.endRSS[t.name]), t.soak.requests, t.soak.rate, micros(t.soak.cpu))
	}
	fmt.Fprint(out, "\n### Bounds\n\n")
	fmt.Fprintln(out, "| what | bound | measured | met |")
	fmt.Fprintln(out, "|---|---|---|---|")
	all := true
	for _, v := range r.verdicts() {
		all = all && v.met == "yes"
		fmt.Fprintf(out, "| %s | %s | %s | %s |\n", v.what, v.bound, v.measured, v.met)
	}
	return all
}

func starts(t *target) []float64 {
	var v []float64
	for _, d := range t.starts {
		v = append(v, millis(d))
	}
	return v
}

func (r *results) row(out io.Writer, w workload, name string) {
	added, ratio, share := "–", "–", "–"
	if name != direct {
		added = over(r.added(w.name, name)).text("%.3f")
	}
	if name != direct && name != lean && len(r.samples[w.name][lean]) > 0 {
		if times := r.times(w.name, name); len(times) > 0 {
			ratio = over(times).text("%.2f")
		}
		share = over(paired(r.each(w.name, name, rate), r.each(w.name, lean, rate), quotient)).text("%.2f")
	}
	mid := func(f func(sample) float64, format string) string {
		return fmt.Sprintf(format, over(r.each(w.name, name, f)).mid)
	}
	label := w.name
	if w.open {
		label = fmt.Sprintf("%s at %.0f/s", w.name, r.rate)
	}
	fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %d |\n", label, name,
		over(r.each(w.name, name, p50)).text("%.3f"),
		mid(func(s sample) float64 { return millis(s.p99) }, "%.2f"), mid(func(s sample) float64 { return millis(s.p999) }, "%.2f"),
		added, ratio, over(r.each(w.name, name, rate)).text("%.0f"), share,
		mid(func(s sample) float64 { return micros(s.cpu) }, "%.0f"), mid(func(s sample) float64 { return millis(s.first) }, "%.3f"), r.failed(w.name, name))
}

func (r *results) failed(work, name string) int {
	n := 0
	for _, s := range r.samples[work][name] {
		n += s.failed
	}
	return n
}

// verdict is one bound and what came of it.
type verdict struct{ what, bound, measured, met string }

// The bounds of record; a change to one is a change of what Sluice promises.
const (
	addedBound = 1.3 // times the lean proxy's added p50
	shareBound = 0.7 // of the lean proxy's rate
	plainBound = 0.9 // of Sluice's own rate on a path whose answers it does not read
	rssBound   = 60  // MB
	rssAfter   = 100_000
	readyBound = 300 // ms
)

func (r *results) verdicts() []verdict {
	v := []verdict{
		r.judge("added p50, "+unarySerial, unarySerial, "at most %.1f × lean's", addedBound, r.times(unarySerial, sluice), true),
		r.judge("answers/s, "+unaryBusy, unaryBusy, "at least %.1f of lean's", shareBound, paired(r.each(unaryBusy, sluice, rate), r.each(unaryBusy, lean, rate), quotient), false),
		r.judge("streams/s, "+streamBusy, streamBusy, "at least %.1f of lean's", shareBound, paired(r.each(streamBusy, sluice, rate), r.each(streamBusy, lean, rate), quotient), false),
		r.judge("streams/s, "+streamBusy+": hold-back, rescue and metering", streamPlain, "at least %.1f of its own unread", plainBound, paired(r.each(streamBusy, sluice, rate), r.each(streamPlain, sluice, rate), quotient), false),
	}
	rss := verdict{fmt.Sprintf("RSS after %d requests", rssAfter), fmt.Sprintf("under %d MB", rssBound), "–", "not run"}
	ready := verdict{"start to ready", fmt.Sprintf("under %d ms", readyBound), "–", "not run"}
	for _, t := range r.bed.targets {
		if t.name != sluice {
			continue
		}
		if t.soak.rss > 0 {
			rss.measured, rss.met = fmt.Sprintf("%.1f MB after %d", mega(t.soak.rss), t.soak.requests), yes(mega(t.soak.rss) < rssBound)
			if t.soak.requests < rssAfter {
				rss.met = "not judged: too few requests"
			}
		}
		s := over(starts(t))
		ready.measured, ready.met = s.text("%.0f")+" ms", yes(s.mid < readyBound)
	}
	return append(v, rss, ready)
}

// judge compares the median of the rounds with a bound; a workload with failed requests, or with half of its rounds lost, proves nothing.
func (r *results) judge(what, work, bound string, limit float64, rounds []float64, most bool) verdict {
	v := verdict{what: what, bound: fmt.Sprintf(bound, limit), measured: "–", met: "not run"}
	ran := len(r.samples[work][sluice])
	if ran == 0 || len(r.samples[work][lean]) == 0 {
		return v
	}
	if 2*len(rounds) <= ran {
		v.met = "void: noise"
		return v
	}
	s := over(rounds)
	v.measured = s.text("%.2f")
	v.met = yes(most && s.mid <= limit || !most && s.mid >= limit)
	if r.failed(work, sluice)+r.failed(work, lean)+r.failed(work, direct) > 0 {
		v.met = "void: requests failed"
	}
	return v
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "**no**"
}

// title is the command line and the time.
func (r *results) title(out io.Writer) {
	fmt.Fprintf(out, "`%s`, %s\n\n", strings.TrimSpace("go run ./bench "+strings.Join(r.args, " ")), time.Now().UTC().Format("2006-01-02 15:04 UTC"))
}

// head says what was run, where, and how busy the machine was with other things.
func (r *results) head(out io.Writer) {
	r.title(out)
	if r.o.quick {
		fmt.Fprint(out, "**Smoke run: these figures prove that everything runs and nothing else.**\n\n")
	}
	fmt.Fprintf(out, "%s; %d processors (%s), shared by loader, upstream and target; load average %s before, %s after. Commit %s.\n", runtime.Version(), runtime.NumCPU(), processor(), r.load[0], r.load[1], commit())
	fmt.Fprintf(out, "%d interleaved rounds of %v after %v of warm-up each; median (lowest–highest round).", r.o.rounds, r.o.duration, r.o.warmup)
	var share []float64
	for _, byTarget := range r.samples {
		for _, rounds := range byTarget {
			for _, s := range rounds {
				share = append(share, s.loader)
			}
		}
	}
	fmt.Fprintf(out, " The loader used %.0f %% of all processors (median).\n", 100*over(share).mid)
}

func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(b)); err == nil && len(f) > 0 {
		return f[0]
	}
	return "unknown"
}

func processor() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
