package cache

// Form is what the answer depends on that a client gets of an entry, beside the entry.
type Form struct {
	Stream bool // it wants a stream
	Usage  bool // with the count of tokens
}

func (f Form) index() (i int) {
	if f.Stream {
		i = 1
	}
	if f.Usage {
		i += 2
	}
	return i
}

// Telling is what a client got of an entry, and what was read in it on the way: the next one who wants the same form gets the same.
type Telling struct {
	ResponseID    string
	ResponseModel string
	Finish        []string // a choice's each

	from, to int // of the entry's body, which part is left out
}

// Tell remembers what a client got. What is not the recorded body but for one cut (the count of tokens that the client did not ask for) is not remembered: it would take
// memory of its own.
func (e *Entry) Tell(f Form, body []byte, t Telling) {
	t.from = common(e.Body, body)
	behind := commonEnd(e.Body[t.from:], body[t.from:])
	if t.from+behind != len(body) {
		return
	}
	t.to = len(e.Body) - behind
	e.told[f.index()].Store(&t)
}

// Told returns what the last one got who wanted the form, and with it the body in two parts, which must not be changed; nil = nobody is known.
func (e *Entry) Told(f Form) (t *Telling, body, rest []byte) {
	t = e.told[f.index()].Load()
	switch {
	case t == nil:
		return nil, nil, nil
	case t.from == t.to:
		return t, e.Body, nil
	}
	return t, e.Body[:t.from], e.Body[t.to:]
}

// common is how many bytes a and b begin with alike, commonEnd how many they end with.
func common(a, b []byte) (n int) {
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func commonEnd(a, b []byte) (n int) {
	for n < len(a) && n < len(b) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}
