package testkit

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A script is what one side of a connection says, as a text: a head, an empty line, a body. Lines that begin with "!" are no bytes but
// steps:
//
//	!delay 5s         waits
//	!hang             says nothing more, for ever
//	!cut              closes the connection
//	!half             (requests) says nothing more and still listens
//	!reset            breaks the connection
//	!refuse           (first line, upstreams) the connection is refused
//	!dialhang         (first line, upstreams) the connection never comes about
//	!leave 3s         (requests) the client leaves so long after it began
//	!wait 10s         (requests) passes before the request begins
//	!crlf             from here on lines end in CR LF
//	!bytes "a\x00b"   these bytes, without an end of line
//	!repeat 100 text  text, so often, without an end of line
//
// Bytes are counted, so a Content-Length is written where the text has none and its kind of answer wants one.
type script struct {
	head  []string // lines of the head
	steps []step   // before the head, then the body's
	// leave and wait are the client's own times.
	leave, wait time.Duration
}

// step is bytes, a time to wait, or an end.
type step struct {
	do    string // "", delay, hang, cut, reset, refuse, dialhang, head
	bytes []byte
	delay time.Duration
}

func (s *script) begins(do string) bool { return len(s.steps) > 0 && s.steps[0].do == do }

// body is all bytes of the script's body, whatever happens between them.
func (s *script) body() []byte {
	var b []byte
	for _, st := range s.steps {
		if st.do == "" {
			b = append(b, st.bytes...)
		}
	}
	return b
}

// whole reports whether the body ends as it should.
func (s *script) whole() bool {
	for _, st := range s.steps {
		if st.do == "cut" || st.do == "half" || st.do == "reset" || st.do == "hang" {
			return false
		}
	}
	return true
}

// parseScript reads a script.
func parseScript(text []byte) (*script, error) {
	s := &script{}
	eol, inBody := "\n", false
	for line := range bytes.Lines(text) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		switch {
		case bytes.HasPrefix(line, []byte("!")):
			if string(line) == "!crlf" {
				eol = "\r\n"
				continue
			}
			if err := s.directive(string(line[1:])); err != nil {
				return nil, err
			}
		case inBody:
			s.add(append(bytes.Clone(line), eol...))
		case len(line) == 0:
			inBody = true
			s.steps = append(s.steps, step{do: "head"})
		default:
			s.head = append(s.head, string(line))
		}
	}
	if !inBody && len(s.head) > 0 {
		s.steps = append(s.steps, step{do: "head"})
	}
	return s, nil
}

// add appends bytes to the last step, so that what is said at once is one step.
func (s *script) add(b []byte) {
	if n := len(s.steps); n > 0 && s.steps[n-1].do == "" {
		s.steps[n-1].bytes = append(s.steps[n-1].bytes, b...)
		return
	}
	s.steps = append(s.steps, step{bytes: b})
}

func (s *script) directive(line string) error {
	name, arg, _ := strings.Cut(line, " ")
	switch name {
	case "hang", "cut", "half", "reset", "refuse", "dialhang":
		s.steps = append(s.steps, step{do: name})
		return nil
	case "delay", "leave", "wait":
		d, err := time.ParseDuration(arg)
		switch name {
		case "delay":
			s.steps = append(s.steps, step{do: name, delay: d})
		case "leave":
			s.leave = d
		case "wait":
			s.wait = d
		}
		return err
	case "bytes":
		text, err := strconv.Unquote(arg)
		s.add([]byte(text))
		return err
	case "repeat":
		count, text, _ := strings.Cut(arg, " ")
		n, err := strconv.Atoi(count)
		s.add(bytes.Repeat([]byte(text), n))
		return err
	}
	return fmt.Errorf("unknown step %q", "!"+line)
}

func hasHeader(head []string, name string) bool {
	for _, h := range head[1:] {
		if n, _, _ := strings.Cut(h, ":"); strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}
