package httpproxy

import (
	"encoding/hex"
	"io"
	"net/http"
	"time"

	"github.com/sluice-gateway/sluice/internal/wire"
	"github.com/sluice-gateway/sluice/proxy"
)

// learnWait is how long the executor waits for the log entry that says why the first attempt failed. It is written when the attempt ends,
// so it is here or on its way.
const learnWait = 250 * time.Millisecond

// Executor serves the socket to which an external proxy sends what it cannot carry: exchanges of the table, claimed by their id. It never
// takes the body, the credential or the authority of such a request for the client's: they may be an attempt's.
func (h *Handler) Executor(table *proxy.Table) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, ok := parseID(r.Header.Get(wire.HeaderID))
		var x *proxy.Exchange
		known := false
		if ok {
			x, known = table.Claim(id)
		}
		switch {
		case x != nil:
			h.resume(w, r, table, x)
		case known || r.Header.Get(wire.HeaderPrepared) != "":
			refuseClaim(w, r)
		default:
			r.Header.Del(wire.HeaderID)
			h.serve(w, r, "envoy")
		}
	})
}

// Edge serves the socket to which an external proxy sends what nothing has looked at: ids mean nothing here.
func (h *Handler) Edge() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, "envoy") })
}

// resume carries a claimed exchange on.
func (h *Handler) resume(w http.ResponseWriter, r *http.Request, table *proxy.Table, x *proxy.Exchange) {
	c := &call{h: h, x: x, w: w, r: r, body: x.Body()}
	_, _ = io.Copy(io.Discard, r.Body) // an attempt's, or the client's once more; until it is read, nothing tells that the client left
	defer table.End(x, proxy.OwnerClaimed, nil)
	defer c.recover()
	var why *proxy.Failure
	if x.Prepared() {
		why = awaitFailure(r, x)
	}
	c.run(x.Resume(why))
}

func awaitFailure(r *http.Request, x *proxy.Exchange) *proxy.Failure {
	t := time.NewTimer(learnWait)
	defer t.Stop()
	select {
	case f := <-x.Learned():
		return &f
	case <-t.C:
	case <-r.Context().Done():
	}
	return nil
}

// refuseClaim answers a request whose exchange somebody else has or nobody knows any more: run twice it would be paid twice.
func refuseClaim(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set(wire.HeaderRequestID, r.Header.Get(wire.HeaderID))
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(`{"error":{"message":"This exchange cannot be carried on.","type":"server_error","param":null,"code":"exchange_lost"}}`))
}

func parseID(s string) (id [16]byte, ok bool) {
	if len(s) != 2*len(id) {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(s))
	return id, err == nil
}
