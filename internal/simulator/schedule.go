package simulator

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// schedule says which of a model's calls a fault concerns; the zero value is all of them.
type schedule struct {
	once   int // the first so many; 0 = all
	share  int // so many in a hundred; 0 = all
	after  time.Duration
	window time.Duration // 0 = without end
	flap   time.Duration // 0 = not
}

func (c schedule) always() bool { return c == schedule{} }

// use is what was seen of the calls of one model with one spec.
type use struct {
	calls int
	first time.Time
}

// concerns reports whether the fault concerns the call that u counted last.
func (c schedule) concerns(u *use, now time.Time) bool {
	since := now.Sub(u.first) - c.after
	switch {
	case since < 0,
		c.once > 0 && u.calls > c.once,
		c.window > 0 && since >= c.window,
		c.flap > 0 && since/c.flap%2 == 1:
		return false
	}
	return c.share == 0 || u.calls*c.share/100 > (u.calls-1)*c.share/100
}

// choose finds the fault of a request, and counts it where it is limited. The spec it returns is "" where none is in force.
func (s *Server) choose(r *http.Request, model string) (fault, string, error) {
	base, suffix, _ := strings.Cut(model, faultMark)
	specs := []string{suffix, r.Header.Get(faultHeader)}
	if s.opts.Fault != nil {
		specs = append(specs, s.opts.Fault(r, model))
	}
	specs = slices.DeleteFunc(specs, func(s string) bool { return s == "" })
	var f fault
	for spec := range strings.SplitSeq(unfold(strings.Join(specs, ",")), ";") {
		var err error
		if f, err = parseFault(spec); err != nil {
			return fault{}, spec, &apiError{status: 400, kind: "invalid_request_error", code: "bad_fault", message: err.Error()}
		}
		if s.inForce(&f, base+"\x00"+spec) {
			return f, spec, nil
		}
	}
	return fault{pace: f.pace, voice: f.voice, prefill: f.prefill}, "", nil
}

// inForce counts the call for the fault, and reports whether it concerns it.
func (s *Server) inForce(f *fault, key string) bool {
	turns := len(f.statuses)
	if f.schedule.always() && turns < 2 {
		if turns == 1 {
			f.status = f.statuses[0]
		}
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u, now := s.uses[key], time.Now()
	if u == nil {
		u = &use{first: now}
		s.uses[key] = u
	}
	u.calls++
	if turns > 0 {
		f.status = f.statuses[(u.calls-1)%turns]
	}
	return f.schedule.concerns(u, now)
}

// Scenario is a fault with a name of its own, at the timings at which it is published.
type Scenario struct {
	Name, Spec, Says string
	Fallback         string // the fault language for whoever answers instead; "" = nothing special
}

// scenarios are the sixteen faults of the public Failover Bench (s01 to s16), then those of the fault matrix that an upstream can play.
var scenarios = []Scenario{
	{"s01", "status=429,retry-after=2,once", "429 with Retry-After 2, once", ""},
	{"s02", "status=429", "429, for ever", ""},
	{"s03", "status=500,once", "500, once", ""},
	{"s04", "status=503", "503, for ever", ""},
	{"s05", "reset,once", "the connection is reset before the response head, once", ""},
	{"s06", "hang", "silence: no response head, ever", ""},
	{"s07", "first-token-delay=20s", "the first token comes after 20 s", ""},
	{"s08", "events=60,cut=40", "the stream is cut after 40 of 60 tokens", ""},
	{"s09", "events=60,stall=20", "the stream stalls after 20 tokens", ""},
	{"s10", "events=60,garbage=10", "the tenth event is malformed", ""},
	{"s11", "no-done", "the stream ends without [DONE]", ""},
	{"s12", "context-length", "400, the context is too long", ""},
	{"s13", "content-filter", "400, the content filter", ""},
	{"s14", "events=60,cut=40", "the same cut, and the fallback rejects an assistant's prefix", "prefill=reject"},
	{"s15", "status=503,for=60s", "503 for sixty seconds", ""},
	{"s16", "status=503", "503, and the fallback's model and usage are what must be reported", ""},
	{"f01", "reset", "the connection is reset before the response head, for ever", ""},
	{"f02-cut", "events=60,cut=5", "cut between two events", ""},
	{"f02-torn", "events=60,cut=5,torn", "cut within an event and a character", ""},
	{"f03-short", "short-length", "a Content-Length that is shorter than the answer", ""},
	{"f03-long", "cut", "a Content-Length that is longer than what comes", ""},
	{"f04-head", "dribble=10s", "a byte of the head every 10 s", ""},
	{"f04-body", "drip=10s", "a byte of the answer every 10 s", ""},
	{"f04-comments", "comments", "comments for ever", ""},
	{"f05", "hang", "accepted and never answered", ""},
	{"f06-empty", "empty", "200 with nothing", ""},
	{"f06-error", "error-event", "200 whose first event is an error", ""},
	{"f06-html", "html", "200 with HTML", ""},
	{"f06-choices", "empty-choices", "200 without choices", ""},
	{"f06-usage", "zero-usage", "200 whose usage is zero", ""},
	{"f07-bare", "status=429", "429 storm without Retry-After", ""},
	{"f07-past", "status=429,retry-after=past", "429 storm with a date that is over", ""},
	{"f07-far", "status=429,retry-after=99999999", "429 storm with a Retry-After of three years", ""},
	{"f08-1", "status=500|502|503|529,share=1", "a mix of 5xx, one call in a hundred", ""},
	{"f08-10", "status=500|502|503|529,share=10", "a mix of 5xx, one call in ten", ""},
	{"f08-50", "status=500|502|503|529,share=50", "a mix of 5xx, every second call", ""},
	{"f08-100", "status=500|502|503|529", "a mix of 5xx, every call", ""},
	{"f09", "first-token-delay=2s,delay=500ms", "a brown-out: ten times slower, no errors", ""},
	{"f10", "status=503,flap=2s", "two seconds down, two seconds up", ""},
	{"f11", "status=503,once=3;hang,once", "three failures, then a probe that hangs, then health", ""},
	{"f34", "status=503,for=10m", "down for ten minutes, then back", ""},
}

// Scenarios returns the named faults: each name is a word of the fault language.
func Scenarios() []Scenario { return slices.Clone(scenarios) }

// Pace is how the models of the public suite speak, as a part of a fault's spec: all with one voice, so that one may go on where another broke off.
const Pace = "events=60,delay=20ms,voice=m"

// ScenarioList describes them for a command's help, one a line.
func ScenarioList() string {
	var b strings.Builder
	for _, s := range scenarios {
		fmt.Fprintf(&b, "%-13s %-36s %s\n", s.Name, s.Spec, s.Says)
	}
	return b.String()
}

// unfold puts a scenario's own words in place of its name. They may be parted by a semicolon, so it happens before a spec is parted.
func unfold(spec string) string {
	var b strings.Builder
	for spec != "" {
		word, end := spec, strings.IndexAny(spec, ",;")
		if end >= 0 {
			word = spec[:end]
		}
		if i := slices.IndexFunc(scenarios, func(s Scenario) bool { return s.Name == strings.TrimSpace(word) }); i >= 0 {
			b.WriteString(scenarios[i].Spec)
		} else {
			b.WriteString(word)
		}
		if end < 0 {
			break
		}
		b.WriteByte(spec[end])
		spec = spec[end+1:]
	}
	return b.String()
}
