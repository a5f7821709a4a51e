package testkit

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// What a run in real time needs of a transcript that was written in virtual time.

// Hosts returns the names, with ports, of the upstreams that the transcript names: in its policy, scripted or not.
func (tr *Transcript) Hosts() []string {
	hosts := named.FindAllString(string(tr.Policy), -1)
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

var named = regexp.MustCompile(`[a-z0-9-]+\.test:[0-9]+`)

// Hurry divides the times that clients and upstreams take. The policy's are the caller's to divide.
func (tr *Transcript) Hurry(by int, u *Upstreams) {
	d := time.Duration(by)
	hurry := func(s *script) {
		for i := range s.steps {
			s.steps[i].delay /= d
		}
	}
	for _, r := range tr.Requests {
		hurry(r.script)
		r.script.leave, r.Wait, r.Leave = r.script.leave/d, r.Wait/d, r.Leave/d
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, left := range u.scripts {
		for _, s := range left {
			hurry(s)
		}
	}
}

// times are what a run in real time shows otherwise each time, and what stands there instead.
var times = []struct {
	in   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`(?m)^at [0-9.a-zµ]+$`), "at (t)"},
	{regexp.MustCompile(`(?m)^(attempt \d+|embedding) at [0-9.a-zµ]+:`), "$1 at (t):"},
	{regexp.MustCompile(`("object":"model","created"):[0-9]+`), "$1:(t)"},
	{regexp.MustCompile(`(?m)^(X-Ratelimit-Reset-[A-Za-z]+): .*$`), "$1: (t)"},
	{regexp.MustCompile(`(?m)^Retry-After: [0-9]{3,}$`), "Retry-After: (t)"},
	{regexp.MustCompile(`(begins anew at) [0-9T:Z+-]+`), "$1 (t)"},
	{regexp.MustCompile(`\b(first-token|took|first|end)=-?[0-9][0-9.a-zµ]*`), "$1=(t)"},
}

// Timeless returns the sections without times: whether there was one still shows.
func (s Sections) Timeless() Sections {
	return s.Map(func(_, text string) string {
		for _, t := range times {
			text = t.in.ReplaceAllString(text, t.with)
		}
		return text
	})
}

// Map returns the sections with f applied to each one's text.
func (s Sections) Map(f func(name, text string) string) Sections {
	out := make(Sections, len(s))
	for i, file := range s {
		out[i] = txtar.File{Name: file.Name, Data: []byte(f(file.Name, string(file.Data)))}
	}
	return out
}

// Text returns the section of a name, "" when there is none.
func (s Sections) Text(name string) string {
	i := slices.IndexFunc(s, func(f txtar.File) bool { return f.Name == name })
	if i < 0 {
		return ""
	}
	return string(s[i].Data)
}

// Of returns the sections whose names begin with a prefix.
func (s Sections) Of(prefix string) Sections {
	return slices.DeleteFunc(slices.Clone(s), func(f txtar.File) bool { return !strings.HasPrefix(f.Name, prefix) })
}
