package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// The bounds of record of the Envoy plane.
const (
	stageBound = 1.25 // times the no-op stage's CPU for each request
	eventBound = 2.5  // times plain Envoy's CPU for each event
	edgeBound  = 1.3  // times the CPU of Envoy with the lean proxy
)

// first is what an Envoy showed before the plane was built, in a prototype on two shared processors: what the plane was designed by.
var first = map[string][4]string{ // p50 ms at c=1, answers/s at c=32, CPU µs at c=32, CPU ms of a paced stream
	plain:   {"0.32", "11–12k", "100–108", "1.9"},
	carried: {"1.1–1.5", "2.4–2.7k", "630–700", "2.8"},
	handed:  {"1.1–1.45", "2.0k", "835–850", "3.8–4.3"},
	edge:    {"0.52", "4.6–4.9k", "305–332", "3.4"},
}

// meaning tells what the names stand for.
var meaning = map[string]string{
	direct:     "no proxy (CPU: the upstream's own)",
	plain:      "Envoy alone",
	noop:       "Envoy, no-op stage, both logs",
	leanEnvoy:  "Envoy → lean proxy on a socket",
	carried:    "**Sluice, `carrier: envoy`**",
	handed:     "**Sluice, `carrier: executor` behind the stage**",
	edge:       "**Sluice, `mode: edge`**",
	noopUsage:  "no-op stage with usage filters",
	noopBody:   "no-op stage, body message only, headers as attributes",
	noopSpeaks: "no-op stage that says what a router must",
	noopEarly:  "no-op stage, stream closed with its last answer",
	noopOne:    "no-op stage, one worker",
	carriedOne: "Sluice, `carrier: envoy`, one worker",
}

// tries are variants and what each is a variant of.
var tries = [][2]string{{noopSpeaks, noop}, {noopUsage, noop}, {noopBody, noop}, {noopEarly, noop}, {noopOne, noop}, {carriedOne, carried}}

func cpuEach(s sample) float64 { return micros(s.cpu) }

// ratio is one target's figure over another's, round by round; rounds without a figure are left out.
func (r *results) ratio(work, a, b string, f func(sample) float64) []float64 {
	return slices.DeleteFunc(paired(r.each(work, a, f), r.each(work, b, f), func(a, b float64) float64 {
		if a <= 0 || b <= 0 {
			return 0
		}
		return a / b
	}), func(v float64) bool { return v <= 0 })
}

// grade is two workloads that differ in the length of their streams only.
type grade struct {
	short, long string
	more        float64 // events
}

// Back to back, several events come with one read and are carried together; 20 ms apart, each is carried by itself, as a model's are.
var (
	backToBack = grade{streamShort, streamLong, 500 - 50}
	apart      = grade{pacedShort, streamPaced, 50 - 20}
)

// slope is the CPU time of one event more in a stream, round by round, in µs.
func (r *results) slope(g grade, name string) []float64 {
	return paired(r.each(g.long, name, cpuEach), r.each(g.short, name, cpuEach), func(long, short float64) float64 { return (long - short) / g.more })
}

// slopes is the ratio of two slopes, round by round. Noise may turn a slope round; such a round has no ratio.
func (r *results) slopes(g grade, a, b string) []float64 {
	return slices.DeleteFunc(paired(r.slope(g, a), r.slope(g, b), func(a, b float64) float64 {
		if a <= 0 || b <= 0 {
			return 0
		}
		return a / b
	}), func(v float64) bool { return v <= 0 })
}

// orDash is a spread, or a dash where there is no round.
func orDash(rounds []float64, format string) string {
	if len(rounds) == 0 {
		return "–"
	}
	return over(rounds).text(format)
}

// envoyReport prints the tables of the Envoy plane and says whether every bound was judged and met.
func (r *results) envoyReport(out io.Writer) bool {
	r.head(out)
	fmt.Fprintf(out, "Envoy with %d workers, but for the targets named so; %s.\n", r.o.workers, r.bed.envoyVersion)
	fmt.Fprint(out, "\n### Latency, throughput, CPU of both processes\n\n")
	fmt.Fprintln(out, "| workload | target | p50 ms | p99 ms | answers/s | CPU µs/answer: Envoy | Go | both | × no-op stage's | failed |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|---|")
	for _, w := range r.kinds {
		for _, t := range r.bed.targets {
			r.envoyRow(out, w, t)
		}
	}
	r.events(out)
	r.planned(out)
	r.tried(out)
	r.memories(out)
	fmt.Fprint(out, "\n### Bounds\n\n")
	fmt.Fprintln(out, "| what | bound | measured | met |")
	fmt.Fprintln(out, "|---|---|---|---|")
	all := true
	for _, v := range r.envoyVerdicts() {
		all = all && v.met == "yes"
		fmt.Fprintf(out, "| %s | %s | %s | %s |\n", v.what, v.bound, v.measured, v.met)
	}
	return all
}

func (r *results) envoyRow(out io.Writer, w workload, t *target) {
	mid := func(f func(sample) float64, format string) string {
		return fmt.Sprintf(format, over(r.each(w.name, t.name, f)).mid)
	}
	ofEnvoy, ofGo := "–", mid(cpuEach, "%.0f")
	if t.envoy != 0 {
		ofEnvoy = mid(func(s sample) float64 { return micros(s.envoy) }, "%.0f")
		ofGo = mid(func(s sample) float64 { return micros(s.cpu - s.envoy) }, "%.0f")
	}
	fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %d |\n", w.name, meaning[t.name],
		over(r.each(w.name, t.name, p50)).text("%.3f"), mid(func(s sample) float64 { return millis(s.p99) }, "%.2f"),
		over(r.each(w.name, t.name, rate)).text("%.0f"), ofEnvoy, ofGo, over(r.each(w.name, t.name, cpuEach)).text("%.0f"),
		orDash(r.ratio(w.name, t.name, noop, cpuEach), "%.2f"), r.failed(w.name, t.name))
}

// events prints what one event more costs.
func (r *results) events(out io.Writer) {
	for _, g := range []grade{backToBack, apart} {
		if len(r.samples[g.short]) == 0 || len(r.samples[g.long]) == 0 {
			continue
		}
		fmt.Fprint(out, "\n### Cost of an event\n\n")
		fmt.Fprintf(out, "| target | CPU µs/stream: %s | %s | slope, µs/event | × plain Envoy's | × no-op stage with usage filters |\n", g.short, g.long)
		fmt.Fprintln(out, "|---|---|---|---|---|---|")
		for _, t := range r.bed.targets {
			fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %s |\n", meaning[t.name], over(r.each(g.short, t.name, cpuEach)).text("%.0f"),
				over(r.each(g.long, t.name, cpuEach)).text("%.0f"), over(r.slope(g, t.name)).text("%.2f"), orDash(r.slopes(g, t.name, plain), "%.2f"),
				orDash(r.slopes(g, t.name, noopUsage), "%.2f"))
		}
	}
}

// planned prints the four figures that the plane was designed by, then and now.
func (r *results) planned(out io.Writer) {
	fmt.Fprint(out, "\n### Beside the prototype's figures\n\n")
	fmt.Fprintln(out, "| target | p50 ms, c=1 | then | answers/s, c=32 | then | CPU µs, c=32 | then | CPU ms of a paced stream | then |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|")
	mid := func(work, name string, f func(sample) float64, format string) string {
		rounds := r.each(work, name, f)
		if len(rounds) == 0 {
			return "–"
		}
		return fmt.Sprintf(format, over(rounds).mid)
	}
	for _, t := range r.bed.targets {
		then, ok := first[t.name]
		if !ok {
			continue
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", meaning[t.name],
			mid(unarySerial, t.name, p50, "%.2f"), then[0], mid(unaryBusy, t.name, rate, "%.0f"), then[1],
			mid(unaryBusy, t.name, cpuEach, "%.0f"), then[2], mid(streamPaced, t.name, func(s sample) float64 { return millis(s.cpu) }, "%.1f"), then[3])
	}
}

// tried prints what a variant changes; below 1 it is faster, slower in rate, or cheaper.
func (r *results) tried(out io.Writer) {
	fmt.Fprint(out, "\n### Tried\n\n")
	fmt.Fprintln(out, "| variant | of | p50 at c=1, × | answers/s at c=32, × | CPU at c=1, × | CPU at c=32, × | CPU of a stream of 500, × | CPU of a paced stream, × |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|")
	for _, v := range tries {
		if !slices.ContainsFunc(r.bed.targets, func(t *target) bool { return t.name == v[0] }) {
			continue
		}
		of := func(work string, f func(sample) float64) string { return orDash(r.ratio(work, v[0], v[1], f), "%.2f") }
		fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", meaning[v[0]], meaning[v[1]], of(unarySerial, p50), of(unaryBusy, rate),
			of(unarySerial, cpuEach), of(unaryBusy, cpuEach), of(streamLong, cpuEach), of(streamPaced, cpuEach))
	}
}

// memories prints the highest resident sets. Processes that several targets share are named by each.
func (r *results) memories(out io.Writer) {
	fmt.Fprint(out, "\n### Memory, highest of the run\n\n| target | Envoy MB | Go MB |\n|---|---|---|\n")
	for _, t := range r.bed.targets {
		ofEnvoy, ofGo := "–", "–"
		if r.endEnvoy[t.name] > 0 {
			ofEnvoy = fmt.Sprintf("%.0f", mega(r.endEnvoy[t.name]))
		}
		if r.endRSS[t.name] > 0 {
			ofGo = fmt.Sprintf("%.0f", mega(r.endRSS[t.name]))
		}
		fmt.Fprintf(out, "| %s | %s | %s |\n", meaning[t.name], ofEnvoy, ofGo)
	}
}

func (r *results) envoyVerdicts() []verdict {
	type side = []string
	stage := func(work, than, of string) verdict {
		return r.judgeEnvoy("CPU, "+work+": `carrier: envoy`", "at most %.2f × that of "+of, stageBound, r.ratio(work, carried, than, cpuEach), side{work}, side{carried, than})
	}
	return []verdict{
		stage(unaryBusy, noopSpeaks, "a no-op stage that says what a router must"),
		stage(unarySerial, noopSpeaks, "a no-op stage that says what a router must"),
		stage(unaryBusy, noop, "a no-op stage that says nothing"),
		stage(unarySerial, noop, "a no-op stage that says nothing"),
		r.judgeEnvoy("CPU of an event, 50 to 500: `carrier: envoy`, usage metadata on", "at most %.1f × plain Envoy's", eventBound,
			r.slopes(backToBack, carried, plain), side{streamShort, streamLong}, side{carried, plain}),
		r.judgeEnvoy("CPU, "+unaryBusy+": edge", "at most %.1f × Envoy with the lean proxy", edgeBound,
			r.ratio(unaryBusy, edge, leanEnvoy, cpuEach), side{unaryBusy}, side{edge, leanEnvoy}),
		r.judgeEnvoy("CPU, "+unarySerial+": edge", "at most %.1f × Envoy with the lean proxy", edgeBound,
			r.ratio(unarySerial, edge, leanEnvoy, cpuEach), side{unarySerial}, side{edge, leanEnvoy}),
	}
}

// judgeEnvoy compares the median of the rounds with a bound. One failed request of either side, or half of the rounds lost, voids it.
func (r *results) judgeEnvoy(what, bound string, limit float64, rounds []float64, works, names []string) verdict {
	v := verdict{what: what, bound: fmt.Sprintf(bound, limit), measured: "–", met: "not run"}
	failed := 0
	for _, w := range works {
		for _, n := range names {
			if len(r.samples[w][n]) == 0 {
				return v
			}
			failed += r.failed(w, n)
		}
	}
	if 2*len(rounds) <= r.o.rounds {
		v.met = "void: noise"
		return v
	}
	s := over(rounds)
	v.measured, v.met = s.text("%.2f"), yes(s.mid <= limit)
	if failed > 0 {
		v.met = "void: requests failed"
	}
	return v
}

// endMemory books the highest resident sets of the run.
func (r *results) endMemory() {
	for _, t := range r.bed.targets {
		if t.envoy == 0 {
			_, r.endRSS[t.name] = memory(t.proc.cmd.Process.Pid)
			continue
		}
		_, r.endEnvoy[t.name] = memory(t.envoy)
		for _, pid := range t.pids {
			_, peak := memory(pid)
			r.endRSS[t.name] += peak
		}
	}
}

// stalled is the latency at which an answer at c=1 is worth a line: none of the targets has a reason for it.
const stalled = 100 * time.Millisecond
