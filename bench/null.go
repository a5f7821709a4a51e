package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// serveNull runs the null upstream: an OpenAI-shaped server that answers at once from bytes made at the start. It ends when stdin does,
// so it cannot outlive the run.
func serveNull(args []string, stdin io.Reader) error {
	fs := flag.NewFlagSet("null", flag.ContinueOnError)
	listen := fs.String("listen", "127.0.0.1:0", "loopback address, or unix: and a path")
	if err := fs.Parse(args); err != nil {
		return err
	}
	return serve(*listen, newNull(), stdin)
}

// serve answers on a loopback address or a Unix socket until stdin ends.
func serve(addr string, h http.Handler, stdin io.Reader) error {
	l, err := listenHere(addr)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h}
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		_ = srv.Close()
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// socketPrefix begins the address of a Unix socket.
const socketPrefix = "unix:"

// listenHere listens where nobody but this machine can ask.
func listenHere(addr string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(addr, socketPrefix); ok {
		return net.Listen("unix", path)
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, errors.New("bench servers listen on loopback only")
	}
	return net.Listen("tcp", addr)
}

// null holds every answer ready-made.
type null struct {
	unary   map[string][]byte
	stream  map[string][][]byte
	toiling atomic.Int64  // requests of the overload at work
	paced   atomic.Uint64 // streams with a pause between events that have begun
}

func newNull() *null {
	n := &null{unary: map[string][]byte{}, stream: map[string][][]byte{}}
	for _, s := range shapes {
		if s.events > 0 {
			n.stream[s.name] = streamAnswer(s)
		} else {
			n.unary[s.name] = unaryAnswer(s)
		}
	}
	return n
}

func (n *null) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet { // /readyz, and /v1/models for whoever looks whether an upstream lives
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"object":"list","data":[]}`)
		return
	}
	body, err := readBody(r)
	if err != nil {
		http.Error(w, "unreadable body", http.StatusBadRequest)
		return
	}
	s, ok := shapeOf(looseModel(body))
	switch {
	case !ok:
		http.Error(w, "no such shape", http.StatusNotFound)
	case s.toil && !n.toil(r.Context()):
	case s.wait > 0 && !rest(r.Context(), s.wait):
	case s.events > 0:
		n.writeStream(r.Context(), w, s)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(s.bytes))
		_, _ = w.Write(n.unary[s.name])
	}
}

// writeStream flushes each frame by itself, as a real engine does.
func (n *null) writeStream(ctx context.Context, w http.ResponseWriter, s shape) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	out := http.NewResponseController(w)
	if s.gap > 0 && !rest(ctx, n.offset(s.gap)) {
		return
	}
	for _, f := range n.stream[s.name] {
		if s.gap > 0 && !rest(ctx, s.gap) {
			return
		}
		if _, err := w.Write(f); err != nil {
			return
		}
		if out.Flush() != nil {
			return
		}
	}
}

// offset shifts a paced stream against the others, evenly over the pause: clients that begin together must not get all their events in the
// same instant for ever.
func (n *null) offset(gap time.Duration) time.Duration {
	const golden = 0.6180339887498949
	_, part := math.Modf(float64(n.paced.Add(1)) * golden)
	return time.Duration(part * float64(gap))
}

// rest waits; false when the client left.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// looseModel finds the model in a body that the loader wrote and perhaps a gateway edited. It is a search and no parser on purpose: the
// upstream's own cost is in everybody's figures.
func looseModel(body []byte) string {
	_, rest, ok := bytes.Cut(body, []byte(`"model":`))
	if !ok {
		return ""
	}
	_, rest, _ = bytes.Cut(rest, []byte{'"'})
	name, _, _ := bytes.Cut(rest, []byte{'"'})
	return string(name)
}

// readBody reads a whole body, in one allocation where its length is known.
func readBody(r *http.Request) ([]byte, error) {
	if r.ContentLength < 0 || r.ContentLength > 32<<20 {
		return io.ReadAll(io.LimitReader(r.Body, 32<<20))
	}
	b := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, b)
	return b, err
}
