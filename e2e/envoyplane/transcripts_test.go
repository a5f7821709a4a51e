//go:build real

package envoyplane

import (
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/testkit"
	"github.com/sluice-gateway/sluice/internal/wire"
	"github.com/sluice-gateway/sluice/policies"
)

// hurried are transcripts that take too long in real time, and what their times are divided by: what clients and upstreams take as well as the
// policy's limits.
var hurried = map[string]int{
	"broken-stall": 10, "broken-total": 10, "fail-hang": 10, "fail-hang-after-head": 10, "fail-hang-unary": 10, "fail-timeout-everywhere": 10,
	"fail-total": 10, "slow-but-alive": 10, "session-sticky": 600, "rescue-stall": 10, "rescue-other-endpoint": 10, "rescue-leave": 10, "finish-then-silence": 10,
}

// hurriedMore holds where Envoy keeps the total limit only, which is the longest one: with `carrier: envoy`.
var hurriedMore = map[string]int{"broken-stall": 200, "fail-hang-after-head": 200}

// tally counts the exchanges of one driver: by who carried them, and what Envoy did otherwise.
type tally struct {
	mu       sync.Mutex
	carried  map[string]int
	rules    map[string]int
	recorded int // transcripts of gaveUp
}

func (c *tally) add(m *map[string]int, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *m == nil {
		*m = map[string]int{}
	}
	(*m)[key]++
}

// TestTranscripts is the differential test over a real Envoy: every transcript of the embedded plane, once as it is written (the executor carries) and
// once with `carrier: envoy` in every route.
func TestTranscripts(t *testing.T) {
	paths, err := filepath.Glob("../../proxy/testdata/*.txtar")
	if err != nil || len(paths) < 100 {
		t.Fatalf("%d transcripts, %v", len(paths), err)
	}
	envoy := Binary(t)
	for _, carrier := range []string{"executor", "envoy"} {
		var count tally
		t.Run(carrier, func(t *testing.T) {
			for _, path := range paths {
				t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
					t.Parallel()
					differ(t, path, envoy, carrier, &count)
				})
			}
		})
		fmt.Printf("carried: carrier %s, %d transcripts: %d exchanges by Envoy, %d by the executor; %d transcripts end otherwise\n",
			carrier, len(paths), count.carried["envoy"], count.carried["executor"], count.recorded)
		t.Logf("differences by rule: %v", count.rules)
	}
	stale(t)
}

func differ(t *testing.T, path, envoy, carrier string, count *tally) {
	tr, err := testkit.ReadTranscript(path)
	if err != nil {
		t.Fatal(err)
	}
	r := play(t, tr, envoy, carrier)
	for _, by := range r.carried {
		count.add(&count.carried, by)
	}
	want, got := tr.Wants().Timeless(), r.sections.Timeless()
	if carrier == "envoy" {
		want, got = r.ruled(want, got, func(rule string) { count.add(&count.rules, rule) })
		if why := gaveUp[tr.Name]; why != "" {
			count.add(&count.rules, why)
			count.mu.Lock()
			count.recorded++
			count.mu.Unlock()
			r.recorded(t, tr.Name, why, want, got)
			return
		}
	}
	if tr.Name == forgets && got.Text("want-record") == "" {
		want = want.Of("want-response")
	}
	for _, f := range r.faults {
		t.Error(f)
	}
	if diff := want.Diff(got); diff != "" {
		t.Error(diff)
	}
}

// TestMain runs more tests at once than there are cores: most of their time they wait for limits to run out.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// run is what a transcript showed.
type run struct {
	sections testkit.Sections
	carried  []string // by whom, for each request
	faults   []string // invariants that it broke, and scripts that it did not follow
}

// play runs a transcript in real time.
func play(t *testing.T, tr *testkit.Transcript, envoy, carrier string) (out run) {
	network := testkit.NewNet()
	ups := testkit.NewUpstreams(network)
	if err := tr.Prepare(ups); err != nil {
		t.Fatal(err)
	}
	names := map[string]string{} // address -> host
	text := string(tr.Policy)
	if carrier == "envoy" {
		d := newDoors(t, ups)
		ups.Turned, ups.Health, ups.Linger = d.turn, "/health", 100*time.Millisecond
		for _, host := range tr.Hosts() {
			at := d.add(host)
			names[at] = host
			text = strings.ReplaceAll(text, host, at)
		}
	}
	policy := Compile(t, []byte(text))
	by := hurried[tr.Name]
	if more := hurriedMore[tr.Name]; more > 0 && carrier == "envoy" {
		by = more
	}
	if by > 0 {
		tr.Hurry(by, ups)
		hurry(policy, time.Duration(by))
	}
	if carrier == "envoy" {
		for _, r := range policy.Routes {
			if r.Rescue == "" || r.Rescue == "off" {
				r.Carrier = "envoy"
			}
		}
	}
	var plane *Plane
	var asked atomic.Int64 // upstream requests before this one
	plane = Start(t, Options{
		Policy: policy, Envoy: envoy, Jitter: func() float64 { return 0.5 }, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Dial: func(ctx context.Context, n, addr string) (net.Conn, error) {
			if host, ok := names[addr]; ok {
				addr = host
			}
			return network.Dial(ctx, n, addr)
		},
		Claim: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if len(ups.Seen()) == int(asked.Load()) {
					refused(plane, ups, names, r.Header.Get(wire.HeaderID))
				}
				next.ServeHTTP(w, r)
			})
		},
	})
	var answers []testkit.Answer
	var starts []time.Time
	for i, r := range tr.Requests {
		time.Sleep(r.Wait)
		starts = append(starts, time.Now())
		asked.Store(int64(len(ups.Seen())))
		c, err := net.Dial("tcp", plane.Addr)
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, testkit.Ask(testkit.TCP{TCPConn: c.(*net.TCPConn)}, r))
		if tr.Name == forgets {
			continue
		}
		record := plane.Settled(i + 1)[i]
		for _, broken := range testkit.Broken(&answers[i], record) {
			out.faults = append(out.faults, fmt.Sprintf("request %d: %s", i+1, broken))
		}
		out.carried = append(out.carried, record.Carried)
	}
	records := plane.Records()
	if tr.Name != forgets {
		if len(records) != len(tr.Requests) {
			t.Errorf("%d records of %d requests", len(records), len(tr.Requests))
		}
		if n := plane.Gateway.Inflight(); n != 0 {
			t.Errorf("%d exchanges are still open", n)
		}
	}
	plane.Stop()
	network.Close()
	out.faults = append(out.faults, ups.Faults()...)
	slices.Sort(out.faults)
	out.sections = tr.Report(starts, answers, records, ups.Seen()).Map(func(_, text string) string { return named(text, names) })
	return out
}

// named puts names in the place of addresses. A Host that is the upstream's own says nothing.
func named(text string, names map[string]string) string {
	for at, host := range names {
		text = strings.ReplaceAll(text, at, host)
		text = strings.ReplaceAll(text, "\nHost: "+host+"\n", "\n")
	}
	return text
}

// refused uses up the script by which a host refused Envoy: nobody but Envoy saw it happen.
func refused(p *Plane, ups *testkit.Upstreams, names map[string]string, id string) {
	var key [16]byte
	if n, err := hex.Decode(key[:], []byte(id)); err != nil || n != len(key) {
		return
	}
	if x := p.Table.Find(key); x != nil && x.Prepared() {
		attempts := x.Record().Attempts
		if len(attempts) == 1 {
			host := names[attempts[0].Endpoint]
			_ = ups.Take(host, "refuse") || ups.Take(host, "dialhang")
		}
	}
}

// hurry divides the policy's limits.
func hurry(p *policies.Policy, by time.Duration) {
	for _, r := range p.Routes {
		l := &r.Timeouts
		for _, d := range []*time.Duration{&l.Connect, &l.Headers, &l.FirstToken, &l.Idle, &l.Answer, &l.Total, &r.Session.Sticky} {
			*d /= by
		}
	}
}
