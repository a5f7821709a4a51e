// Package simulator plays an OpenAI-shaped provider: its one job is to answer the provider's HTTP API deterministically, to fail on
// demand in the ways real providers fail, and to remember what it was asked.
//
// Invariants: nothing is computed by a model, and every text answer says so; an answer depends on the request alone (model, prompt,
// options), never on the clock or on earlier calls, except where a fault is limited to some of the calls; every wait ends at once when the
// client leaves; and when a client has seen the end of an answer, Log already shows that call as ended.
package simulator

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// created is the fixed Unix time that every answer carries, so that answers stay byte-identical between runs.
const created = 1_760_000_000

// Options configure a Server. The zero value is a working provider without a key.
type Options struct {
	Name       string   // who answers, as it stands in every text; default "the simulator"
	Key        string   // when set, requests must carry it as Bearer token (or x-api-key, api-key); else 401 invalid_api_key
	Models     []string // ids that GET /v1/models lists; default simulated-small, simulated-large, simulated-embedding. Any id may be called.
	Dimensions int      // length of an embedding when the request names none; default 64
	LogCalls   int      // calls that the log keeps, oldest dropped first; default 1000

	// Fault, when set, adds a fault spec (see Faults) to a request. It runs after the body was read; model is "" where none was named.
	// It is called from many goroutines.
	Fault func(r *http.Request, model string) string
}

// Server is the simulated provider, an http.Handler. It is safe for concurrent use.
//
// A fault that breaks the connection panics with http.ErrAbortHandler, as net/http asks of handlers; net/http recovers it silently.
type Server struct {
	opts Options
	log  callLog

	mu   sync.Mutex
	uses map[string]*use // what a fault that is limited to some of the calls has seen, by model and spec
}

// New returns a provider that answers at once and without faults unless a request or o asks for one.
func New(o Options) *Server {
	if o.Name == "" {
		o.Name = "the simulator"
	}
	if o.Models == nil {
		o.Models = []string{"simulated-small", "simulated-large", "simulated-embedding"}
	}
	if o.Dimensions <= 0 {
		o.Dimensions = 64
	}
	if o.LogCalls <= 0 {
		o.LogCalls = 1000
	}
	s := &Server{opts: o, uses: map[string]*use{}}
	s.log.limit = o.LogCalls
	return s
}

// ServeHTTP answers one request. GET /_sim/log shows the log, GET /_sim/totals its sums by model, DELETE /_sim/log empties it; everything else is
// the provider.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/_sim/log" || r.URL.Path == "/_sim/totals" {
		s.serveLog(w, r)
		return
	}
	x := &exchange{s: s, w: w, rc: http.NewResponseController(w), r: r, path: apiPath(r.URL.Path), call: s.log.begin(r)}
	ending := Cut // also when a handler panics: the client sees a cut then
	defer func() { x.call.end(ending) }()
	ending = x.serve()
	if ending == Cut {
		x.call.end(Cut)
		panic(http.ErrAbortHandler)
	}
}

// Reset empties the log and starts the counts and clocks of limited faults anew.
func (s *Server) Reset() {
	s.mu.Lock()
	clear(s.uses)
	s.mu.Unlock()
	s.log.reset()
}

// apiPath drops what stands before /v1/, so that base URLs like /openai/v1 and /api/v1 work too.
func apiPath(path string) string {
	if i := strings.Index(path, "/v1/"); i > 0 {
		return path[i:]
	}
	return path
}

func (s *Server) authorized(r *http.Request) bool {
	if s.opts.Key == "" {
		return true
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") {
		token = r.Header.Get("x-api-key")
	}
	if token == "" {
		token = r.Header.Get("api-key")
	}
	return subtle.ConstantTimeCompare([]byte(strings.TrimSpace(token)), []byte(s.opts.Key)) == 1
}

// serveLog answers /_sim/log and /_sim/totals. Credentials are struck out of it: a mock may be left running with real keys pointed at it.
func (s *Server) serveLog(w http.ResponseWriter, r *http.Request) {
	switch {
	case !s.authorized(r):
		http.Error(w, "a key is needed", http.StatusUnauthorized)
	case r.Method == http.MethodDelete:
		s.Reset()
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodGet && r.URL.Path == "/_sim/totals":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.Totals()) // a failed write means that the reader left
	case r.Method == http.MethodGet:
		calls := s.Log()
		for i := range calls {
			for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cookie"} {
				if calls[i].Header.Get(name) != "" {
					calls[i].Header.Set(name, "redacted")
				}
			}
		}
		w.Header().Set("Content-Type", "application/json")
		// A failed write means that the reader left; nobody is there to be told.
		_ = json.NewEncoder(w).Encode(calls)
	default:
		w.Header().Set("Allow", "GET, DELETE")
		http.Error(w, "GET or DELETE", http.StatusMethodNotAllowed)
	}
}

// models answers GET /v1/models and GET /v1/models/{id}.
func (x *exchange) models() error {
	entry := func(id string) object {
		return object{"id": id, "object": "model", "created": created, "owned_by": "simulator"}
	}
	if id, ok := strings.CutPrefix(x.path, "/v1/models/"); ok {
		id, _, _ = strings.Cut(id, faultMark)
		if !slices.Contains(x.s.opts.Models, id) {
			return &apiError{status: 404, kind: "invalid_request_error", code: "model_not_found", param: "model",
				message: fmt.Sprintf("The model '%s' does not exist", id)}
		}
		return x.unary(entry(id), 0)
	}
	data := []object{}
	for _, id := range x.s.opts.Models {
		data = append(data, entry(id))
	}
	return x.unary(object{"object": "list", "data": data}, 0)
}

// errors that steer an exchange; none of them reaches a client.
var (
	errGone  = errors.New("the client is gone")
	errCut   = errors.New("cut by a fault")
	errEnded = errors.New("ended by a fault")
)
