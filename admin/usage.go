package admin

import (
	"bytes"
	"io"
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
		c := http.NewResponseController(w)
		if s.o.Ledger.Report(&hurried{w, c}, q) != nil {
			panic(http.ErrAbortHandler) // half a list must not look like a whole one
		}
		_ = c.SetWriteDeadline(time.Time{}) // of the next answer on this connection
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

// stall is how long a reader of rows may take none of them: while they are read, the ledger's file only grows.
const stall = 30 * time.Second

// hurried is the writer to a reader who must go on reading.
type hurried struct {
	w io.Writer
	c *http.ResponseController
}

// Write writes within the time that a stall may last.
func (h *hurried) Write(b []byte) (int, error) {
	_ = h.c.SetWriteDeadline(time.Now().Add(stall)) // where there are no deadlines nobody stalls
	return h.w.Write(b)
}

func flag(v string) bool { return v == "1" || v == "true" }
