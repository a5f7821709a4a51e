package main

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-json-experiment/json/jsontext"
)

func TestModelOf(t *testing.T) {
	for _, c := range []struct{ name, body, want, err string }{
		{"first", `{"model":"a","x":`, "a", ""}, // stops there: what follows is not looked at
		{"last", `{"messages":[{"model":"no"}],"n":1,"model":"b"}`, "b", ""},
		{"escaped", ` { "m\u006fdel" : "\u0063" }`, "c", ""},
		{"none", `{"n":1}`, "", "no model"},
		{"empty", `{}`, "", "no model"},
		{"number", `{"model":7}`, "", "not a string"},
		{"array", `["model"]`, "", "not a JSON object"},
		{"nothing", ``, "", "not a JSON object"},
		{"cut", `{"n":[1,`, "", "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := modelOf([]byte(c.body))
			if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("modelOf = %q, %v; want %q, %q", got, err, c.want, c.err)
			}
		})
	}
}

func FuzzModelOf(f *testing.F) {
	f.Add([]byte(`{"n":1,"model":"a"}`))
	f.Add([]byte(`{"model":"\ud83d\ude00"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		got, err := modelOf(body)
		if !bytes.Equal(body, before) {
			t.Fatal("the body was changed")
		}
		if err != nil && got != "" {
			t.Fatalf("a model %q beside the error %v", got, err)
		}
		if v := jsontext.Value(body); err == nil && v.IsValid() && !bytes.Contains(body, []byte(`"`)) {
			t.Fatalf("a model in a body without strings")
		}
	})
}

// The yardstick passes every shape through unharmed, and says no to what it does not know.
func TestLeanProxy(t *testing.T) {
	for _, model := range []string{"bench-450", "bench-100k", "bench-sse50", "auto-sse500"} {
		t.Run(model, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				upstream := inMemory(t, newNull())
				c := dial(t, model, newLean(&url.URL{Scheme: "http", Host: "upstream"}, upstream))
				if got := closedLoop(t.Context(), c.call, 3, 0, 40); got.done() != 40 {
					t.Errorf("%d done, %d failed: %v", got.done(), got.failed, got.err)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, "other-450", newLean(&url.URL{Scheme: "http", Host: "upstream"}, inMemory(t, newNull())))
		if _, err := c.call(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("unknown model: %v, want a 404", err)
		}
	})
}

// A flushed event is on its way before the next one is written.
func TestLeanProxyFlushesEachEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := make(chan struct{})
		frames := streamAnswer(shapes[2])
		upstream := inMemory(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
			for _, f := range frames {
				_, _ = w.Write(f)
				_ = http.NewResponseController(w).Flush()
				<-next
			}
		}))
		pool := inMemory(t, newLean(&url.URL{Scheme: "http", Host: "upstream"}, upstream))
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://bench/v1/chat/completions", strings.NewReader(`{"model":"bench-sse50"}`))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := pool.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		buf := make([]byte, 4<<10)
		for i, want := range frames {
			n, err := resp.Body.Read(buf) // would wait for ever, and end the test, if the proxy held the frame back
			if err != nil || string(buf[:n]) != string(want) {
				t.Fatalf("frame %d: %q, %v", i, buf[:n], err)
			}
			next <- struct{}{}
		}
	})
}
