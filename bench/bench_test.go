package main

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

func TestAnswersAreWellFormed(t *testing.T) {
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			if s.events == 0 {
				b := unaryAnswer(s)
				if len(b) != s.bytes || !json.Valid(b) {
					t.Errorf("%d bytes, valid %v; want %d", len(b), json.Valid(b), s.bytes)
				}
				return
			}
			frames := streamAnswer(s)
			if len(frames) != s.frames() {
				t.Fatalf("%d frames, want %d", len(frames), s.frames())
			}
			for i, f := range frames[:len(frames)-1] {
				data, ok := bytes.CutPrefix(f, []byte("data: "))
				if !ok || !bytes.HasSuffix(f, []byte("\n\n")) || !json.Valid(data) {
					t.Fatalf("frame %d is %q", i, f)
				}
			}
		})
	}
}

func TestRequests(t *testing.T) {
	for _, size := range []int{1 << 10, 100 << 10} {
		for _, stream := range []bool{false, true} {
			bodies := requests("bench-450", size, stream)
			distinct := map[string]bool{}
			for _, b := range bodies {
				distinct[string(b)] = true
				model, err := modelOf(b)
				if len(b) != size || !json.Valid(b) || err != nil || model != "bench-450" || looseModel(b) != model || bytes.Contains(b, []byte(`"stream":true`)) != stream {
					t.Fatalf("size %d, stream %v: %.200s", size, stream, b)
				}
			}
			if len(distinct) != len(bodies) {
				t.Errorf("%d distinct of %d", len(distinct), len(bodies))
			}
		}
	}
}

// However a stream is cut, the same frames are counted.
func TestAnswerCountsCutStreams(t *testing.T) {
	want := shapes[2]
	whole := slices.Concat(streamAnswer(want)...)
	for _, size := range []int{1, 2, 3, 7, 15, 16, 17, 100, 4096, len(whole)} {
		var a answer
		for chunk := range slices.Chunk(whole, size) {
			a.add(chunk)
		}
		a.add(nil)
		if err := a.check(want, "text/event-stream"); err != nil {
			t.Errorf("in chunks of %d: %v", size, err)
		}
	}
}

func TestParseProc(t *testing.T) {
	for _, c := range []struct {
		name, stat string
		want       time.Duration
		ok         bool
	}{
		{"plain", "42 (sluice) S 1 42 42 0 -1 4194560 900 0 0 0 150 25 0 0 20 0 8 0 100 1 2", 1750 * time.Millisecond, true},
		{"brackets in the name", "42 (a) b (c)) R 1 42 42 0 -1 4194560 900 0 0 0 1 2 0 0 20", 30 * time.Millisecond, true},
		{"cut", "42 (sluice) S 1 42", 0, false},
		{"not a number", "42 (sluice) S 1 42 42 0 -1 4194560 900 0 0 0 x 25 0", 0, false},
		{"empty", "", 0, false},
	} {
		if got, ok := parseStat(c.stat); got != c.want || ok != c.ok {
			t.Errorf("%s: %v, %v; want %v, %v", c.name, got, ok, c.want, c.ok)
		}
	}
	rss, peak := parseStatus("Name:\tsluice\nVmHWM:\t   41000 kB\nVmRSS:\t   40000 kB\nThreads:\t9\n")
	if rss != 40000<<10 || peak != 41000<<10 {
		t.Errorf("rss %d, peak %d", rss, peak)
	}
}

func FuzzParseProc(f *testing.F) {
	f.Add("42 (a) b (c)) R 1 42 42 0 -1 4194560 900 0 0 0 1 2 0 0 20")
	f.Add("VmRSS:\t   40000 kB\n")
	f.Fuzz(func(t *testing.T, s string) {
		if d, ok := parseStat(s); !ok && d != 0 {
			t.Fatalf("%v beside a refusal", d)
		}
		parseStatus(s)
	})
}

func TestPolicyNamesEveryModel(t *testing.T) {
	var p struct {
		Providers map[string]map[string]any
		Models    map[string]struct{ Provider, Name string }
		Routes    map[string]any
		Server    map[string]string
	}
	if err := yaml.Unmarshal([]byte(policy("http://127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")), &p); err != nil {
		t.Fatal(err)
	}
	if p.Providers["upstream"]["base_url"] != "http://127.0.0.1:1/v1" || p.Server["listen"] != "127.0.0.1:2" || p.Server["admin"] != "127.0.0.1:3" {
		t.Errorf("addresses: %v %v", p.Providers, p.Server)
	}
	for name, m := range p.Models {
		if _, ok := shapeOf(m.Name); !ok || m.Provider != "upstream" {
			t.Errorf("model %s is %+v", name, m)
		}
	}
	for _, w := range workloads {
		if _, ok := p.Routes[w.model]; !ok {
			t.Errorf("workload %q asks for %s, which is no route", w.name, w.model)
		}
	}
}

// series makes rounds of one p50 (ms) and one rate each.
func series(p50s, rates []float64) []sample {
	var s []sample
	for i := range p50s {
		s = append(s, sample{p50: time.Duration(p50s[i] * 1e6), rate: rates[i]})
	}
	return s
}

// The third round disturbs everybody; pairing by round leaves the ratio as it is.
func disturbed() *results {
	d, l, s := series([]float64{.1, .1, .5}, []float64{9, 9, 3}), series([]float64{.3, .3, .9}, []float64{6, 6, 2}), series([]float64{.35, .35, 1}, []float64{4.8, 4.8, 1.6})
	byTarget := map[string][]sample{direct: d, lean: l, sluice: s}
	return &results{
		o: options{rounds: 3, soak: rssAfter}, kinds: workloads[:1],
		bed:     &bed{targets: []*target{{name: direct}, {name: lean}, {name: sluice, starts: []time.Duration{40e6, 400e6, 50e6}, soak: soak{requests: rssAfter, rss: 59e6}}}},
		samples: map[string]map[string][]sample{unarySerial: byTarget, unaryBusy: byTarget, streamBusy: byTarget, streamPlain: byTarget},
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*results)
		want []string
	}{
		{"all met", func(*results) {}, []string{"yes", "yes", "yes", "yes", "yes", "yes"}},
		{"slow", func(r *results) {
			byTarget := map[string][]sample{direct: r.samples[unarySerial][direct], lean: r.samples[unarySerial][lean],
				sluice: series([]float64{.4, .4, .5}, []float64{4, 4, 4})}
			r.samples = map[string]map[string][]sample{unarySerial: byTarget, unaryBusy: byTarget, streamBusy: byTarget, streamPlain: byTarget}
		}, []string{"**no**", "**no**", "**no**", "yes", "yes", "yes"}},
		{"failures void a workload", func(r *results) { r.samples[unarySerial][lean][1].failed = 1 },
			[]string{"void: requests failed", "void: requests failed", "void: requests failed", "void: requests failed", "yes", "yes"}},
		{"noise voids the ratio", func(r *results) {
			byTarget := map[string][]sample{direct: series([]float64{.3, .3, .1}, []float64{9, 9, 9}), lean: series([]float64{.2, .2, .2}, []float64{9, 9, 9}),
				sluice: series([]float64{.9, .9, .9}, []float64{9, 9, 9})}
			r.samples = map[string]map[string][]sample{unarySerial: byTarget, unaryBusy: byTarget, streamBusy: byTarget, streamPlain: byTarget}
		}, []string{"void: noise", "yes", "yes", "yes", "yes", "yes"}},
		{"fat and late", func(r *results) {
			r.bed.targets[2].soak.rss = 61e6
			r.bed.targets[2].starts = []time.Duration{310e6}
		}, []string{"yes", "yes", "yes", "yes", "**no**", "**no**"}},
		{"short soak", func(r *results) { r.bed.targets[2].soak.requests = 2000 }, []string{"yes", "yes", "yes", "yes", "not judged: too few requests", "yes"}},
		{"without sluice", func(r *results) {
			r.bed.targets = r.bed.targets[:2]
			delete(r.samples[unarySerial], sluice) // one map, shared by all workloads
		}, []string{"not run", "not run", "not run", "not run", "not run", "not run"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := disturbed()
			c.edit(r)
			var got []string
			for _, v := range r.verdicts() {
				got = append(got, v.met)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("verdicts %q, want %q", got, c.want)
			}
		})
	}
}

func TestReport(t *testing.T) {
	var b strings.Builder
	if !disturbed().report(&b) {
		t.Error("all bounds are met, and the report says no")
	}
	for _, want := range []string{
		"| unary 1 KB, c=1 | direct | 0.100 (0.100–0.500) |",
		"| 0.250 (0.250–0.500) | 1.25 (1.25–1.25) | 5 (2–5) | 0.80 (0.80–0.80) |",
		"| added p50, unary 1 KB, c=1 | at most 1.3 × lean's | 1.25 (1.25–1.25) | yes |",
		"| RSS after 100000 requests | under 60 MB | 59.0 MB after 100000 | yes |",
		"| start to ready | under 300 ms | 50 (40–400) ms | yes |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, b.String())
		}
	}
}

func TestOver(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want spread
	}{
		{nil, spread{}},
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{9, 1, 4}, spread{4, 1, 9}},
		{[]float64{4, 1, 2, 9}, spread{3, 1, 9}},
	} {
		if got := over(c.in); got != c.want {
			t.Errorf("over(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		args string
		ok   bool
		want func(options) bool
	}{
		{"", true, func(o options) bool { return o.rounds >= 5 && o.soak == rssAfter }},
		{"-quick -rounds 7", true, func(o options) bool { return o.rounds == 7 && o.soak < 10_000 && o.duration < time.Second }},
		{"-targets direct,lean", true, func(o options) bool { return o.targets == "direct,lean" }},
		{"-targets envoy", false, nil},
		{"-rounds 0", false, nil},
		{"-nonsense", false, nil},
	} {
		o, err := parseOptions(strings.Fields(c.args), io.Discard)
		if (err == nil) != c.ok || c.ok && !c.want(o) {
			t.Errorf("%q: %+v, %v", c.args, o, err)
		}
	}
}

func TestServersStayOnLoopback(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.com:80", "127.0.0.1"} {
		if err := serve(addr, newNull(), strings.NewReader("")); err == nil {
			t.Errorf("serving on %s was not refused", addr)
		}
	}
}
