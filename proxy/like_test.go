package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/cache"
	"github.com/sluice-gateway/sluice/internal/testkit"
	"github.com/sluice-gateway/sluice/ledger"
	"github.com/sluice-gateway/sluice/proxy"
)

const likePolicy = `version: 1
providers:
  one: {dialect: openai, base_url: http://one.test:9000/v1}
  emb: {dialect: openai, base_url: http://emb.test:9000/v1}
models:
  a: {provider: one, name: a-up, price: {in: 1, out: 1}}
  mini: {provider: emb, name: mini, can: [embeddings], price: {in: 1000, out: 0}}
routes:
  auto: {cache: {exact: 2h, semantic: {model: mini, ttl: 1h}}, rules: [{use: [a]}], attempts: {total: 1}}
`

// embedder finds every question as like as can be, after a while.
type embedder struct{ asked atomic.Int64 }

func (e *embedder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	e.asked.Add(1)
	time.Sleep(100 * time.Millisecond) // virtual
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"data":[{"embedding":[1,0]}],"usage":{"prompt_tokens":5}}`)
}

// says is a question to the route auto.
func says(t testing.TB, text string, header ...string) *testkit.Request {
	t.Helper()
	head := "POST /v1/chat/completions\nContent-Type: application/json\n"
	for i := 0; i+1 < len(header); i += 2 {
		head += header[i] + ": " + header[i+1] + "\n"
	}
	r, err := testkit.ParseRequest(fmt.Appendf(nil, "%s\n{\"model\":\"auto\",\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":%q}]}\n", head, text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// likeLab runs f in a lab with one slow provider and an embedder.
func likeLab(t *testing.T, f func(l *lab, up *slow, e *embedder), options ...func(*proxy.Options)) {
	t.Helper()
	e := &embedder{}
	inLab(t, likePolicy, "stop", func(l *lab, up *slow) {
		l.serve("emb.test:9000", e)
		f(l, up, e)
	}, options...)
}

// TestLikeFlight: of equal requests one looks its question up, and the others have what it found.
func TestLikeFlight(t *testing.T) {
	likeLab(t, func(l *lab, up *slow, e *embedder) {
		l.plane.ask(says(t, "How do I sort a list?"))
		y := l.crowd(100, says(t, "how can I sort a list"))
		y.wait.Wait()
		if n := y.count(hits); n != 100 || up.asked.Load() != 1 || e.asked.Load() != 2 {
			t.Errorf("%d hits, %d answers, %d embeddings", n, up.asked.Load(), e.asked.Load())
		}
	})
}

// TestLikeAges: what was learnt holds for its own time, whatever holds for the same request.
func TestLikeAges(t *testing.T) {
	likeLab(t, func(l *lab, _ *slow, _ *embedder) {
		for _, tc := range []struct {
			wait             time.Duration
			text, cache, age string
		}{
			{0, "How do I sort a list?", "miss", ""},
			{30 * time.Minute, "how can I sort a list", "hit", "1800"},
			{31 * time.Minute, "how to sort a list", "miss", ""},
			{0, "How do I sort a list?", "hit", "3662"},
			{0, "how would I sort a list", "hit", "0"},
		} {
			time.Sleep(tc.wait) // virtual
			a := l.plane.ask(says(t, tc.text))
			if a.Header.Get("X-Sluice-Cache") != tc.cache || a.Header.Get("Age") != tc.age {
				t.Errorf("%s after %v: %v", tc.text, tc.wait, a.Header)
			}
		}
	})
}

// TestLikePurge: a purge that names an answer has it forgotten for like questions too.
func TestLikePurge(t *testing.T) {
	for _, tc := range []struct {
		filter cache.Filter
		want   string
	}{{cache.Filter{}, "miss"}, {cache.Filter{Route: "auto", Model: "a"}, "miss"}, {cache.Filter{Model: "mini"}, "hit"}, {cache.Filter{Tenant: "acme"}, "hit"}} {
		likeLab(t, func(l *lab, _ *slow, _ *embedder) {
			l.plane.ask(says(t, "How do I sort a list?"))
			if err := l.gateway.Purge(t.Context(), tc.filter); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond) // virtual
			if got := l.plane.ask(says(t, "how can I sort a list")).Header.Get("X-Sluice-Cache"); got != tc.want {
				t.Errorf("after %+v: %s", tc.filter, got)
			}
		})
	}
}

// TestLikeLedger: an embedding is a row of its own, and part of what the exchange cost.
func TestLikeLedger(t *testing.T) {
	var book *ledger.Ledger
	likeLab(t, func(l *lab, _ *slow, _ *embedder) {
		l.plane.ask(says(t, "How do I sort a list?"))
		l.plane.ask(says(t, "how can I sort a list"))
		for i, r := range l.settled(2) {
			if want := []int64{5002, 5000}[i]; r.MicroUSD != want || !r.PriceKnown { // the answer has two tokens, each embedding five
				t.Errorf("exchange %d cost %d", i, r.MicroUSD)
			}
		}
		var rows []string
		if err := book.Rows(time.Time{}, func(r *ledger.Row) bool {
			rows = append(rows, fmt.Sprintf("%d %s %s %d+%d %d", r.Attempt, r.Model, r.Cache, r.Usage.Input, r.Usage.Output, r.Cost.MicroUSD))
			return true
		}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(rows)
		want := []string{"0 a hit 0+0 0", "1 a miss 1+1 2", "1 mini lookup 5+0 5000", "2 mini lookup 5+0 5000"}
		if d := cmp.Diff(want, rows); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
		if err := book.Close(); err != nil {
			t.Error(err)
		}
	}, func(o *proxy.Options) {
		var err error
		if book, err = ledger.Open(t.TempDir(), func(int, error) {}); err != nil {
			t.Fatal(err)
		}
		o.Ledger = book
	})
}
