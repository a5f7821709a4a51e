package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPurge(t *testing.T) {
	h := Handler(Options{Gateway: gateway(t, ""), Metrics: http.NotFoundHandler()})
	for body, want := range map[string]int{"": 200, "{}": 200, `{"tenant":"acme","route":"auto","model":"large"}`: 200, `{"tenent":"acme"}`: 400, `{"tenant":"acme"}{}`: 400, `[]`: 400, `{"tenant":1}`: 400} {
		r := httptest.NewRequest("POST", "http://127.0.0.1:8081/admin/cache/purge", strings.NewReader(body))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	if w := do(h, "GET", "/admin/status"); !strings.Contains(w.Body.String(), `"rejected": 0`) {
		t.Errorf("status: %s", w.Body)
	}
}
