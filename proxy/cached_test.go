package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-gateway/sluice/cache"
	"github.com/sluice-gateway/sluice/internal/simulator"
	"github.com/sluice-gateway/sluice/internal/testkit"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/tenants"
)

const cachePolicy = `version: 1
providers:
  one: {dialect: openai, base_url: http://one.test:9000/v1}
models:
  a: {provider: one, name: a-up}
routes:
  auto: {cache: {exact: 1h}, rules: [{use: [a]}], attempts: {total: 1}}
  other: {cache: {exact: 1h}, rules: [{use: [a]}]}
`

// slow answers after two seconds, each time with another text; finish is why its answers end.
type slow struct {
	asked  atomic.Int64
	finish string
}

func (s *slow) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	n := s.asked.Add(1)
	select {
	case <-time.After(2 * time.Second): // virtual
	case <-r.Context().Done():
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"id":"c%d","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"answer %d"},"finish_reason":%q}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`, n, n, s.finish)
}

// same is one and the same request, to a route.
func same(t testing.TB, route, steps string, header ...string) *testkit.Request {
	t.Helper()
	text := steps + "POST /v1/chat/completions\nContent-Type: application/json\n"
	for i := 0; i+1 < len(header); i += 2 {
		text += header[i] + ": " + header[i+1] + "\n"
	}
	r, err := testkit.ParseRequest(fmt.Appendf(nil, "%s\n{\"model\":%q,\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}\n", text, route))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// inLab runs f in a lab with one slow provider.
func inLab(t *testing.T, policy, finish string, f func(l *lab, up *slow), options ...func(*proxy.Options)) {
	synctest.Test(t, func(t *testing.T) {
		l, up := newLab(t, policy, options...), &slow{finish: finish}
		l.serve("one.test:9000", up)
		f(l, up)
		l.close()
	})
}

// crowd sends n equal requests at once.
func (l *lab) crowd(n int, r *testkit.Request) *tally {
	y := &tally{}
	for range n {
		y.wait.Go(func() { y.add(l.plane.ask(r)) })
	}
	return y
}

func hits(a *testkit.Answer) bool { return a.Status == 200 && a.Header.Get("X-Sluice-Cache") == "hit" }

func TestOneFlight(t *testing.T) {
	inLab(t, cachePolicy, "stop", func(l *lab, up *slow) {
		y := l.crowd(1000, same(t, "auto", ""))
		y.wait.Wait()
		if n := up.asked.Load(); n != 1 {
			t.Errorf("the upstream was asked %d times", n)
		}
		if n := y.count(hits); n != 999 {
			t.Errorf("%d hits", n)
		}
		if n := y.count(func(a *testkit.Answer) bool {
			return strings.Contains(string(a.Body), "answer 1") && a.Took < 3*time.Second
		}); n != 1000 {
			t.Errorf("%d have the one answer", n)
		}
		for _, r := range l.all() {
			if want := map[string]int{"hit": 0, "miss": 1}[r.Cache]; len(r.Attempts) != want || r.Outcome != "ok" {
				t.Fatalf("%s with %d attempts, %s", r.Cache, len(r.Attempts), r.Outcome)
			}
		}
	})
}

// TestLeaderLeaves: the client whose request the others wait for goes away; one of the others asks in its place.
func TestLeaderLeaves(t *testing.T) {
	inLab(t, cachePolicy, "stop", func(l *lab, up *slow) {
		first := l.crowd(1, same(t, "auto", "!leave 500ms\n"))
		time.Sleep(100 * time.Millisecond) // virtual
		y := l.crowd(50, same(t, "auto", ""))
		first.wait.Wait()
		y.wait.Wait()
		if n := up.asked.Load(); n != 2 {
			t.Errorf("the upstream was asked %d times", n)
		}
		if n, whole := y.count(hits), y.count(func(a *testkit.Answer) bool { return strings.Contains(string(a.Body), "answer 2") }); n != 49 || whole != 50 {
			t.Errorf("%d hits, %d answers", n, whole)
		}
	})
}

// TestLeaderReadsSlowly: those who wait for the answer of a client that does not read it get one of their own, all of them the same; the slow one loses nothing.
func TestLeaderReadsSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, cachePolicy)
		up := l.provider("one.test:9000", simulator.Options{Fault: func(*http.Request, string) string { return "events=2000" }, LogCalls: 10})
		ask, err := testkit.ParseRequest([]byte("POST /v1/chat/completions\nContent-Type: application/json\n\n{\"model\":\"auto\",\"temperature\":0,\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}\n"))
		if err != nil {
			t.Fatal(err)
		}
		client, err := l.net.Dial(t.Context(), "tcp", gatewayName)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Write(append(ask.Head, ask.Body...)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // virtual
		y := l.crowd(50, ask)
		y.wait.Wait()
		if n := y.count(func(a *testkit.Answer) bool { return a.Status == 200 && a.End == "" && a.Took < 10*time.Second }); n != 50 {
			t.Errorf("%d of 50 did not wait for the client that does not read", n)
		}
		if n := y.count(hits); n != 49 || len(up.Log()) != 2 {
			t.Errorf("%d hits, the upstream was asked %d times", n, len(up.Log()))
		}
		if a := testkit.Receive(client, "POST"); a.End != "" || !bytes.Equal(a.Body, y.answers[0].Body) {
			t.Errorf("the slow client got %d bytes, the others %d", len(a.Body), len(y.answers[0].Body))
		}
		client.Close()
		l.close()
	})
}

// TestNothingToShare: an answer that is never kept is its own client's; the others ask for themselves.
func TestNothingToShare(t *testing.T) {
	inLab(t, cachePolicy, "length", func(l *lab, up *slow) {
		y := l.crowd(20, same(t, "auto", ""))
		y.wait.Wait()
		if n := up.asked.Load(); n != 20 || y.count(hits) != 0 || y.count(func(a *testkit.Answer) bool { return a.Status == 200 }) != 20 {
			t.Errorf("asked %d times, %d hits", n, y.count(hits))
		}
	})
}

// TestFollowerLeaves: a client that waits for another's answer may go.
func TestFollowerLeaves(t *testing.T) {
	inLab(t, cachePolicy, "stop", func(l *lab, up *slow) {
		y := l.crowd(1, same(t, "auto", ""))
		time.Sleep(100 * time.Millisecond) // virtual
		gone := l.crowd(10, same(t, "auto", "!leave 500ms\n"))
		gone.wait.Wait()
		y.wait.Wait()
		if n := up.asked.Load(); n != 1 || y.count(func(a *testkit.Answer) bool { return a.Status == 200 }) != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

// TestAges: an answer says how old it is, and is none when it is too old.
func TestAges(t *testing.T) {
	inLab(t, cachePolicy, "stop", func(l *lab, _ *slow) {
		for _, tc := range []struct {
			wait       time.Duration
			cache, age string
		}{{0, "miss", ""}, {0, "hit", "0"}, {30 * time.Minute, "hit", "1800"}, {30 * time.Minute, "miss", ""}, {time.Minute, "hit", "60"}} {
			time.Sleep(tc.wait) // virtual
			a := l.plane.ask(same(t, "auto", ""))
			if a.Header.Get("X-Sluice-Cache") != tc.cache || a.Header.Get("Age") != tc.age {
				t.Errorf("after %v: %v", tc.wait, a.Header)
			}
		}
	})
}

// TestMaxAge: nobody gets an answer that is older than they take, and what is asked for instead is recorded.
func TestMaxAge(t *testing.T) {
	inLab(t, cachePolicy, "stop", func(l *lab, _ *slow) {
		for _, tc := range []struct {
			wait        time.Duration
			says, cache string
		}{
			{0, "", "miss"}, {10 * time.Second, "max-age=10", "hit"}, {time.Second, "max-age=10", "miss"}, {0, "Max-Age=10", "hit"}, {0, "max-age=0", "miss"},
			{0, "max-age=0, max-age=60", "miss"}, {5 * time.Second, "max-age=60, max-age=4", "miss"}, {0, "max-age=soon", "miss"}, {0, "max-age", "miss"},
			{30 * time.Minute, "max-age=99999999999999999999", "hit"}, {0, `max-age="1"`, "miss"}, {0, "max-stale=1, max-age=1", "hit"},
		} {
			time.Sleep(tc.wait) // virtual
			if a := l.plane.ask(same(t, "auto", "", "Cache-Control", tc.says)); a.Header.Get("X-Sluice-Cache") != tc.cache {
				t.Errorf("after %v with %q: %v", tc.wait, tc.says, a.Header)
			}
		}
	})
}

// TestOtherRequests: what an upstream may answer otherwise is no hit, and what asks for a part or a change of an answer has no part in the cache.
func TestOtherRequests(t *testing.T) {
	inLab(t, cachePolicy, "stop", func(l *lab, _ *slow) {
		for _, tc := range []struct{ query, name, value, want string }{
			{"", "", "", "miss"}, {"", "X-Other", "x", "hit"}, {"?api-version=1", "", "", "miss"}, {"?api-version=2", "", "", "miss"}, {"?api-version=1", "", "", "hit"}, {"?api-version=1&key=secret", "", "", "hit"},
			{"", "OpenAI-Beta", "x", "miss"}, {"", "Anthropic-Beta", "x", "miss"}, {"", "Anthropic-Version", "x", "miss"},
			{"", "Range", "bytes=0-1", "bypass"}, {"", "If-None-Match", "x", "bypass"}, {"", "If-Modified-Since", "x", "bypass"},
		} {
			header := []string{tc.name, tc.value}
			if tc.name == "" {
				header = nil
			}
			r := same(t, "auto", "", header...)
			r.Head = bytes.Replace(r.Head, []byte("/completions"), []byte("/completions"+tc.query), 1)
			if got := l.plane.ask(r).Header.Get("X-Sluice-Cache"); got != tc.want {
				t.Errorf("%+v: %s", tc, got)
			}
		}
	})
}

// TestPurge: what was purged is asked for anew, and nothing else.
func TestPurge(t *testing.T) {
	inLab(t, cachePolicy, "stop", func(l *lab, _ *slow) {
		for _, tc := range []struct {
			filter      *cache.Filter
			auto, other string
		}{
			{nil, "miss", "miss"}, {nil, "hit", "hit"}, {&cache.Filter{Route: "auto"}, "miss", "hit"}, {&cache.Filter{Route: "auto", Model: "b"}, "hit", "hit"},
			{&cache.Filter{Tenant: "acme"}, "hit", "hit"}, {&cache.Filter{Model: "a"}, "miss", "miss"}, {&cache.Filter{}, "miss", "miss"}, {nil, "hit", "hit"},
		} {
			if tc.filter != nil {
				if err := l.gateway.Purge(t.Context(), *tc.filter); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Millisecond) // virtual
			}
			for route, want := range map[string]string{"auto": tc.auto, "other": tc.other} {
				if got := l.plane.ask(same(t, route, "")).Header.Get("X-Sluice-Cache"); got != want {
					t.Errorf("after %+v %s is a %s, want %s", tc.filter, route, got, want)
				}
			}
		}
	})
}

// TestEdits: an answer does not outlive the model, or the edit of the body, that it came from; any other edit leaves it alone.
func TestEdits(t *testing.T) {
	inLab(t, cachePolicy, "stop", func(l *lab, _ *slow) {
		for _, tc := range []struct{ was, is, want string }{
			{"", "", "miss"}, {"routes:", "# a comment\nroutes:", "hit"}, {"total: 1", "total: 2", "hit"}, {"a-up", "b-up", "miss"},
			{"{cache: {exact: 1h}, rules: [{use: [a]}], att", "{cache: {exact: 1h}, max_tokens: {default: 5}, rules: [{use: [a]}], att", "miss"},
		} {
			l.gateway.Swap(compile(t, []byte(strings.Replace(cachePolicy, tc.was, tc.is, 1))))
			if got := l.plane.ask(same(t, "auto", "")).Header.Get("X-Sluice-Cache"); got != tc.want {
				t.Errorf("%q: %s, want %s", tc.is, got, tc.want)
			}
		}
	})
}

// TestCacheTenants: what one tenant was told is nobody else's, at the same time or later.
func TestCacheTenants(t *testing.T) {
	keys, policy := map[string]string{}, cachePolicy+"server: {auth: required, headers: full}\nauth: {pepper: {env: PEPPER}}\ntenants:\n"
	for _, name := range []string{"acme", "other"} {
		k, err := tenants.NewKey("web")
		if err != nil {
			t.Fatal(err)
		}
		keys[name] = "Bearer " + k
		policy += fmt.Sprintf("  %s: {keys: [{id: web, hash: %q}]}\n", name, tenants.Hash("secret-of-PEPPER", k))
	}
	inLab(t, policy, "stop", func(l *lab, up *slow) {
		for round := range 2 {
			told := map[string]*tally{}
			for name, key := range keys {
				told[name] = l.crowd(20, same(t, "auto", "", "Authorization", key))
			}
			for name, y := range told {
				y.wait.Wait()
				mine := string(y.answers[0].Body)
				if n := y.count(func(a *testkit.Answer) bool { return string(a.Body) == mine && a.Status == 200 }); n != 20 {
					t.Errorf("round %d: %s has several answers", round, name)
				}
			}
			if string(told["acme"].answers[0].Body) == string(told["other"].answers[0].Body) {
				t.Error("two tenants have one answer")
			}
		}
		if n := up.asked.Load(); n != 2 {
			t.Errorf("the upstream was asked %d times", n)
		}
	})
}

// TestDroppedFlight: an exchange that another plane begins afresh leaves nobody waiting for its answer, the fresh one least of all.
func TestDroppedFlight(t *testing.T) {
	w := newWorld(t, []byte(cachePolicy), 0)
	begin := func() (*proxy.Exchange, proxy.Verdict) {
		head := proxy.Head{Method: "POST", URL: &url.URL{Path: "/v1/chat/completions"}, Header: http.Header{}, Plane: "envoy"}
		x, reply := w.gateway.Begin(t.Context(), head)
		if reply == nil {
			_, reply = x.Request([]byte(`{"model":"auto","temperature":0,"messages":[]}`))
		}
		if reply != nil {
			t.Fatalf("%s", reply.Body)
		}
		_, v := x.Attempt(0)
		return x, v
	}
	first, v := begin()
	if v.Action != proxy.More {
		t.Fatalf("the first: %+v", v)
	}
	second, v := begin()
	if v.Action != proxy.Wait {
		t.Fatalf("the second does not wait for the first: %+v", v)
	}
	first.Drop()
	if _, v := second.Attempt(0); v.Action != proxy.More {
		t.Errorf("the second waits for what was dropped: %+v", v)
	}
	second.Drop()
	if n := w.gateway.Inflight(); n != 0 {
		t.Errorf("%d in flight", n)
	}
}
