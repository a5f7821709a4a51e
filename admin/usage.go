package admin

import (
	"bytes"
	"net/http"
	"time"

	"github.com/sluice-gateway/sluice/ledger"
)

// usage answers from the ledger: by, since and format as the contract has them; raw=1 gives rows, full=1 what own GPUs cost with their idle
// hours.
func (s *server) usage(w http.ResponseWriter, r *http.Request) {
	if s.o.Ledger == nil {
		fail(w, http.StatusNotFound, "no_ledger", "This gateway keeps no ledger: its store could not be opened.")
		return
	}
	v := r.URL.Query()
	q, err := ledger.ParseQuery(v.Get("by"), v.Get("since"), v.Get("format"), flag(v.Get("raw")), time.Now())
	if err != nil {
		fail(w, http.StatusBadRequest, "invalid_request_error", err.Error())
		return
	}
	if flag(v.Get("full")) {
		q.GPU = ledger.Hourly(s.o.Gateway.Snapshot().Policy)
	}
	types := map[string]string{"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
	if q.Raw { // as long as the ledger: straight on
		w.Header().Set("Content-Type", types[q.Format])
		if s.o.Ledger.Report(w, q) != nil {
			panic(http.ErrAbortHandler) // half a list must not look like a whole one
		}
		return
	}
	var b bytes.Buffer
	if err := s.o.Ledger.Report(&b, q); err != nil {
		fail(w, http.StatusInternalServerError, "internal_error", "The ledger could not be read.")
		return
	}
	w.Header().Set("Content-Type", types[q.Format])
	_, _ = w.Write(b.Bytes()) // a failed write means that nobody is there to be told
}

func flag(v string) bool { return v == "1" || v == "true" }
