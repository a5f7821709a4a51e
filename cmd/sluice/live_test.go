package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/proxy/httpproxy"
	"github.com/sluice-gateway/sluice/router/pool"
)

// TestReloadUnderLoad edits the policy, well and badly, while clients ask: every request is answered.
func TestReloadUnderLoad(t *testing.T) {
	_, url := upstream(t)
	r := serve(t, policyFor(url, "rule 0", ""))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex
	answered, failed := 0, []string{}
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				status, _, body, err := r.send(http.DefaultClient, "auto", "hi", "")
				mu.Lock()
				if answered++; err != nil || status != 200 {
					failed = append(failed, fmt.Sprintf("%d %s %v", status, body, err))
				}
				mu.Unlock()
			}
		})
	}
	for i := 1; i <= 6; i++ {
		if i%3 == 0 {
			r.write("version: [")
			r.signals <- syscall.SIGHUP
			r.until("the error", func() bool { return !strings.Contains(r.admin("/admin/status"), `"last_error": null`) })
			continue
		}
		r.write(policyFor(url, fmt.Sprint("rule ", i), ""))
		r.signals <- syscall.SIGHUP
		want := fmt.Sprintf(`"generation": %d`, i-i/3)
		r.until(want, func() bool { return strings.Contains(r.admin("/admin/status"), want) })
	}
	cancel()
	wg.Wait()
	if len(failed) > 0 || answered == 0 {
		t.Errorf("%d of %d requests failed, the first: %v", len(failed), answered, failed[:min(1, len(failed))])
	}
}

// TestConfigChurn writes the policy ten times a second, every fifth time badly, while clients ask: no request is lost, and the last one is in force.
func TestConfigChurn(t *testing.T) {
	_, url := upstream(t)
	r := serve(t, policyFor(url, "rule 0", ""))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	failed := make(chan string, 1)
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if status, _, body, err := r.send(http.DefaultClient, "auto", "hi", ""); err != nil || status != 200 {
					select {
					case failed <- fmt.Sprintf("%d %s %v", status, body, err):
					default:
					}
				}
			}
		})
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := range 20 {
		<-tick.C
		if i%5 == 3 {
			r.write("version: [")
			continue
		}
		r.write(policyFor(url, fmt.Sprint("rule ", i), ""))
	}
	r.until("the last policy", func() bool {
		_, header, _ := r.ask(http.DefaultClient, "auto", "hi", "")
		return strings.Contains(header.Get("X-Sluice-Reason"), `rule="rule 19"`)
	})
	if got := r.admin("/admin/status"); !strings.Contains(got, `"last_error": null`) {
		t.Error(got)
	}
	cancel()
	wg.Wait()
	select {
	case f := <-failed:
		t.Errorf("a request was lost: %s", f)
	default:
	}
}

// TestTLS serves over TLS, HTTP/2 by negotiation, and takes a new certificate on SIGHUP.
func TestTLS(t *testing.T) {
	_, url := upstream(t)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "a.pem"), filepath.Join(dir, "a.key")
	writePair(t, cert, key, 1)
	r := serve(t, policyFor(url, "rule", fmt.Sprintf(", tls: {cert: %q, key: %q}", cert, key)))
	serial := func() (n int64, proto string) {
		// The certificate is its own authority and names nobody: it is compared by its serial number instead.
		tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			c, err := x509.ParseCertificate(raw[0])
			if err == nil {
				n = c.SerialNumber.Int64()
			}
			return err
		}}}
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr}).Get("https://" + r.addr.data.String() + "/v1/models")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return n, resp.Proto
	}
	if n, proto := serial(); n != 1 || proto != "HTTP/2.0" {
		t.Errorf("serial %d, %s", n, proto)
	}
	writePair(t, cert, key, 2)
	r.signals <- syscall.SIGHUP
	r.until("the new certificate", func() bool { n, _ := serial(); return n == 2 })
}

func TestProbe(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/pre/v1/models" { // what an engine without /health is asked
				return
			}
			if r.URL.Path != "/pre/health" || r.Header.Get("Authorization") != "" {
				t.Errorf("asked %s %v", r.URL, r.Header)
			}
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	for _, tc := range []struct {
		name, engine string
		h            http.Handler
		want         error // nil = well
	}{
		{"ready", "llamacpp", answer(200, `{"status":"ok"}`), nil},
		{"loading", "llamacpp", answer(503, `{"error":{"message":"Loading model"}}`), pool.ErrLoading},
		{"ill", "vllm", answer(500, ""), errUnwell},
		{"no health, but models", "openai", answer(404, ""), nil},
		{"no health", "vllm", answer(404, ""), errUnwell},
		{"gone", "vllm", nil, syscall.ECONNREFUSED},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := httptest.NewServer(tc.h)
			defer s.Close()
			u, err := url.Parse(s.URL + "/pre/v1")
			must(t, err)
			if tc.h == nil {
				s.Close()
			}
			plane := httpproxy.New(nil, nil)
			defer plane.Close()
			err = prober{plane}.probe(t.Context(), &policies.Provider{Name: "pool", Own: true, Engine: tc.engine}, u)
			if !errors.Is(err, tc.want) || tc.want == nil && err != nil {
				t.Errorf("%v, want %v", err, tc.want)
			}
		})
	}
}

// TestMock asks the simulated provider that `sluice mock` runs, which wants its key and has the fault of its flag.
func TestMock(t *testing.T) {
	r := &running{t: t, log: &syncBuffer{}, signals: make(chan os.Signal, 2), code: make(chan int, 1)}
	r.run([]string{"mock", "--listen", "127.0.0.1:0", "--key", "k", "--name", "the mock"})
	if status, _, body := r.ask(http.DefaultClient, "any", "hi", "k"); status != 200 || !strings.Contains(body, "the mock was asked") {
		t.Errorf("%d %s", status, body)
	}
	if status, _, _ := r.ask(http.DefaultClient, "any", "hi", "other"); status != 401 {
		t.Errorf("a wrong key: %d", status)
	}
	r.signals <- syscall.SIGTERM
	if code := r.ended(); code != 0 {
		t.Errorf("exit %d", code)
	}
	f := &running{t: t, log: &syncBuffer{}, signals: make(chan os.Signal, 2), code: make(chan int, 1)}
	f.run([]string{"mock", "--listen", "127.0.0.1:0", "--fault", "status=429"})
	if status, _, _ := f.ask(http.DefaultClient, "any", "hi", ""); status != 429 {
		t.Errorf("with a fault: %d", status)
	}
}

// TestDemoStays leaves the demo's gateway up after the table, until a signal.
func TestDemoStays(t *testing.T) {
	r := &running{t: t, log: &syncBuffer{}, signals: make(chan os.Signal, 2), code: make(chan int, 1)}
	r.run([]string{"demo"})
	if status, _, body := r.ask(http.DefaultClient, "auto", "hi", ""); status != 200 || !strings.Contains(r.log.String(), "PROMPT") {
		t.Errorf("%d %s\n%s", status, body, r.log)
	}
	r.signals <- syscall.SIGTERM
	if code := r.ended(); code != 0 {
		t.Errorf("exit %d", code)
	}
}

// TestSecretFile changes a provider's key in its file: the next requests carry the new one, and a file that is gone keeps it.
func TestSecretFile(t *testing.T) {
	sim, url := upstream(t)
	secret := filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(secret, []byte("an old key"), 0o600))
	r := serve(t, strings.Replace(policyFor(url, "rule", ""), "{env: PROVIDER_KEY}", fmt.Sprintf("{file: %q}", secret), 1))
	if status, _, body := r.ask(http.DefaultClient, "auto", "hi", ""); status != 502 || !strings.Contains(body, "upstream_auth_failed") {
		t.Errorf("with the old key: %d %s", status, body)
	}
	must(t, os.WriteFile(secret, []byte(canaryProviderKey+"\n"), 0o600))
	r.signals <- syscall.SIGHUP
	r.until("the new key", func() bool { status, _, _ := r.ask(http.DefaultClient, "auto", "hi", ""); return status == 200 })
	must(t, os.Remove(secret))
	r.signals <- syscall.SIGHUP
	r.until("the error", func() bool { return strings.Contains(r.log.String(), "the old ones stay") })
	if status, _, body := r.ask(http.DefaultClient, "auto", "hi", ""); status != 200 {
		t.Errorf("with the file gone: %d %s", status, body)
	}
	if len(sim.Log()) == 0 || strings.Contains(r.log.String(), canaryProviderKey) || strings.Contains(r.log.String(), "an old key") {
		t.Errorf("a key is in the log:\n%s", r.log)
	}
}
