//go:build real

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/harness"
	"github.com/sluice-gateway/sluice/internal/simulator"
)

// keyedPolicy asks clients for a key: address, key file, hash, address to listen on, binary.
const keyedPolicy = `version: 1
providers:
  p: {dialect: openai, base_url: "http://%s/v1", keys: [{file: %q}]}
models:
  m: {provider: p, name: m}
  slow: {provider: p, name: "slow+fault=events=40,delay=50ms"}
  cut: {provider: p, name: cut}
routes:
  direct: {carrier: envoy, rules: [{use: [m]}]}
  direct-slow: {carrier: envoy, rules: [{use: [slow]}]}
  direct-cut: {carrier: envoy, rules: [{use: [cut]}]}
  by-hand: {rules: [{use: [m]}]}
  by-hand-slow: {rules: [{use: [slow]}]}
auth: {pepper: {env: SLUICE_PEPPER}}
tenants:
  acme: {keys: [{id: web, hash: %q}]}
server: {listen: %q, admin: "127.0.0.1:0", auth: required, headers: full, envoy: {binary: %s}}
telemetry: {access_log: on}
`

// keyed is a fleet whose clients need a key, and its provider another.
type keyed struct {
	*fleet
	sim         *simulator.Server
	key, policy string        // the client's key and the policy's file
	cut         chan struct{} // of each request for the model cut: a value when it is there, and one that lets it go on
}

func newKeyed(t *testing.T, listen, envoy string) *keyed {
	t.Helper()
	cut := make(chan struct{})
	sim, addr := provider(t, simulator.Options{LogCalls: 5000, Key: canaryProvider, Fault: func(r *http.Request, model string) string {
		if model != "cut" {
			return ""
		}
		for range 2 {
			select {
			case cut <- struct{}{}:
			case <-r.Context().Done():
			}
		}
		return "cut"
	}})
	secret, file := filepath.Join(t.TempDir(), "key"), filepath.Join(t.TempDir(), "policy.yaml")
	write(t, secret, canaryProvider)
	key, hash := harness.NewKey(t, binary(), canaryPepper, "acme", "web")
	write(t, file, fmt.Sprintf(keyedPolicy, addr, secret, hash, listen, envoy))
	k := &keyed{&fleet{dir: socketDir(t)}, sim, key, file, cut}
	k.start(t)
	return k
}

func (k *keyed) start(t *testing.T) {
	t.Helper()
	k.Gateway = k.serve(t, k.policy, "SLUICE_PEPPER="+canaryPepper)
}

// ask sends a chat request with the client's key, or another.
func (k *keyed) ask(t *testing.T, c *http.Client, route, key string, stream bool) *answer {
	return chat(t.Context(), c, k.Gateway, chatBody(route, "hi", stream, ""), "Authorization", "Bearer "+key)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	at, release, err := envoy.Reserve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return at
}

// TestEnvoyOutlivesItsControlPlane kills the gateway behind an Envoy that somebody else started, under traffic, and starts it again. Meanwhile every
// request gets a clear error and reaches nobody; after it everything works as before, without a word to Envoy.
func TestEnvoyOutlivesItsControlPlane(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, freeAddr(t), "external")
	envoy := k.external(t, k.policy, nil)
	c := newClient(t)
	harness.Poll(t, "the first answer", func() error { return k.ask(t, c, "direct", k.key, false).complete() })
	before := k.admin(t, envoyChanges)
	routes := []string{"direct", "by-hand"}
	url, key := k.Gateway, k.key
	l := startLoad(t, 4, func(n int64) error {
		a := chat(t.Context(), c, url, chatBody(routes[n%2], "hi", n%4 < 2, ""), "Authorization", "Bearer "+key)
		if a.complete() == nil {
			return nil
		}
		if a.err == nil && a.status >= 500 { // while nobody was there to ask
			return a.mistake()
		}
		if a.err != nil && a.status == http.StatusOK { // it was on its way by the executor that died
			return nil
		}
		return fmt.Errorf("neither an answer nor an error: %v", a)
	})
	l.more(t, 200)

	for range 2 {
		slow := make(chan *answer, 2)
		var begun []*http.Response
		for _, route := range routes {
			resp, err := post(t.Context(), c, k.Gateway, chatBody(route+"-slow", "hi", true, ""), "Authorization", "Bearer "+k.key)
			if err != nil {
				t.Fatal(err)
			}
			begun = append(begun, resp)
		}
		k.Kill(t)
		for _, resp := range begun {
			go func() { slow <- rest(resp) }()
		}
		for range begun { // they break off, or come to their end
			select {
			case a := <-slow:
				if a.status != http.StatusOK || (a.complete() == nil) != (a.err == nil) {
					t.Errorf("a stream whose gateway died: %v", a)
				}
				t.Logf("a stream: %v after %d bytes", a.err, len(a.body))
			case <-time.After(harness.Patience):
				t.Fatal("a stream hangs after its gateway died")
			}
		}
		asked := len(k.sim.Log())
		for _, route := range routes {
			for _, key := range []string{k.key, "", "sk-nobody"} {
				a := k.ask(t, c, route, key, false)
				if err := a.mistake(); err != nil || a.status < 500 || a.id() != "" { // nobody is there to give an id
					t.Errorf("%s without a gateway: %v %v: %v", route, a, a.header, err)
				}
			}
		}
		if n := len(k.sim.Log()); n != asked {
			t.Errorf("%d requests reached the provider without a gateway", n-asked)
		}
		k.start(t)
		harness.Poll(t, "answers again", func() error { return k.ask(t, c, "direct", k.key, true).complete() })
		l.more(t, 200)
		if a := k.ask(t, c, "direct", "sk-nobody", false); a.status != http.StatusUnauthorized {
			t.Errorf("a wrong key after the restart: %v", a)
		}
	}
	l.check(t)
	if after := k.admin(t, envoyChanges); after != before {
		t.Errorf("the same policy changed Envoy:\n%s\n%s", before, after)
	}
	if envoy.Ended() {
		t.Error("Envoy ended")
	}
}

const envoyChanges = `stats?filter=^(cluster_manager.cluster_(added|modified|removed)|listener_manager.listener_(added|modified|removed)|http.*.rds.*.config_reload)$`

// mistake is nil when the answer is an error in OpenAI's form.
func (a *answer) mistake() error {
	_, _, mistake := piece(a.body)
	if a.err != nil || !strings.HasPrefix(mistake, "error ") || a.header.Get("Content-Type") != "application/json" {
		return fmt.Errorf("no error in OpenAI's form: %v %v", a, a.header)
	}
	return nil
}

// stopped runs during while the gateway is stopped by SIGSTOP and its Envoy is not.
func (k *keyed) stopped(t *testing.T, during func()) {
	t.Helper()
	k.Pause(t)
	defer k.Signal(t, syscall.SIGCONT)
	during()
}

// atEnvoy waits until so many requests are in Envoy.
func (k *keyed) atEnvoy(t *testing.T, n int) {
	t.Helper()
	harness.Poll(t, fmt.Sprintf("%d requests in Envoy", n), func() error {
		if s := k.admin(t, "stats?filter=^http.sluice.downstream_rq_active$"); !strings.HasSuffix(strings.TrimSpace(s), fmt.Sprintf(": %d", n)) {
			return errors.New(s)
		}
		return nil
	})
}

// TestEnvoyStageStops stops the gateway with SIGSTOP while its Envoy goes on: within the stage's limit of 5 s a request is only late, past it it gets a
// clear error and never reaches a provider, not even when the gateway goes on; a stream that Envoy carries does not notice.
func TestEnvoyStageStops(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, "127.0.0.1:0", "auto")
	c := newClient(t)
	if err := k.ask(t, c, "direct", k.key, true).complete(); err != nil {
		t.Fatal(err)
	}
	late := make(chan *answer, 4)
	k.stopped(t, func() {
		for i, key := range []string{k.key, k.key, "", "sk-nobody"} {
			go func() { late <- k.ask(t, c, "direct", key, i == 0) }()
		}
		k.atEnvoy(t, 4)
		if len(late) > 0 {
			t.Error("an answer while the stage was stopped")
		}
	})
	good, refused := 0, 0
	for range 4 {
		switch a := <-late; {
		case a.complete() == nil:
			good++
		case a.status == http.StatusUnauthorized:
			refused++
		default:
			t.Errorf("a late one: %v", a)
		}
	}
	if good != 2 || refused != 2 {
		t.Errorf("%d answers and %d refusals, want two of each", good, refused)
	}

	slow := make(chan *answer, 1)
	resp, err := post(t.Context(), c, k.Gateway, chatBody("direct-slow", "hi", true, ""), "Authorization", "Bearer "+k.key)
	if err != nil {
		t.Fatal(err)
	}
	go func() { slow <- rest(resp) }()
	asked := len(k.sim.Log())
	k.stopped(t, func() {
		for _, key := range []string{k.key, k.key, "", "sk-nobody"} {
			go func() { late <- k.ask(t, c, "direct", key, false) }()
		}
		for range 4 {
			if a := <-late; a.status != http.StatusGatewayTimeout || a.mistake() != nil || a.id() != "" {
				t.Errorf("past the limit: %v", a)
			}
		}
		if a := <-slow; a.complete() != nil || strings.Count(string(a.body), "data: ") < 40 {
			t.Errorf("the stream that Envoy carried: %v", a)
		}
	})
	harness.Poll(t, "answers again", func() error { return k.ask(t, c, "direct", k.key, false).complete() })
	if n := len(k.sim.Log()) - asked; n != 1 {
		t.Errorf("%d requests reached the provider, want the last one only", n)
	}
	harness.Poll(t, "nothing open", func() error {
		if n := k.Status(t).Exchanges.InFlight; n != 0 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
}

// TestEnvoyRepliesItself has Envoy answer what the stage has begun and cannot answer, because it is stopped: a request whose body comes then, and one whose
// provider breaks off behind its head. The client gets one clear error with the id of the record.
func TestEnvoyRepliesItself(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, "127.0.0.1:0", "auto")
	t.Cleanup(func() { k.Signal(t, syscall.SIGCONT) })
	body := chatBody("direct-cut", "hi", true, "")
	begin := func() *wire {
		w := dial(t, k.Gateway)
		w.head(fmt.Sprintf("Authorization: Bearer %s\r\nContent-Length: %d\r\n", k.key, len(body)))
		return w
	}
	expect := func(w *wire, status int, code string) harness.Record {
		a := w.answer()
		if a.status != status || a.mistake() != nil || a.code(t) != code {
			t.Errorf("%v, want %d %s", a, status, code)
		}
		k.Signal(t, syscall.SIGCONT)
		return k.Exchange(t, a.id())
	}

	w := begin()
	harness.Poll(t, "the exchange", func() error {
		if n := k.Status(t).Exchanges.InFlight; n != 1 {
			return fmt.Errorf("%d in flight", n)
		}
		return nil
	})
	k.Pause(t)
	w.write(body)
	expect(w, http.StatusGatewayTimeout, "upstream_timeout")

	w = begin()
	w.write(body)
	next := func() {
		select {
		case <-k.cut:
		case <-time.After(harness.Patience):
			t.Fatal("no request at the provider")
		}
	}
	next()
	k.Pause(t)
	next()
	if r := expect(w, http.StatusBadGateway, "upstream_failed"); r.Text("outcome") != "upstream_error" || r.Text("carried") != "envoy" || r.Number("status") != 502 {
		t.Errorf("%v", r)
	}
}
