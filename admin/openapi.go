package admin

import (
	_ "embed"
	"net/http"
)

// openAPI describes the listener; a test holds it against the endpoints.
//
//go:embed openapi.json
var openAPI []byte

func (s *server) openapi(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI) // a failed write means that nobody is there to be told
}
