package httpproxy

import "sync"

// open is the attempts in flight of a handler, so that the process can end what it cannot wait for any longer.
type open struct {
	mu      sync.Mutex
	watches map[*watch]struct{}
	over    chan struct{} // closed by Interrupt
	ended   bool
}

func newOpen() *open { return &open{watches: map[*watch]struct{}{}, over: make(chan struct{})} }

func (o *open) add(w *watch) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.watches[w] = struct{}{}
	if o.ended {
		w.interrupt()
	}
}

func (o *open) remove(w *watch) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.watches, w)
}

// Interrupt ends every exchange that is open, and those to come, with its last word: an error event where a stream has begun, a 503 where nothing has. It
// does not wait for them.
func (h *Handler) Interrupt() {
	h.open.mu.Lock()
	defer h.open.mu.Unlock()
	if h.open.ended {
		return
	}
	h.open.ended = true
	close(h.open.over)
	for w := range h.open.watches {
		w.interrupt()
	}
}

// interrupt cancels the attempt because the process ends.
func (w *watch) interrupt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.ended = true
		w.cancel()
	}
}

func (w *watch) wasInterrupted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended
}
