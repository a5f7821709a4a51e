package admin

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/ledger"
	"github.com/sluice-gateway/sluice/proxy"
	"github.com/sluice-gateway/sluice/tenants"
	"github.com/sluice-gateway/sluice/xds"
)

// Options are what the admin listener shows.
type Options struct {
	Gateway *proxy.Gateway
	Metrics http.Handler      // answers GET /metrics
	Version string            // of the binary
	Ledger  *ledger.Ledger    // answers GET /admin/usage; nil = none is kept
	Reload  func() *LoadError // the last load that failed and was not made good since; nil = none
	Audit   *Audit            // takes what is done through the listener; nil = nothing is kept
	// Envoys lists the Envoys of the data plane; nil = there are none.
	Envoys func() []xds.NodeStatus
	// Unready says why no request should come here although nothing drains; nil or "" = it should.
	Unready func() string
}

// LoadError is why the policy file, as it is now, is not the policy in force.
type LoadError struct {
	Message string    `json:"message"`
	File    string    `json:"file"`
	Line    int       `json:"line"` // 0 = the file as a whole
	Column  int       `json:"column"`
	At      time.Time `json:"at"`
}

// server answers the admin listener.
type server struct{ o Options }

// Handler returns the handler of the admin listener.
func Handler(o Options) http.Handler {
	s := &server{o}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", s.livez)
	mux.HandleFunc("GET /readyz", s.readyz)
	s.register(mux)
	return s.guard(mux)
}

// guard keeps web pages out: a page in a browser on this machine may send requests to a listener on loopback, also under a name of its own
// that it lets point here.
func (s *server) guard(next http.Handler) http.Handler {
	p := http.NewCrossOriginProtection()
	p.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusForbidden, "forbidden", "A page of another origin changes nothing here.")
	}))
	next = p.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !s.o.Gateway.Snapshot().Book.AdminKeys() && !named(r.Host) {
			fail(w, http.StatusForbidden, "forbidden", "Without admin keys this listener answers to localhost and to addresses only.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// named reports whether the Host header is an address or localhost.
func named(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host == "" || strings.EqualFold(host, "localhost")
}

// needs lets a request through that carries an admin key of at least the role. Without admin keys in the policy, the listener is on loopback and
// everybody there may do everything.
func (s *server) needs(role tenants.Role, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if book := s.o.Gateway.Snapshot().Book; book.AdminKeys() {
			id, has, err := book.Admin(r.Header)
			if a, ok := r.Context().Value(actorKey{}).(*actor); ok {
				a.id, a.role = id, has
			}
			if err != nil {
				w.Header().Set("WWW-Authenticate", "Bearer")
				fail(w, err.Status, err.Code, err.Message)
				return
			}
			if has < role {
				fail(w, http.StatusForbidden, "forbidden", "This needs an admin key with the role "+role.String()+".")
				return
			}
		}
		next(w, r)
	})
}

// livez says that the process runs.
func (s *server) livez(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok") }

// readyz says whether new requests should come here. A dead pool does not make the gateway unready: the external side may answer.
func (s *server) readyz(w http.ResponseWriter, _ *http.Request) {
	if s.o.Gateway.Draining() {
		text(w, http.StatusServiceUnavailable, "draining")
		return
	}
	if s.o.Unready != nil {
		if why := s.o.Unready(); why != "" {
			text(w, http.StatusServiceUnavailable, why)
			return
		}
	}
	text(w, http.StatusOK, "ok")
}

// drain makes the gateway unready; what is open, and what still comes, is answered.
func (s *server) drain(w http.ResponseWriter, _ *http.Request) {
	s.o.Gateway.Drain()
	write(w, http.StatusOK, struct {
		Draining bool  `json:"draining"`
		InFlight int64 `json:"in_flight"`
	}{true, s.o.Gateway.Inflight()})
}

func (s *server) unknown(w http.ResponseWriter, _ *http.Request) {
	fail(w, http.StatusNotFound, "unknown_path", "There is nothing at this path.")
}

func text(w http.ResponseWriter, status int, s string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(s + "\n")) // a failed write means that nobody is there to be told
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // a failed write means that nobody is there to be told
}

// fail answers with an error in OpenAI's form, as the data listener does.
func fail(w http.ResponseWriter, status int, code, message string) {
	type body struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    string  `json:"code"`
	}
	write(w, status, struct {
		Error body `json:"error"`
	}{body{message, "invalid_request_error", nil, code}})
}
