package router

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Prompts are read, never obeyed: what talks to the router is cut out before features are taken, so that a prompt with such talk and the
// same prompt without it are the same. A phrase of the lexicon's gMeta gives it away; how much goes with it, the text around it says.

// A cut is a stretch of a text that is left out.
type cut struct{ from, to int }

const maxCuts = 48

// cuts are the stretches of a text that are left out, in order and apart.
type cuts struct {
	n int
	c [maxCuts]cut
}

// asides are where phrases to the router stand in a text. What does not fit is read as text: nothing can be emptied by talk.
type asides struct {
	n  int
	at [maxCuts]int
}

func (t *asides) add(at int) {
	if t.n < maxCuts && (t.n == 0 || t.at[t.n-1] < at) {
		t.at[t.n] = at
		t.n++
	}
}

// cuts returns what is left out of a text for the talk in it.
func (t *asides) cuts(text string) (c cuts) {
	for _, at := range t.at[:t.n] {
		if c.n > 0 && at < c.c[c.n-1].to {
			continue
		}
		c.c[c.n] = around(text, at)
		c.n++
	}
	slices.SortFunc(c.c[:c.n], func(a, b cut) int { return a.from - b.from })
	n := 0
	for _, k := range c.c[:c.n] {
		if n > 0 && k.from <= c.c[n-1].to {
			c.c[n-1].to = max(c.c[n-1].to, k.to)
			continue
		}
		c.c[n] = k
		n++
	}
	c.n = n
	return c
}

// around returns what goes with the phrase that ends with the word at an offset: the markup it is in, or else the sentence.
func around(text string, at int) cut {
	for _, find := range [...]func(string, int) (cut, bool){element, object, bracket, setting} {
		if k, ok := find(text, at); ok {
			return k
		}
	}
	return sentence(text, at)
}

const (
	maxElement = 1500 // bytes of an element or object that is cut as one
	maxBracket = 240
)

// element finds <name>…</name> or <|name|> around an offset.
func element(text string, at int) (cut, bool) {
	low := max(0, at-maxElement)
	for open := strings.LastIndexByte(text[low:at], '<'); open >= 0; {
		from := low + open
		name := text[from+1:]
		if strings.HasPrefix(name, "|") || strings.HasPrefix(name, "/") {
			if end := strings.IndexByte(name, '>'); end >= 0 && from+1+end >= at {
				return cut{from, from + 2 + end}, true
			}
		} else if n := nameLength(name); n > 0 {
			if k, ok := closed(text, from, name[:n]); ok && k.to > at {
				return k, true
			}
		}
		open = strings.LastIndexByte(text[low:from], '<')
	}
	return cut{}, false
}

// closed finds the end of the element that opens at an offset: its end tag, or its own end when there is none and the phrase is within the tag.
func closed(text string, from int, name string) (cut, bool) {
	rest := text[from:min(len(text), from+2*maxElement)]
	tag := strings.IndexByte(rest, '>')
	if tag < 0 {
		return cut{}, false
	}
	for at := tag; ; {
		i := strings.Index(rest[at:], "</")
		if i < 0 {
			return cut{from, from + tag + 1}, true
		}
		at += i + 2
		if strings.HasPrefix(rest[at:], name) {
			if end := strings.IndexByte(rest[at:], '>'); end >= 0 {
				return cut{from, from + at + end + 1}, true
			}
		}
	}
}

func nameLength(s string) int {
	n := 0
	for n < len(s) && n < 40 && (asciiFold[s[n]] != 0 || s[n] == '-' || s[n] == '_' || s[n] == ':') {
		n++
	}
	return n
}

// object finds the outermost {…} around an offset, with the fence or the name that it stands in.
func object(text string, at int) (k cut, ok bool) {
	low := max(0, at-maxElement)
	for from := low; from < at; from++ {
		i := strings.IndexByte(text[from:at], '{')
		if i < 0 {
			return cut{}, false
		}
		from += i
		if to := balanced(text, from, '{', '}', maxElement); to > at {
			return cut{from, to}, true
		}
	}
	return cut{}, false
}

// balanced returns where what opens at an offset has been closed, 0 if it is not.
func balanced(text string, from int, open, end byte, most int) int {
	depth := 0
	for i := from; i < len(text) && i < from+most; i++ {
		switch text[i] {
		case open:
			depth++
		case end:
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// bracket finds a remark in brackets, parentheses, dashes or a comment's marks around an offset, within its line.
func bracket(text string, at int) (cut, bool) {
	line := strings.LastIndexByte(text[:at], '\n') + 1
	low := max(line, at-maxBracket)
	for _, pair := range [...]struct{ open, end string }{{"<!--", "-->"}, {"/*", "*/"}, {"[[", "]]"}, {"[", "]"}, {"(", ")"}, {"**", "**"}} {
		i := strings.LastIndex(text[low:at], pair.open)
		if i < 0 {
			continue
		}
		from := low + i
		end := strings.Index(text[from+len(pair.open):min(len(text), from+maxBracket)], pair.end)
		if end >= 0 && from+len(pair.open)+end > at {
			return cut{from, from + len(pair.open) + end + len(pair.end)}, true
		}
	}
	return cut{}, false
}

// setting finds name=value around an offset.
func setting(text string, at int) (cut, bool) {
	from, to := at, at
	for from > 0 && !spaceBefore(text, from) {
		from--
	}
	for to < len(text) && !spaceAt(text, to) {
		to++
	}
	if strings.IndexByte(text[from:to], '=') < 0 {
		return cut{}, false
	}
	return cut{from, to}, true
}

// spaceAt reports a blank or a character without width at an offset.
func spaceAt(text string, i int) bool {
	return text[i] <= ' ' || strings.HasPrefix(text[i:], "\u200b") || strings.HasPrefix(text[i:], "\u200c") || strings.HasPrefix(text[i:], "\u200d") ||
		strings.HasPrefix(text[i:], "\ufeff") || strings.HasPrefix(text[i:], "\u00a0")
}

func spaceBefore(text string, i int) bool {
	if text[i-1] <= ' ' {
		return true
	}
	r, _ := utf8.DecodeLastRuneInString(text[:i])
	return r == 0x200b || r == 0x200c || r == 0x200d || r == 0xfeff || r == 0xa0
}

// addressed is how far from its beginning a sentence may be about the router for a colon to end that part of it: "router: …".
const addressed = 90

// sentence returns the sentence around an offset, or the part of it that is set off from the rest: behind a dash or before a colon, or from a
// capital on where somebody went on without a full stop.
func sentence(text string, at int) cut {
	from := begins(text, at)
	to := at
	for to < len(text) {
		if n := ends(text, to, at-from < addressed); n > 0 {
			to += n
			break
		}
		_, n := utf8.DecodeRuneInString(text[to:])
		to += n
	}
	return cut{from, min(to, len(text))}
}

// begins looks back for where a sentence begins.
func begins(text string, at int) int {
	capital := -1
	for i := at; i > 0; {
		r, n := utf8.DecodeLastRuneInString(text[:i])
		if before := text[:i-n]; r == ' ' || r == '\t' {
			last, _ := utf8.DecodeLastRuneInString(before)
			if strings.ContainsRune(".!?…。！？;|", last) || strings.HasSuffix(before, " -") || strings.HasSuffix(before, "--") || strings.HasSuffix(before, "—") || strings.HasSuffix(before, "–") {
				return i
			}
			if capital < 0 && i < len(text) && text[i] >= 'A' && text[i] <= 'Z' && at-i < addressed && last != ',' && last != ':' {
				capital = i
			}
		}
		if r == '\n' || r == '。' || r == '！' || r == '？' || r == 0x200b || r == 0xfeff {
			return i
		}
		i -= n
	}
	if capital > 0 && at-capital < addressed && words(text[:capital]) >= 2 {
		return capital
	}
	return 0
}

// ends returns how many bytes end a sentence at an offset, 0 for none.
func ends(text string, i int, colon bool) int {
	next := byte(' ')
	if i+1 < len(text) {
		next = text[i+1]
	}
	blank := next == ' ' || next == '\n' || next == '\t'
	switch c := text[i]; {
	case c == '\n':
		return 1
	case (c == '.' || c == '!' || c == '?' || c == ';' || c == '|') && blank, c == ':' && colon && blank:
		return 2
	case c == '-' && blank && i > 0 && (text[i-1] == ' ' || text[i-1] == '-'):
		return 2
	case c < utf8.RuneSelf:
		return 0
	}
	r, n := utf8.DecodeRuneInString(text[i:])
	if strings.ContainsRune("。！？—–：．\u200b\ufeff", r) {
		return n
	}
	return 0
}

func words(s string) int { return len(strings.Fields(s)) }

// all reports whether nothing of a text is left but blanks and marks.
func (c *cuts) all(text string) bool {
	at := 0
	for _, k := range c.c[:c.n] {
		if !mute(text[at:k.from]) {
			return false
		}
		at = k.to
	}
	return mute(text[at:])
}

// mute reports a text without a word.
func mute(s string) bool {
	k, _, _ := nextToken(s, 0)
	return k == 0
}
