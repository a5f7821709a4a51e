package proxy_test

import (
	"flag"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/internal/leak"
	"github.com/sluice-gateway/sluice/internal/testkit"
	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/router"
	"github.com/sluice-gateway/sluice/telemetry"
)

var update = flag.Bool("update", false, "write what the embedded plane shows into the transcripts")

// driver is one way of driving exchanges. Every one must show the same of every transcript, wherever bytes are cut.
type driver struct {
	name string
	cuts []int // the most that one read returns; 0 = no limit
	open func(*world) asker
}

// asker plays a request of a transcript to its end.
type asker interface {
	ask(r *testkit.Request) testkit.Answer
	close()
}

// drivers are the planes, the one that writes the transcripts first. A plane over a real Envoy is one more row.
var drivers = []driver{
	{"embedded", []int{0, 1, 7, 64, 4096}, openEmbedded},
	{"envoy-played", []int{0, 1, 7, 64, 4096}, openPlayed},
}

// world is what a driver runs in: a network, a gateway, and what they showed.
type world struct {
	t       testing.TB
	net     *testkit.Net
	gateway *proxy.Gateway
	cut     int

	mu      sync.Mutex
	records []*telemetry.Record
}

func (w *world) emit(r *telemetry.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records = append(w.records, r)
}

// settled waits until the n-th exchange has ended.
func (w *world) settled(n int) []*telemetry.Record {
	w.t.Helper()
	for range 10_000 {
		synctest.Wait()
		w.mu.Lock()
		records := slices.Clone(w.records)
		w.mu.Unlock()
		if len(records) >= n {
			return records
		}
		time.Sleep(10 * time.Millisecond) // virtual
	}
	w.t.Fatalf("exchange %d never ended", n)
	return nil
}

// compile loads a policy whose secrets are made of their variables' names.
func compile(t testing.TB, src []byte) *policies.Policy {
	t.Helper()
	p, problems := policies.LoadBytes("policy.yaml", src, policies.Options{
		Presets: providers.Presets(),
		Env:     func(name string) (string, bool) { return "secret-of-" + name, true },
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return p
}

func newWorld(t testing.TB, policy []byte, cut int, options ...func(*proxy.Options)) *world {
	w := &world{t: t, net: testkit.NewNet(), cut: cut}
	w.net.Cut = cut
	o := proxy.Options{
		Router: router.New(router.Options{}),
		Emit:   w.emit,
		Jitter: func() float64 { return 0.5 },
	}
	for _, set := range options {
		set(&o)
	}
	w.gateway = proxy.NewGateway(compile(t, policy), o)
	return w
}

// play runs a transcript; it must be called inside a bubble.
func play(t *testing.T, tr *testkit.Transcript, d driver, cut int) testkit.Sections {
	w := newWorld(t, tr.Policy, cut)
	ups := testkit.NewUpstreams(w.net)
	if err := tr.Prepare(ups); err != nil {
		t.Fatal(err)
	}
	plane := d.open(w)
	var answers []testkit.Answer
	var starts []time.Time
	var records []*telemetry.Record
	for i, r := range tr.Requests {
		time.Sleep(r.Wait) // virtual
		starts = append(starts, time.Now())
		answers = append(answers, plane.ask(r))
		records = w.settled(i + 1)
		for _, broken := range testkit.Broken(&answers[i], records[i]) {
			t.Errorf("request %d: %s", i+1, broken)
		}
	}
	plane.close()
	w.net.Close()
	ups.Wait()
	for _, f := range ups.Faults() {
		t.Error(f)
	}
	if len(records) != len(tr.Requests) {
		t.Errorf("%d records of %d requests", len(records), len(tr.Requests))
	}
	if n := w.gateway.Inflight(); n != 0 {
		t.Errorf("%d exchanges are still open", n)
	}
	return tr.Report(starts, answers, records, ups.Seen())
}

// TestTranscripts is the differential test: what a client, the upstreams and the record show is the same in every plane and for every cut.
func TestTranscripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) < 50 {
		t.Fatalf("%d transcripts, %v", len(paths), err)
	}
	for _, path := range paths {
		tr, err := testkit.ReadTranscript(path)
		if err != nil {
			t.Error(err)
			continue
		}
		t.Run(tr.Name, func(t *testing.T) { differ(t, path, tr) })
	}
}

func differ(t *testing.T, path string, tr *testkit.Transcript) {
	want := tr.Wants()
	for i, d := range drivers {
		for j, cut := range d.cuts {
			synctest.Test(t, func(t *testing.T) {
				got := play(t, tr, d, cut)
				if *update && i == 0 && j == 0 {
					want = got
					if err := tr.Update(path, got); err != nil {
						t.Fatal(err)
					}
				}
				if diff := want.Diff(got); diff != "" {
					t.Errorf("%s, cut at %d: %s", d.name, cut, diff)
				}
			})
		}
	}
}

func TestMain(m *testing.M) { leak.Main(m) }
