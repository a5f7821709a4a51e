package main

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strconv"
	"sync"

	"github.com/sluice-gateway/sluice/internal/jsonedit"
	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/router"
)

// classifyCmd is `sluice classify`.
type classifyCmd struct{}

// Help is what --help says beyond the flags.
func (c *classifyCmd) Help() string {
	return `Reads JSON lines {"prompt": "…"} or {"messages": […]} from standard input and writes one JSON object a line, in order: class, class_p over all classes, gain (what a strong model would add, -1 to 1) and novelty (0 to 1). Only the user's own turns are read. A line that is not such an object gives {"error", "line"} in its place.`
}

const (
	blockSize = 256 << 10 // bytes read at once
	maxLine   = 32 << 20  // bytes of one line
)

// Run classifies until the input ends.
func (c *classifyCmd) Run(w *world) error {
	classifier := router.NewTrained()
	in := &blocks{r: w.stdin}
	queue := make(chan *block, 2*runtime.GOMAXPROCS(0)) // in order; each is done when its channel closes
	failed := make(chan struct{})                       // nobody takes the output any more
	var wrote error
	var writer sync.WaitGroup
	writer.Go(func() {
		for b := range queue {
			<-b.done
			if wrote == nil {
				if _, wrote = w.stdout.Write(b.out); wrote != nil {
					close(failed)
				}
			}
		}
	})
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	read := error(nil)
	for open := true; open; {
		var b *block
		if b, read = in.next(); read != nil {
			break
		}
		select {
		case <-failed:
			open = false
			continue
		case queue <- b:
		}
		slots <- struct{}{}
		go func() {
			b.classify(classifier)
			close(b.done)
			<-slots
		}()
	}
	close(queue)
	writer.Wait()
	if wrote != nil {
		return wrote
	}
	if errors.Is(read, io.EOF) {
		return nil
	}
	return read
}

// blocks cuts the input into runs of whole lines, as they arrive: a line that was written is answered although the next one has not come.
type blocks struct {
	r    io.Reader
	rest []byte // the beginning of a line
	line int    // lines given out
	err  error  // of the input, once the rest is given out
}

// block is a run of whole lines and what comes of it.
type block struct {
	lines []byte
	first int // number of its first line
	out   []byte
	done  chan struct{}
}

func (s *blocks) next() (*block, error) {
	for {
		if s.err != nil {
			if len(s.rest) == 0 {
				return nil, s.err
			}
			lines := s.rest
			s.rest = nil
			return s.block(lines), nil
		}
		buf := make([]byte, len(s.rest), len(s.rest)+blockSize)
		copy(buf, s.rest)
		n, err := s.r.Read(buf[len(buf):cap(buf)])
		s.err = err
		buf = buf[:len(buf)+n]
		cut := len(s.rest) + bytes.LastIndexByte(buf[len(s.rest):], '\n') + 1
		if cut == len(s.rest) {
			if s.rest = buf; len(buf) > maxLine {
				return nil, errors.New("line " + strconv.Itoa(s.line+1) + " is longer than " + strconv.Itoa(maxLine) + " bytes")
			}
			continue
		}
		s.rest = buf[cut:]
		return s.block(buf[:cut]), nil
	}
}

func (s *blocks) block(lines []byte) *block {
	b := &block{lines: lines, first: s.line + 1, done: make(chan struct{})}
	s.line += bytes.Count(lines, []byte{'\n'})
	return b
}

func (b *block) classify(c router.Classifier) {
	var doc jsonedit.Doc
	var turns []llm.Turn
	b.out = make([]byte, 0, len(b.lines)+len(b.lines)/2+1024)
	n := b.first
	for line := range bytes.Lines(b.lines) {
		env := llm.Envelope{Op: llm.OpChat, Turns: turns[:0]}
		if err := conversation(&env, &doc, bytes.TrimRight(line, "\r\n")); err != nil {
			b.out = append(b.out, `{"error":`...)
			b.out = jsonedit.AppendString(b.out, err.Error())
			b.out = append(b.out, `,"line":`...)
			b.out = append(strconv.AppendInt(b.out, int64(n), 10), "}\n"...)
		} else {
			content := router.Extract(&env)
			class := c.Classify(content.Prompt)
			b.out = appendClass(b.out, &class)
		}
		turns = env.Turns
		n++
	}
}

const maxDepth = 64 // as deep as the gateway admits

var (
	errNoPrompt   = errors.New(`neither "prompt" nor "messages" is there`)
	errPromptKind = errors.New(`"prompt" is not a string`)
	errMessages   = errors.New(`"messages" is not a list of messages, each an object with a string "role" and a "content" that is a string, a list of parts or null`)
)

// conversation reads {"prompt"} or, without one, {"messages"}. Every other member is ignored.
func conversation(env *llm.Envelope, doc *jsonedit.Doc, line []byte) error {
	if err := doc.Reset(line, maxDepth); err != nil {
		return err
	}
	prompt, messages := doc.Value("prompt"), doc.Value("messages")
	switch {
	case prompt.Kind() == jsonedit.String:
		env.Turns = append(env.Turns, llm.Turn{Role: "user", Text: []string{prompt.String()}})
		return nil
	case prompt.Kind() > jsonedit.Null:
		return errPromptKind
	case messages.Kind() <= jsonedit.Null:
		return errNoPrompt
	case messages.Kind() != jsonedit.Array:
		return errMessages
	}
	good := true
	messages.Each(func(m jsonedit.Value) bool {
		good = message(env, m)
		return good
	})
	if !good {
		return errMessages
	}
	return nil
}

func message(env *llm.Envelope, m jsonedit.Value) bool {
	role, content := m.Field("role"), m.Field("content")
	if m.Kind() != jsonedit.Object || role.Kind() != jsonedit.String {
		return false
	}
	t := llm.Turn{Role: role.String()}
	good := true
	switch content.Kind() {
	case jsonedit.String:
		t.Text = []string{content.String()}
	case jsonedit.Array:
		content.Each(func(part jsonedit.Value) bool {
			if part.Kind() == jsonedit.String {
				t.Text = append(t.Text, part.String())
				return true
			}
			if text := part.Field("text"); text.Kind() == jsonedit.String {
				t.Text = append(t.Text, text.String())
			}
			if part.Field("image_url").Exists() {
				env.Images++
			}
			good = part.Kind() == jsonedit.Object
			return good
		})
	case jsonedit.Absent, jsonedit.Null:
	default:
		return false
	}
	env.Turns = append(env.Turns, t)
	return good
}

func appendClass(out []byte, c *router.Class) []byte {
	out = append(out, `{"class":"`...)
	out = append(out, c.Name...)
	out = append(out, `","class_p":{`...)
	for i, name := range router.Classes {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, '"'), name...), `":`...)
		out = strconv.AppendFloat(out, c.P[i], 'g', -1, 64)
	}
	out = append(out, `},"gain":`...)
	out = strconv.AppendFloat(out, c.Gain, 'g', -1, 64)
	out = append(out, `,"novelty":`...)
	out = strconv.AppendFloat(out, c.Novelty, 'g', -1, 64)
	return append(out, "}\n"...)
}
