package router

import (
	"strings"

	"github.com/sluice-gateway/sluice/llm"
)

// Content is what the router reads of a conversation: the user's own words, and how much of the rest is not theirs.
type Content struct {
	Prompt       Prompt
	UserBytes    int // the user's own words, all turns
	HarnessBytes int // what an agent's harness put into user turns: reminders, environment, cached context
	SystemBytes  int
	ToolBytes    int    // results of tools
	First        string // the user's first own words: they and the system text name a conversation without a session header
}

// harnessTags are the elements that agents' harnesses put into user turns. What they hold was not written by the user, so it says nothing about
// the task. What follows a tag that is not closed is the user's own text, the tag is not.
var harnessTags = [...]string{
	"system-reminder", "environment_context", "environment_details", "user_instructions", "additional_data", "workspace_info",
	"reminderInstructions", "command-name", "command-message", "command-args", "local-command-stdout", "local-command-stderr", "bash-stdout",
	"bash-stderr", "tool_result", "tool_output", "function_results", "cached_context", "cached-context", "context_block", "ide_selection",
	"ide_opened_file", "attached_files", "open_and_recently_viewed_files", "INSTRUCTIONS",
}

// harnessBy lists the places of those tags by their first byte.
var harnessBy = func() (by [256][]int) {
	for n, tag := range harnessTags {
		by[tag[0]] = append(by[tag[0]], n)
	}
	return by
}()

// tagsLike are the places of the tags that a name may begin with.
func tagsLike(name string) []int {
	if name == "" {
		return nil
	}
	return harnessBy[name[0]]
}

const (
	shortTurn = 80 // bytes: a shorter last turn is read together with the ones before it
	lastTurns = 3
)

// Extract reads a conversation. Text is shared with the envelope wherever it need not be joined.
func Extract(e *llm.Envelope) Content {
	c := Content{SystemBytes: e.SystemBytes}
	c.Prompt = Prompt{Tools: e.Tools, Images: e.Images, JSON: e.JSON}
	last := pieces{}
	var older [lastTurns - 1]int // indices of the user turns before the last one, newest first
	nOlder, lastUser := 0, -1
	for i := range e.Turns {
		t := &e.Turns[i]
		switch t.Role {
		case "tool", "function":
			c.ToolBytes += size(t.Text)
			continue
		case "user":
		default:
			continue
		}
		own := pieces{}
		own.turn(t)
		all := size(t.Text)
		c.UserBytes += own.bytes
		c.HarnessBytes += all - own.bytes
		if own.bytes == 0 && all > 0 {
			continue // all harness: not a turn of the user
		}
		c.Prompt.Turns++
		if c.Prompt.Turns == 1 {
			c.First = own.first()
		}
		if lastUser >= 0 {
			older[1], older[0] = older[0], lastUser
			nOlder = min(nOlder+1, len(older))
		}
		lastUser, last = i, own
	}
	if last.bytes < shortTurn && nOlder > 0 {
		joined := pieces{}
		for k := nOlder - 1; k >= 0; k-- {
			joined.turn(&e.Turns[older[k]])
		}
		joined.turn(&e.Turns[lastUser])
		last = joined
	}
	c.Prompt.Text = last.join()
	return c
}

func size(parts []string) (n int) {
	for _, p := range parts {
		n += len(p)
	}
	return n
}

// pieces are stretches of text in order. What does not fit is dropped from the middle, where the scan does not look either.
type pieces struct {
	s     [24]string
	n     int
	bytes int
}

func (p *pieces) turn(t *llm.Turn) {
	for _, text := range t.Text {
		p.own(text)
	}
}

// own adds what the user wrote of a text.
func (p *pieces) own(text string) {
	from, at := 0, 0
	var unclosed uint64
	for {
		i := strings.IndexByte(text[at:], '<')
		if i < 0 {
			break
		}
		at += i
		end := harnessEnd(text[at:], &unclosed)
		if end == 0 {
			end = strayTag(text[at:])
		}
		if end == 0 {
			at++
			continue
		}
		p.add(text[from:at])
		at += end
		from = at
	}
	p.add(text[from:])
}

func (p *pieces) add(s string) {
	s = strings.TrimSpace(s)
	if s == "" {
		return
	}
	p.bytes += len(s)
	if p.n == len(p.s) {
		copy(p.s[p.n/2:], p.s[p.n/2+1:])
		p.n--
	}
	p.s[p.n] = s
	p.n++
}

func (p *pieces) first() string {
	if p.n == 0 {
		return ""
	}
	return p.s[0]
}

// join makes one text of at most MaxScan bytes; a single piece is returned as it is, however long.
func (p *pieces) join() string {
	if p.n <= 1 {
		return p.first()
	}
	total := p.n - 1
	for _, s := range p.s[:p.n] {
		total += len(s)
	}
	var b strings.Builder
	b.Grow(min(total, MaxScan))
	at := 0
	put := func(s string) {
		if at < scanHead {
			b.WriteString(s[:min(len(s), scanHead-at)])
		}
		if tail := max(scanHead, total-scanTail); at+len(s) > tail {
			b.WriteString(s[max(0, tail-at):])
		}
		at += len(s)
	}
	for i, s := range p.s[:p.n] {
		if i > 0 {
			put("\n")
		}
		put(s)
	}
	return b.String()
}

// harnessEnd returns the length of the harness element at the start of s, 0 if there is none. unclosed has a bit for every tag that was looked for to
// the end of the text and is not closed in it: nobody can have a text read again for each of a thousand tags.
func harnessEnd(s string, unclosed *uint64) int {
	for _, n := range tagsLike(s[1:]) {
		tag := harnessTags[n]
		if *unclosed>>n&1 != 0 || !strings.HasPrefix(s[1:], tag) {
			continue
		}
		rest := s[1+len(tag):]
		if rest == "" || rest[0] != '>' && rest[0] != ' ' {
			continue
		}
		for at := 0; ; {
			i := strings.Index(rest[at:], "</")
			if i < 0 {
				*unclosed |= 1 << n
				return 0
			}
			at += i + 2
			if strings.HasPrefix(rest[at:], tag) && strings.HasPrefix(rest[at+len(tag):], ">") {
				return 1 + len(tag) + at + len(tag) + 1
			}
		}
	}
	return 0
}

// strayTag returns the length of a harness's tag at the start of s that opens or closes nothing, 0 if there is none.
func strayTag(s string) int {
	name := strings.TrimPrefix(s[1:], "/")
	for _, n := range tagsLike(name) {
		if tag := harnessTags[n]; strings.HasPrefix(name, tag) && strings.HasPrefix(name[len(tag):], ">") {
			return len(s) - len(name) + len(tag) + 1
		}
	}
	return 0
}
