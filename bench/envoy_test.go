package main

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

func TestStaticEnvoys(t *testing.T) {
	for _, c := range []struct {
		name      string
		s         staticEnvoy
		has, lack []string
	}{
		{"plain", staticEnvoy{}, []string{"port_value: 4", "port_value: 5"}, []string{"pipe:", "ext_proc", "access_log", "to_metadata"}},
		{"stage", staticEnvoy{Stage: "/s"}, []string{"request_header_mode: SEND", "access_log:", "upstream_log:", "pipe: {path: /s}"}, []string{"to_metadata", "attributes", "close-early"}},
		{"usage", staticEnvoy{Stage: "/s", Usage: true}, []string{"sse_to_metadata", "json_to_metadata"}, []string{"attributes", "close-early"}},
		{"body only", staticEnvoy{Stage: "/s", BodyOnly: true}, []string{"request_header_mode: SKIP", "request_attributes:"}, []string{"close-early"}},
		{"early", staticEnvoy{Stage: "/s", CloseEarly: true}, []string{"x-noop-close-early"}, []string{"attributes"}},
		{"lean", staticEnvoy{pipe: "/l"}, []string{"pipe: {path: /l}"}, []string{"port_value: 5", "ext_proc"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, err := c.s.config("127.0.0.1:4", "127.0.0.1:5")
			if err != nil {
				t.Fatal(err)
			}
			var config struct {
				StaticResources struct{ Listeners, Clusters []any } `yaml:"static_resources"`
			}
			if err := yaml.Unmarshal(text, &config); err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			clusters := 1
			if c.s.Stage != "" {
				clusters = 2
			}
			if len(config.StaticResources.Listeners) != 1 || len(config.StaticResources.Clusters) != clusters {
				t.Errorf("%d listeners, %d clusters", len(config.StaticResources.Listeners), len(config.StaticResources.Clusters))
			}
			for _, s := range c.has {
				if !strings.Contains(string(text), s) {
					t.Errorf("lacks %q", s)
				}
			}
			for _, s := range c.lack {
				if strings.Contains(string(text), s) {
					t.Errorf("has %q", s)
				}
			}
		})
	}
	if _, err := (staticEnvoy{}).config("nowhere", "127.0.0.1:5"); err == nil {
		t.Error("an address without a port was taken")
	}
}

func TestEnvoyPolicyNamesEveryModel(t *testing.T) {
	for _, mode := range []string{"filter", "edge"} {
		var p struct {
			Models map[string]struct{ Provider, Name string }
			Routes map[string]struct{ Carrier string }
			Server struct{ Envoy map[string]string }
		}
		if err := yaml.Unmarshal([]byte(envoyPolicy("http://127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", mode, "/bin/an envoy")), &p); err != nil {
			t.Fatal(err)
		}
		if p.Server.Envoy["mode"] != mode || p.Server.Envoy["binary"] != "/bin/an envoy" {
			t.Errorf("%s: %v", mode, p.Server.Envoy)
		}
		for _, w := range envoyWorkloads {
			second := (&target{route: routeExecutor}).model(w.model)
			if mode == "edge" {
				if r, ok := p.Routes[w.model]; !ok || r.Carrier != "" {
					t.Errorf("edge: route %s is %+v, %v", w.model, r, ok)
				}
			} else if p.Routes[w.model].Carrier != "envoy" || p.Routes[second].Carrier != "executor" {
				t.Errorf("filter: %s is by %q, %s by %q", w.model, p.Routes[w.model].Carrier, second, p.Routes[second].Carrier)
			}
			a, okA := shapeOf(w.model)
			b, okB := shapeOf(second)
			if !okA || !okB || a != b {
				t.Errorf("%s and %s ask for different answers", w.model, second)
			}
		}
	}
}

// Grades count their events by the shapes that their workloads ask for.
func TestGrades(t *testing.T) {
	events := func(work string) float64 {
		i := slices.IndexFunc(envoyWorkloads, func(w workload) bool { return w.name == work })
		s, _ := shapeOf(envoyWorkloads[i].model)
		return float64(s.events)
	}
	for _, g := range []grade{backToBack, apart} {
		if got := events(g.long) - events(g.short); got != g.more {
			t.Errorf("%s and %s differ by %v events, not %v", g.short, g.long, got, g.more)
		}
	}
}

func TestNamesOfTargets(t *testing.T) {
	for _, name := range envoyTargets() {
		if meaning[name] == "" {
			t.Errorf("%s has no meaning", name)
		}
	}
	for _, v := range tries {
		if !slices.Contains(envoyTargets(), v[0]) || !slices.Contains(envoyTargets(), v[1]) {
			t.Errorf("%v names no targets", v)
		}
	}
}

// priced makes rounds of one CPU figure each, in µs.
func priced(cpu ...float64) []sample {
	var s []sample
	for _, v := range cpu {
		s = append(s, sample{cpu: time.Duration(v * 1e3), envoy: time.Duration(v * 500), p50: time.Millisecond, rate: 1000})
	}
	return s
}

// The second round disturbs everybody twofold.
func envoyResults() *results {
	return &results{
		o: options{rounds: 3, workers: 2, plane: planeEnvoy}, kinds: envoyWorkloads, endRSS: map[string]int64{}, endEnvoy: map[string]int64{},
		bed: &bed{targets: []*target{{name: plain, envoy: 1}, {name: noop, envoy: 2}, {name: carried, envoy: 3}, {name: noopUsage, envoy: 4}}},
		samples: map[string]map[string][]sample{
			unarySerial: {noop: priced(1000, 2000, 1000), noopSpeaks: priced(1100, 2200, 1100), carried: priced(1200, 2400, 1200), leanEnvoy: priced(400, 800, 400), edge: priced(500, 1000, 500), plain: priced(1, 1, 1), noopUsage: priced(1, 1, 1)},
			unaryBusy:   {noop: priced(400, 800, 400), noopSpeaks: priced(440, 880, 440), carried: priced(480, 960, 480), leanEnvoy: priced(200, 400, 200), edge: priced(240, 480, 240), plain: priced(1, 1, 1), noopUsage: priced(1, 1, 1)},
			streamShort: {plain: priced(200, 400, 200), carried: priced(700, 1400, 700), noop: priced(1, 1, 1), noopUsage: priced(700, 700, 700)},
			streamLong:  {plain: priced(650, 1300, 650), carried: priced(1600, 3200, 1600), noop: priced(1, 1, 1), noopUsage: priced(1150, 1150, 1150)},
			pacedShort:  {}, streamPaced: {},
		},
	}
}

func TestEnvoyVerdicts(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(map[string]map[string][]sample)
		want []string
	}{
		{"all met", func(map[string]map[string][]sample) {}, []string{"yes", "yes", "yes", "yes", "yes", "yes", "yes"}},
		{"dear stage", func(s map[string]map[string][]sample) { s[unaryBusy][carried] = priced(510, 1020, 510) }, []string{"yes", "yes", "**no**", "yes", "yes", "yes", "yes"}},
		{"dearer than saying it", func(s map[string]map[string][]sample) { s[unarySerial][noopSpeaks] = priced(900, 1800, 900) }, []string{"yes", "**no**", "yes", "yes", "yes", "yes", "yes"}},
		{"dear events", func(s map[string]map[string][]sample) { s[streamLong][carried] = priced(1900, 3800, 1900) }, []string{"yes", "yes", "yes", "yes", "**no**", "yes", "yes"}},
		{"dear edge", func(s map[string]map[string][]sample) { s[unaryBusy][edge] = priced(270, 540, 270) }, []string{"yes", "yes", "yes", "yes", "yes", "**no**", "yes"}},
		{"no slope at all", func(s map[string]map[string][]sample) { s[streamLong][plain] = priced(100, 100, 650) }, []string{"yes", "yes", "yes", "yes", "void: noise", "yes", "yes"}},
		{"CPU unknown", func(s map[string]map[string][]sample) { s[unaryBusy][noop] = priced(0, 0, 0) }, []string{"yes", "yes", "void: noise", "yes", "yes", "yes", "yes"}},
		{"failures", func(s map[string]map[string][]sample) { s[unaryBusy][edge][1].failed = 1 }, []string{"yes", "yes", "yes", "yes", "yes", "void: requests failed", "yes"}},
		{"not all targets", func(s map[string]map[string][]sample) { delete(s[unarySerial], noop) }, []string{"yes", "yes", "yes", "not run", "yes", "yes", "yes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := envoyResults()
			c.edit(r.samples)
			var got []string
			for _, v := range r.envoyVerdicts() {
				got = append(got, v.met)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("verdicts %q, want %q", got, c.want)
			}
		})
	}
}

func TestEnvoyReport(t *testing.T) {
	var b strings.Builder
	if !envoyResults().envoyReport(&b) {
		t.Error("all bounds are met, and the report says no")
	}
	for _, want := range []string{
		"| 1000 (1000–1000) | 240 | 240 | 480 (480–960) | 1.20 (1.20–1.20) | 0 |",
		"| 700 (700–1400) | 1600 (1600–3200) | 2.00 (2.00–4.00) | 2.00 (2.00–2.00) | 2.00 (2.00–4.00) |",
		"| **Sluice, `carrier: envoy`** | 1.00 | 1.1–1.5 | 1000 | 2.4–2.7k | 480 | 630–700 | – | 2.8 |",
		"| CPU of an event, 50 to 500: `carrier: envoy`, usage metadata on | at most 2.5 × plain Envoy's | 2.00 (2.00–2.00) | yes |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, b.String())
		}
	}
}

func TestEnvoyOptions(t *testing.T) {
	for _, c := range []struct {
		args string
		ok   bool
		want func(options) bool
	}{
		{"-plane envoy", true, func(o options) bool {
			return o.targets == strings.Join(envoyTargets(), ",") && o.soak == envoySoak && o.starts == 1 && o.workers > 0
		}},
		{"-plane envoy -soak 7 -targets plain,edge", true, func(o options) bool { return o.soak == 7 && o.targets == "plain,edge" }},
		{"-plane envoy -quick", true, func(o options) bool { return o.soak < envoySoak && o.starts == 1 }},
		{"", true, func(o options) bool { return o.targets == "direct,lean,sluice" }},
		{"-plane envoy -targets sluice", false, nil},
		{"-plane envoy -workers 0", false, nil},
		{"-plane nginx", false, nil},
	} {
		o, err := parseOptions(strings.Fields(c.args), io.Discard)
		if (err == nil) != c.ok || c.ok && !c.want(o) {
			t.Errorf("%q: %+v, %v", c.args, o, err)
		}
	}
}

func TestParseParent(t *testing.T) {
	for _, c := range []struct {
		stat string
		want int
	}{
		{"42 (envoy) S 17 42 42 0", 17},
		{"42 (a) b (c)) R 1 42", 1},
		{"42 (envoy) S", 0},
		{"42 (envoy) S x", 0},
		{"", 0},
	} {
		if got := parseParent(c.stat); got != c.want {
			t.Errorf("%q: %d, want %d", c.stat, got, c.want)
		}
	}
	if !slices.Contains(children(os.Getppid()), os.Getpid()) {
		if _, err := os.Stat("/proc/self/stat"); err == nil {
			t.Error("a process is no child of its parent")
		}
	}
}

func TestProofOfCarrier(t *testing.T) {
	for _, c := range []struct {
		name, log string
		carried   string
		ok        bool
	}{
		{"nobody says", "", "", true},
		{"as it should be", `{"carried":"envoy"}` + "\n" + `{"carried":"envoy"}`, "envoy", true},
		{"one by the other", `{"carried":"envoy"}` + "\n" + `{"carried":"executor"}`, "envoy", false},
		{"too few", `{"carried":"envoy"}`, "envoy", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "log")
			if err := os.WriteFile(file, []byte(c.log), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx := t.Context()
			if !c.ok {
				ctx = ended(ctx)
			}
			err := (&target{carried: c.carried, proc: &process{output: file}}).proveCarrier(ctx, 2)
			if (err == nil) != c.ok {
				t.Error(err)
			}
		})
	}
}

// ended is a context that is over.
func ended(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}

func TestServingOnASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := listenHere(socketPrefix + path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestFileName(t *testing.T) {
	if got := fileName("carrier-envoy SSE 50 events, c=32"); got != "carrier-envoy-sse-50-events-c-32" {
		t.Error(got)
	}
}
