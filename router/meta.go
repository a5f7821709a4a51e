package router

import (
	"slices"
	"strings"
	"unicode"
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

// asides are where phrases to the router end in a text, and which of them are words that others use too. What does not fit is read as text:
// nothing can be emptied by talk.
type asides struct {
	n    int
	at   [maxCuts]int
	weak [maxCuts]bool
}

func (t *asides) add(at int, weak bool) {
	if t.n > 0 && t.at[t.n-1] >= at {
		t.weak[t.n-1] = t.weak[t.n-1] && weak
		return
	}
	if t.n < maxCuts {
		t.at[t.n], t.weak[t.n] = at, weak
		t.n++
	}
}

// cuts returns what is left out of a text for the talk in it.
func (t *asides) cuts(text string) (c cuts) {
	for i, at := range t.at[:t.n] {
		if c.n > 0 && at < c.c[c.n-1].to {
			continue
		}
		k := around(text, at, t.weak[i])
		if t.weak[i] && !t.meant(text, i, k) {
			continue
		}
		c.c[c.n] = k
		c.n++
	}
	t.beside(text, &c)
	if k, ok := staged(text); ok && c.n > 0 {
		if c.n == maxCuts {
			c.n--
		}
		c.c[c.n] = k
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
	c.tidy(text)
	return c
}

// besideWords is how many words a sentence with a word of routing has that goes with the talk next to it.
const besideWords = 4

// beside adds the short sentences with words of routing that stand next to a cut.
func (t *asides) beside(text string, c *cuts) {
	for i, at := range t.at[:t.n] {
		if !t.weak[i] || c.n == maxCuts {
			continue
		}
		k := around(text, at, true)
		if words(text[k.from:k.to]) <= besideWords && c.near(k) {
			c.c[c.n] = k
			c.n++
		}
	}
}

// near reports whether a cut stands next to another one.
func (c *cuts) near(k cut) bool {
	for _, o := range c.c[:c.n] {
		if max(o.from-k.to, k.from-o.to) <= 2 {
			return true
		}
	}
	return false
}

// tidy widens the cuts over what is left of the talk between and beside them: blanks, rules, quotes, a word or two.
func (c *cuts) tidy(text string) {
	n := 0
	for _, k := range c.c[:c.n] {
		for k.from > 0 {
			line := strings.LastIndexByte(text[:k.from-1], '\n') + 1
			rest := text[line:k.from]
			if !mute(rest) && !(words(rest) <= 2 && strings.HasSuffix(strings.TrimRight(rest, " \n"), ":") && line+len(rest) == k.from) {
				break
			}
			k.from = line
		}
		k.to = len(text) - len(withoutRefrain(text[k.to:], firstWord))
		for k.from > 0 && spaceBefore(text, k.from) && text[k.from-1] > ' ' {
			_, size := utf8.DecodeLastRuneInString(text[:k.from])
			k.from -= size
		}
		for k.to < len(text) && spaceAt(text, k.to) {
			_, size := utf8.DecodeRuneInString(text[k.to:])
			k.to += size
		}
		for k.to < len(text) && text[k.to-1] == '\n' {
			line := len(text)
			if i := strings.IndexByte(text[k.to:], '\n'); i >= 0 {
				line = k.to + i + 1
			}
			if !mute(text[k.to:line]) {
				break
			}
			k.to = line
		}
		if n > 0 && (k.from <= c.c[n-1].to || k.from-c.c[n-1].to <= residue && words(text[c.c[n-1].to:k.from]) <= 2) {
			c.c[n-1].to = max(c.c[n-1].to, k.to)
			continue
		}
		c.c[n] = k
		n++
	}
	c.n = n
}

// residue is how many bytes between two cuts go with them.
const residue = 24

// tight returns one cut, from the beginning to the last phrase: for a text that goes on behind it without a stop.
func (t *asides) tight(text string) (c cuts) {
	_, end := tokenAt(text, t.at[t.n-1])
	c.c[0], c.n = cut{0, end}, 1
	return c
}

func (c *cuts) bytes() (n int) {
	for _, k := range c.c[:c.n] {
		n += k.to - k.from
	}
	return n
}

// meant reports whether a word that others use too is said to the router: beside another such word or phrase in its sentence, or as the one that
// is spoken to.
func (t *asides) meant(text string, i int, k cut) bool {
	for j, at := range t.at[:t.n] {
		if j != i && at >= k.from && at < k.to {
			return true
		}
	}
	at := t.at[i]
	_, end := tokenAt(text, at)
	if end < k.to && text[end] == '=' && plain(strings.TrimRight(text[end+1:k.to], ")]}>")) {
		return true // name=value
	}
	for end < len(text) && alone(firstRune(text[end:])) { // a script without blanks: the word goes on
		_, n := utf8.DecodeRuneInString(text[end:])
		end += n
	}
	if end >= len(text) || at-k.from > spokenTo {
		return false
	}
	r := firstRune(text[end:])
	return r == ':' || r == '：' || r == ',' && at-k.from < 12
}

// plain reports one or more letters and digits, and nothing else.
func plain(s string) bool {
	for i := range len(s) {
		if asciiFold[s[i]] == 0 {
			return false
		}
	}
	return s != ""
}

// spokenTo is how far into a sentence, in bytes, the one that it speaks to may be named.
const spokenTo = 40

func firstRune(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

// staged finds a conversation that is played within a text, or examples: of it the last turn is the user's.
func staged(text string) (cut, bool) {
	for _, who := range [...]string{"User:", "Human:", "Q:", "Input:"} {
		i := strings.LastIndex(text, "\n"+who)
		if i >= 0 && strings.HasPrefix(text, who) || i >= 0 && strings.Contains(text[:i], "ssistant:") {
			return cut{0, i + 1 + len(who)}, true
		}
	}
	if i := strings.LastIndex(text, example); i > 0 && strings.HasPrefix(text, example) {
		if n := strings.IndexByte(text[i:], ':'); n > 0 && n < len(example)+4 {
			return cut{0, i + n + 1}, true
		}
	}
	return cut{}, false
}

const example = "Example "

// arrow finds an arrow to the name of a tier at an offset, as examples of decisions have it.
func arrow(text string, at int) (cut, bool) {
	from := len(strings.TrimRight(text[:at], " "))
	if !strings.HasSuffix(text[:from], "->") {
		return cut{}, false
	}
	_, end := tokenAt(text, at)
	return cut{from - 2, end}, true
}

// tiers are the names of sides that an arrow may point to.
var tiers = func() (t [2]uint64) {
	for i, name := range [...]string{"strong", "cheap"} {
		t[i], _ = tokenAt(name, 0)
	}
	return t
}()

// backwards turns the direction of what follows: nobody types it.
const backwards = 0x202E

// around returns what goes with the phrase whose last word is at an offset: the markup it is in, or else the sentence.
func around(text string, at int, weak bool) cut {
	if firstRune(text[at:]) == backwards {
		if n := strings.Index(text[at:], "\u202c"); n >= 0 {
			return cut{at, at + n + 3}
		}
		return cut{at, len(text)}
	}
	for _, find := range [...]func(string, int) (cut, bool){arrow, element, object, bracket, setting} {
		if k, ok := find(text, at); ok {
			return k
		}
	}
	return sentence(text, at, !weak)
}

const (
	maxElement = 1500 // bytes of an element or object that is cut as one
	maxBracket = 240
	maxOpen    = 24 // tags, and braces that nobody closes, that are looked at around one phrase: nobody can make a text slow to read
)

// element finds <name>…</name> or <|name|> around an offset.
func element(text string, at int) (cut, bool) {
	low := max(0, at-maxElement)
	ends := strings.Contains(text[at:min(len(text), at+2*maxElement)], "</")
	for n, open := 0, strings.LastIndexByte(text[low:at], '<'); open >= 0 && n < maxOpen; n++ {
		from := low + open
		name := text[from+1 : min(len(text), from+maxElement)]
		if strings.HasPrefix(name, "|") || strings.HasPrefix(name, "/") {
			if end := strings.IndexByte(name, '>'); end >= 0 && from+1+end >= at {
				return cut{from, from + 2 + end}, true
			}
		} else if n := nameLength(name); n > 0 && (ends || strings.IndexByte(text[from:at], '>') < 0) {
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
	from := max(0, at-maxElement)
	for open := 0; open < maxOpen; {
		i := strings.IndexByte(text[from:at], '{')
		if i < 0 {
			break
		}
		from += i
		switch to := balanced(text, from, '{', '}', maxElement); {
		case to > at:
			return fenced(text, listed(text, cut{from, to})), true
		case to > 0:
			from = to
		default:
			from++
			open++
		}
	}
	return cut{}, false
}

// listed widens an object to the list that it opens.
func listed(text string, k cut) cut {
	if k.from > 0 && text[k.from-1] == '[' {
		if to := balanced(text, k.from-1, '[', ']', 2*maxElement); to > 0 {
			return cut{k.from - 1, to}
		}
	}
	return k
}

// fenced widens a cut to the fence around it, when there is nothing else in it.
func fenced(text string, k cut) cut {
	before := strings.TrimRight(text[:k.from], " \n")
	after := strings.TrimLeft(text[k.to:], " \n")
	open := strings.LastIndex(before, "```")
	if open < 0 || !strings.HasPrefix(after, "```") || words(before[open:]) != 1 {
		return k
	}
	return cut{open, len(text) - len(after) + 3}
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
	low := max(0, at-maxBracket)
	low += strings.LastIndexByte(text[low:at], '\n') + 1
	for _, pair := range [...]struct{ open, end string }{{"<!--", "-->"}, {"[INST]", "[/INST]"}, {"[SYS]", "[/SYS]"},
		{"[SYSTEM]", "[/SYSTEM]"}, {"<<<SYS>>>", "<<</SYS>>>"}, {"<<SYS>>", "<</SYS>>"}, {"/*", "*/"}, {"[[", "]]"}, {"[", "]"}, {"(", ")"}, {"**", "**"}} {
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
	for from > max(0, at-maxElement) && !spaceBefore(text, from) {
		from--
	}
	for to < min(len(text), at+maxElement) && !spaceAt(text, to) {
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
const (
	addressed   = 90
	colonWithin = 24 // … and how far behind the phrase that colon may be
)

// sentence returns the sentence around an offset, or the part of it that is set off from the rest: behind a dash or before a colon, or from a
// capital on where somebody went on without a full stop.
func sentence(text string, at int, colon bool) cut {
	from := begins(text, at)
	_, to := tokenAt(text, at)
	if at-from < addressed && to+1 < len(text) && text[to] == ' ' && capital(text, to+1) {
		return cut{from, to + 1} // somebody went on without a full stop
	}
	to = at
	for to < len(text) {
		if n := ends(text, to, colon && at-from < addressed && to-at < colonWithin); n > 0 {
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
	start := -1
	for i := at; i > 0; {
		r, n := utf8.DecodeLastRuneInString(text[:i])
		if before := text[:i-n]; r == ' ' || r == '\t' {
			last, _ := utf8.DecodeLastRuneInString(before)
			if strings.ContainsRune(".!?…。！？;|", last) || strings.HasSuffix(before, " -") || strings.HasSuffix(before, "--") || strings.HasSuffix(before, "—") || strings.HasSuffix(before, "–") {
				return i
			}
			if start < 0 && at-i < addressed && (unicode.IsLower(last) || unicode.IsDigit(last)) && capital(text, i) {
				start = i
			}
		}
		if r == '\n' || r == '。' || r == '！' || r == '？' || r == 0x200b || r == 0xfeff {
			return i
		}
		i -= n
	}
	if start > 0 && words(text[:start]) >= 2 {
		return start
	}
	return 0
}

// capital reports whether a word at an offset begins as the first of a sentence does.
func capital(text string, i int) bool {
	return i+1 < len(text) && text[i] >= 'A' && text[i] <= 'Z' && (text[i+1] >= 'a' && text[i+1] <= 'z')
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

func words(s string) (n int) {
	for range strings.FieldsSeq(s) {
		n++
	}
	return n
}

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
