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
	schedule
	statuses                  []int // in turn, call by call; empty = none
	status                    int   // this call's
	code, kind, message       string
	header                    http.Header
	contextLength, filter     bool
	headersDelay              time.Duration
	hang, hangAfter, reset    bool
	html, empty, emptyChoices bool
	comments, noDone          bool
	cut, stall, garbage       position
	errorEvent, endAt         position
	torn, shortLength         bool
	dribble, drip             time.Duration
	noUsage, zeroUsage        bool
	prefill                   string // what becomes of an assistant's message at the end: "" and continue, ignore, reject
	voice                     string // the model's name as texts say it; "" = its own
}

// faultRow is one word of the fault language.
type faultRow struct {
	name, arg, help string
	set             func(f *fault, value string) error
}

// faultRows is the fault language: the parser's table and the text of Faults.
var faultRows = []faultRow{
	{"status", "N", "answer with HTTP status N (400 to 599) and an error of OpenAI's form; several, as in 500|503, take turns", statuses},
	{"code", "TEXT", "the error's code, with status or error-event", func(f *fault, v string) error { return text(&f.code, v) }},
	{"type", "TEXT", "the error's type, with status or error-event", func(f *fault, v string) error { return text(&f.kind, v) }},
	{"message", "TEXT", "the error's message, with status or error-event", func(f *fault, v string) error { return text(&f.message, v) }},
	{"retry-after", "TEXT", "the Retry-After header, seconds as a rule; past is a date that is over", func(f *fault, v string) error {
		if v == "past" {
			v = time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)
		}
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
	{"torn", "", "with cut: in the middle of the next event, and of a character", flag(func(f *fault) *bool { return &f.torn })},
	{"short-length", "", "a Content-Length that is shorter than the JSON answer", flag(func(f *fault) *bool { return &f.shortLength })},
	{"dribble", "DURATION", "send the response head byte by byte, one every DURATION", func(f *fault, v string) error { return duration(&f.dribble, v, "10s") }},
	{"drip", "DURATION", "send the answer's bytes one by one, one every DURATION", func(f *fault, v string) error { return duration(&f.drip, v, "10s") }},
	{"no-usage", "", "an answer without usage", flag(func(f *fault) *bool { return &f.noUsage })},
	{"zero-usage", "", "an answer whose usage is zero", flag(func(f *fault) *bool { return &f.zeroUsage })},
	{"once", "N", "only the first N calls (default 1) of this model with this spec fail", func(f *fault, v string) error {
		return intIn(&f.once, v, "1", 1, 1<<30)
	}},
	{"share", "N", "only N in a hundred calls fail, evenly spread", func(f *fault, v string) error { return intIn(&f.share, v, "", 1, 100) }},
	{"after", "DURATION", "fail only when so long has passed since the first call", func(f *fault, v string) error { return duration(&f.after, v, "") }},
	{"for", "DURATION", "fail only for so long after the first call (or after that of after=)", func(f *fault, v string) error { return duration(&f.window, v, "") }},
	{"flap", "DURATION", "fail for so long, work for so long, and so on, from the first call", func(f *fault, v string) error { return duration(&f.flap, v, "2s") }},
	{"prefill", "HOW", "an assistant's message at the end: continue it (default), ignore it (answer from the start) or reject it (400); not a failure",
		prefill},
	{"voice", "NAME", "speak as the model NAME, so that two models say the same; not a failure", func(f *fault, v string) error { return text(&f.voice, v) }},
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
// model suffix (name+fault=spec), as x-sim-fault header or by Options.Fault; specs from several places are joined in this order. Specs that a
// semicolon parts are tried in turn: the first that its own once, share, after, for and flap leave in force is the call's.
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
	if f.statuses == nil && !f.errorEvent.set && (f.code != "" || f.kind != "" || f.message != "") {
		return fault{}, errors.New("fault code, type and message need status or error-event")
	}
	return f, nil
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

// statuses reads one status, or several that take turns.
func statuses(f *fault, v string) error {
	for one := range strings.SplitSeq(v, "|") {
		var n int
		if err := intIn(&n, one, "", 400, 599); err != nil {
			return err
		}
		f.statuses = append(f.statuses, n)
	}
	return nil
}

func prefill(f *fault, v string) error {
	if v != "continue" && v != "ignore" && v != "reject" {
		return fmt.Errorf("%q is not continue, ignore or reject", v)
	}
	f.prefill = v
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
