package simulator

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func FuzzParseFault(f *testing.F) {
	for _, row := range faultRows {
		f.Add(row.name)
		f.Add(row.name + "=2")
		f.Add(row.name + "=2s,once")
		f.Add("status=500," + row.name + "=a:b")
	}
	f.Fuzz(func(t *testing.T, spec string) {
		parsed, err := parseFault(spec)
		if err != nil {
			return
		}
		if p := parsed.pace; p.delay < 0 || p.firstToken < 0 || p.events < 0 || p.events > maxEvents || parsed.status != 0 && parsed.status < 400 {
			t.Errorf("%q: %+v", spec, parsed)
		}
	})
}

// FuzzServe sends any body to any path: the answer is a whole JSON answer or event stream with a known status, unless a fault says
// otherwise. The client is already gone, so that no fault can wait.
func FuzzServe(f *testing.F) {
	paths := []string{"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/audio/transcriptions", "/v1/files"}
	for i := range paths {
		for _, body := range []string{hello, streamed, `{"model":"m","prompt":["a",[1]],"input":[[1,2]],"n":2}`, with(`"logprobs":true,"tools":[{"function":{"name":"hello"}}]`)} {
			f.Add(uint8(i), body)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, body string) {
		if strings.Contains(body, "fault") || strings.Contains(body, `\u`) {
			return
		}
		sim := New(Options{})
		for _, leave := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			if leave {
				cancel()
			}
			r := httptest.NewRequestWithContext(ctx, http.MethodPost, paths[int(which)%len(paths)], strings.NewReader(body))
			w := httptest.NewRecorder()
			sim.ServeHTTP(w, r)
			cancel()
			calls := sim.Log()
			call := calls[len(calls)-1]
			if leave {
				if call.Ending != ClientGone {
					t.Errorf("%+v", call)
				}
				continue
			}
			isJSON := w.Header().Get("Content-Type") == "application/json"
			if call.Ending != Completed || w.Code != 200 && w.Code != 400 || isJSON && !json.Valid(w.Body.Bytes()) || !isJSON && !call.Stream {
				t.Errorf("%d %s; %+v", w.Code, w.Body, call)
			}
		}
	})
}
