package simulator

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	faultMark   = "+fault="     // model+fault=spec
	faultHeader = "x-sim-fault" // the same spec as a header
	maxEvents   = 100_000
)

// position is a place in a stream, counted in content events.
type position struct {
	set bool
	n   int
}

// pace is how fast and how long an answer is; it stays in force when once=N is used up.
type pace struct {
	events     int // content events; 0 = as many as the text has
	reasoning  int // reasoning events before them
	delay      time.Duration
	firstToken time.Duration
}

// fault is a parsed spec.
type fault struct {
	pace
	once int // 0 = always

	status                    int
	code, kind, message       string
	header                    http.Header
	contextLength, filter     bool
	headersDelay              time.Duration
	hang, hangAfter, reset    bool
	html, empty, emptyChoices bool
	comments, noDone          bool
	cut, stall, garbage       position
	errorEvent, endAt         position
}

// faultRow is one word of the fault language.
type faultRow struct {
	name, arg, help string
	set             func(f *fault, value string) error
}

// faultRows is the fault language: the parser's table and the text of Faults.
var faultRows = []faultRow{
	{"status", "N", "answer with HTTP status N (400 to 599) and an error of OpenAI's form", func(f *fault, v string) error {
		return intIn(&f.status, v, "", 400, 599)
	}},
	{"code", "TEXT", "the error's code, with status or error-event", func(f *fault, v string) error { return text(&f.code, v) }},
	{"type", "TEXT", "the error's type, with status or error-event", func(f *fault, v string) error { return text(&f.kind, v) }},
	{"message", "TEXT", "the error's message, with status or error-event", func(f *fault, v string) error { return text(&f.message, v) }},
	{"retry-after", "TEXT", "the Retry-After header, seconds as a rule", func(f *fault, v string) error {
		return addHeader(f, "Retry-After:"+v)
	}},
	{"retry-after-ms", "N", "the Retry-After-Ms header", func(f *fault, v string) error { return addHeader(f, "Retry-After-Ms:"+v) }},
	{"header", "NAME:VALUE", "a further response header, with any answer", addHeader},
	{"context-length", "", "400 context_length_exceeded", flag(func(f *fault) *bool { return &f.contextLength })},
	{"content-filter", "", "400 content_filter", flag(func(f *fault) *bool { return &f.filter })},
	{"headers-delay", "DURATION", "wait before the response head, then answer", func(f *fault, v string) error {
		return duration(&f.headersDelay, v, "")
	}},
	{"hang", "", "never send a response head", flag(func(f *fault) *bool { return &f.hang })},
	{"hang-after-headers", "", "send the head of a 200, then nothing", flag(func(f *fault) *bool { return &f.hangAfter })},
	{"reset", "", "reset the connection before the response head", flag(func(f *fault) *bool { return &f.reset })},
	{"html", "", "200 with an HTML page", flag(func(f *fault) *bool { return &f.html })},
	{"empty", "", "200 with nothing in it", flag(func(f *fault) *bool { return &f.empty })},
	{"empty-choices", "", "200 whose choices are empty", flag(func(f *fault) *bool { return &f.emptyChoices })},
	{"comments", "", "200 with SSE comments only, for ever, one every delay (default 1s); blank lines where no stream was asked",
		flag(func(f *fault) *bool { return &f.comments })},
	{"cut", "N", "break the connection after N content events (default 1); a JSON answer in its middle", at(func(f *fault) *position { return &f.cut }, 1)},
	{"stall", "N", "say nothing more after N content events (default 1); a JSON answer in its middle", at(func(f *fault) *position { return &f.stall }, 1)},
	{"end", "N", "end the stream cleanly after N content events (default 1), without a finish reason and [DONE]", at(func(f *fault) *position { return &f.endAt }, 1)},
	{"garbage", "N", "make the Nth content event (default 1), or a JSON answer, malformed JSON", at(func(f *fault) *position { return &f.garbage }, 1)},
	{"error-event", "N", "an error event after N content events (default 0: the first event of a 200); a JSON answer becomes a 200 with an error",
		at(func(f *fault) *position { return &f.errorEvent }, 0)},
	{"no-done", "", "end the stream without [DONE]", flag(func(f *fault) *bool { return &f.noDone })},
	{"once", "N", "only the first N calls (default 1) of this model with this spec fail", func(f *fault, v string) error {
		return intIn(&f.once, v, "1", 1, 1<<30)
	}},
	{"events", "N", "content events of the answer; not a failure", func(f *fault, v string) error { return intIn(&f.events, v, "", 1, maxEvents) }},
	{"reasoning", "N", "reasoning_content events before the answer (default 1); not a failure", func(f *fault, v string) error {
		return intIn(&f.reasoning, v, "1", 1, maxEvents)
	}},
	{"delay", "DURATION", "wait before every content event; a JSON answer waits for all of them; not a failure", func(f *fault, v string) error {
		return duration(&f.delay, v, "")
	}},
	{"slow", "DURATION", "the same as delay (default 100ms)", func(f *fault, v string) error { return duration(&f.delay, v, "100ms") }},
	{"first-token-delay", "DURATION", "wait before the first content event, after the head and the role event; not a failure", func(f *fault, v string) error {
		return duration(&f.firstToken, v, "")
	}},
}

// Faults describes the fault language, one word a line, for a command's help. A spec is a comma-separated list of words, given as
// model suffix (name+fault=spec), as x-sim-fault header or by Options.Fault; specs from several places are joined in this order.
func Faults() string {
	var b strings.Builder
	for _, row := range faultRows {
		word := row.name
		if row.arg != "" {
			word += "=" + row.arg
		}
		fmt.Fprintf(&b, "%-26s %s\n", word, row.help)
	}
	return b.String()
}

// parseFault reads a spec. An unknown word is an error: a misspelt fault would let a test pass that tests nothing.
func parseFault(spec string) (fault, error) {
	var f fault
	for word := range strings.SplitSeq(spec, ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		name, value, _ := strings.Cut(word, "=")
		i := slices.IndexFunc(faultRows, func(r faultRow) bool { return r.name == name })
		if i < 0 {
			return fault{}, fmt.Errorf("unknown fault %q", name)
		}
		if faultRows[i].arg == "" && value != "" {
			return fault{}, fmt.Errorf("fault %s takes no value", name)
		}
		if err := faultRows[i].set(&f, value); err != nil {
			return fault{}, fmt.Errorf("fault %s: %w", name, err)
		}
	}
	if f.status == 0 && !f.errorEvent.set && (f.code != "" || f.kind != "" || f.message != "") {
		return fault{}, errors.New("fault code, type and message need status or error-event")
	}
	return f, nil
}

// choose finds the fault of a request, and counts it where it is limited. The spec it returns is "" where once=N is used up.
func (s *Server) choose(r *http.Request, model string) (fault, string, error) {
	base, suffix, _ := strings.Cut(model, faultMark)
	specs := []string{suffix, r.Header.Get(faultHeader)}
	if s.opts.Fault != nil {
		specs = append(specs, s.opts.Fault(r, model))
	}
	specs = slices.DeleteFunc(specs, func(s string) bool { return s == "" })
	spec := strings.Join(specs, ",")
	f, err := parseFault(spec)
	if err != nil {
		return fault{}, spec, &apiError{status: 400, kind: "invalid_request_error", code: "bad_fault", message: err.Error()}
	}
	if f.once == 0 {
		return f, spec, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := base + "\x00" + spec
	s.uses[key]++
	if s.uses[key] > f.once {
		return fault{pace: f.pace}, "", nil
	}
	return f, spec, nil
}

func intIn(p *int, v, absent string, low, high int) error {
	if v == "" {
		v = absent
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		return fmt.Errorf("%q is no number from %d to %d", v, low, high)
	}
	*p = n
	return nil
}

func duration(p *time.Duration, v, absent string) error {
	if v == "" {
		v = absent
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return fmt.Errorf("%q is no duration", v)
	}
	*p = d
	return nil
}

func text(p *string, v string) error {
	if v == "" {
		return errors.New("needs a value")
	}
	*p = v
	return nil
}

func addHeader(f *fault, v string) error {
	name, value, ok := strings.Cut(v, ":")
	value = strings.TrimSpace(value)
	if !ok || name == "" || value == "" {
		return fmt.Errorf("%q is no NAME:VALUE", v)
	}
	if f.header == nil {
		f.header = http.Header{}
	}
	f.header.Add(name, value)
	return nil
}

func flag(field func(*fault) *bool) func(*fault, string) error {
	return func(f *fault, _ string) error {
		*field(f) = true
		return nil
	}
}

func at(field func(*fault) *position, absent int) func(*fault, string) error {
	return func(f *fault, v string) error {
		p := field(f)
		p.set = true
		return intIn(&p.n, v, strconv.Itoa(absent), 0, maxEvents)
	}
}
