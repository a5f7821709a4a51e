package simulator

import "slices"

// stream writes server-sent events at the pace and with the faults of its exchange.
type stream struct {
	x       *exchange
	sent    int // content events
	garbled bool
}

// openStream sends the head of a stream. It fails where a fault ends the stream before its first event.
func (x *exchange) openStream() (*stream, error) {
	t := &stream{x: x}
	if err := x.open(200, "text/event-stream"); err != nil {
		return nil, err
	}
	return t, t.breakpoint(false)
}

// event sends an event that carries no content. name is the SSE event's name, "" for none.
func (t *stream) event(name string, v any) error { return t.frame(name, marshal(v)) }

// content sends an event that carries content, after its delay. tokens is what it adds to the call's output.
func (t *stream) content(name string, v any, tokens int) error {
	x := t.x
	d := x.fault.delay
	if t.sent == 0 {
		d += x.fault.firstToken
	}
	if err := x.wait(d); err != nil {
		return err
	}
	data := marshal(v)
	if g := x.fault.garbage; g.set && max(g.n, 1) == t.sent+1 {
		data, t.garbled = data[:len(data)*2/3], true
	}
	if err := t.frame(name, data); err != nil {
		return err
	}
	t.sent++
	x.call.note(func(c *Call) { c.Events, c.TokensOut = t.sent, c.TokensOut+tokens })
	return t.breakpoint(false)
}

// contentEnd acts out the faults whose place lies beyond the last content event: a fault that was asked for always happens.
func (t *stream) contentEnd() error {
	if t.x.fault.garbage.set && !t.garbled {
		if err := t.frame("", []byte(`{"choices":[{"delta":{"content":"`)); err != nil {
			return err
		}
	}
	return t.breakpoint(true)
}

// done ends the stream as chat completions end: with [DONE].
func (t *stream) done() error {
	if t.x.fault.noDone {
		return nil
	}
	return t.last("", []byte("[DONE]"))
}

// last sends the event after which a client may stop reading; the log knows of the end before the client does.
func (t *stream) last(name string, data []byte) error {
	t.x.call.end(Completed)
	return t.frame(name, data)
}

// breakpoint breaks the stream where a fault says that it breaks here; last is true after the last content event.
func (t *stream) breakpoint(last bool) error {
	f := &t.x.fault
	here := func(p position) bool { return p.set && (last || t.sent >= p.n) }
	switch {
	case here(f.errorEvent):
		if err := t.last("", marshal(statusError(f, 500).wire())); err != nil {
			return err
		}
		return errEnded
	case here(f.cut) && f.torn:
		if err := t.x.write([]byte("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xe2\x82")); err != nil {
			return err
		}
		return errCut
	case here(f.cut):
		return errCut
	case here(f.stall):
		return t.x.hang()
	case here(f.endAt):
		return errEnded
	}
	return nil
}

// frame sends one event. data holds no line break: it is JSON as marshal writes it.
func (t *stream) frame(name string, data []byte) error {
	var b []byte
	if name != "" {
		b = slices.Concat(b, []byte("event: "), []byte(name), []byte("\n"))
	}
	return t.x.write(slices.Concat(b, []byte("data: "), data, []byte("\n\n")))
}
