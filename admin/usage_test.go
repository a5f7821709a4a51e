package admin

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/ledger"
	"github.com/sluice-gateway/sluice/llm"
)

func TestUsage(t *testing.T) {
	l, err := ledger.Open(t.TempDir(), func(_ int, err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Add(ledger.Row{Time: time.Unix(1, 0), Attempt: 1, Tenant: "acme", Model: "large", Provider: "out", Kind: llm.UsageReported, Usage: llm.Usage{Input: 3, Output: 2}})
	h := Handler(Options{Gateway: gateway(t, ""), Metrics: http.NotFoundHandler(), Ledger: l})
	for _, tc := range []struct {
		query  string
		status int
		kind   string
		body   string
	}{
		{"?by=tenant", 200, "text/csv; charset=utf-8", "tenant,attempts,tokens_in,tokens_out,tokens_cached,micro_usd\nacme,1,3,2,0,\n"},
		{"?by=model&format=jsonl", 200, "application/x-ndjson", `{"model":"large","attempts":1,"tokens_in":3,"tokens_out":2,"tokens_cached":0,"micro_usd":null}` + "\n"},
		{"?by=usage&since=24h&full=1", 200, "text/csv; charset=utf-8", "usage,attempts,tokens_in,tokens_out,tokens_cached,micro_usd,full_micro_usd\n"},
		{"?by=colour", 400, "application/json", ""},
		{"?since=1970-01-01T00:00:02Z&raw=1", 200, "text/csv; charset=utf-8", "time,exchange,attempt,tenant,key,route,model,provider,region,usage,tokens_in,tokens_out,tokens_cached,tokens_written,tokens_reasoning,micro_usd,price,cache,status,class,milliseconds\n"},
	} {
		w := do(h, "GET", "/admin/usage"+tc.query)
		if w.Code != tc.status || w.Header().Get("Content-Type") != tc.kind || tc.body != "" && w.Body.String() != tc.body {
			t.Errorf("%s: %d %v %s", tc.query, w.Code, w.Header(), w.Body)
		}
	}
}

// reader is who reads an answer, as far as the server may wait for it.
type reader struct {
	*httptest.ResponseRecorder
	t     *testing.T
	until time.Time
}

func (r *reader) SetWriteDeadline(at time.Time) error {
	r.until = at
	return nil
}

func (r *reader) Write(b []byte) (int, error) {
	if r.until.IsZero() {
		r.t.Errorf("%q may wait for ever", b)
	}
	return r.ResponseRecorder.Write(b)
}

// TestUsageIsRead: nobody can hold the ledger open by not reading the rows that were asked for; the next answer on the connection has no such limit.
func TestUsageIsRead(t *testing.T) {
	l, err := ledger.Open(t.TempDir(), func(_ int, err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Add(ledger.Row{Time: time.Unix(1, 0), Attempt: 1, Tenant: "acme", Kind: llm.UsageNone})
	h := Handler(Options{Gateway: gateway(t, ""), Metrics: http.NotFoundHandler(), Ledger: l})
	for _, format := range []string{"csv", "jsonl"} {
		w := &reader{ResponseRecorder: httptest.NewRecorder(), t: t}
		h.ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1:8081/admin/usage?raw=1&format="+format, nil))
		if w.Body.Len() == 0 || !w.until.IsZero() {
			t.Errorf("%s: %q, %v", format, w.Body, w.until)
		}
	}
}
