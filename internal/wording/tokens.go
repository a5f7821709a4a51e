package wording

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// word is a piece of a text.
type word struct {
	text  string // lower case, unless its case says something
	exact bool   // it stands for itself: a number, a quotation, a piece of code
	cap   bool   // it is written with a capital that no sentence's beginning explains
	mark  mark
}

type mark uint8

const (
	none     mark = iota
	stop          // the end of a clause
	genitive      // the word before it is whose the next ones are
)

// typography writes signs that have several forms in one, and keeps the separators of forms out.
var typography = strings.NewReplacer("’", "'", "‘", "'", "−", "-", sepFlag, " ", sepPhrase, " ", sepWord, " ")

// tokens cuts a text into words.
func tokens(text string) []word {
	t := tokenizer{text: typography.Replace(strings.ToValidUTF8(text, "\uFFFD")), begins: true}
	t.shouts = strings.ToUpper(t.text) == t.text
	for t.at < len(t.text) {
		r, n := utf8.DecodeRuneInString(t.text[t.at:])
		switch {
		case unicode.IsSpace(r):
			t.at += n
		case t.quotation(r, n):
		default:
			t.chunk()
		}
	}
	return t.words
}

type tokenizer struct {
	text   string
	at     int
	words  []word
	begins bool // a sentence does
	shouts bool // there are no small letters, so capitals say nothing
}

var closing = map[rune]string{'"': `"`, '“': "”", '„': "“", '«': "»", '`': "`", '\'': "'", '「': "」"}

// quotation takes what stands between quotation marks as one word; false = here begins none.
func (t *tokenizer) quotation(r rune, n int) bool {
	end, ok := closing[r]
	if !ok {
		return false
	}
	rest := t.text[t.at+n:]
	i := strings.Index(rest, end)
	if i < 0 && r == '„' {
		end = "”"
		i = strings.Index(rest, end)
	}
	if i < 1 {
		return false
	}
	t.push(word{text: `"` + strings.TrimSpace(rest[:i]), exact: true})
	t.at += n + i + len(end)
	return true
}

func (t *tokenizer) push(w word) {
	t.words = append(t.words, w)
	t.begins = false
}

func (t *tokenizer) pushAll(texts ...string) {
	for _, s := range texts {
		t.push(word{text: s})
	}
}

const (
	enders   = ".,!?;:…。、，？！；："
	brackets = "()[]¿¡（）"
)

// chunk takes what stands between blanks.
func (t *tokenizer) chunk() {
	rest := t.text[t.at:]
	end := strings.IndexFunc(rest, func(r rune) bool { return unicode.IsSpace(r) || closing[r] != "" && r != '\'' })
	if end < 0 {
		end = len(rest)
	}
	if end == 0 { // a quotation mark that nothing closes
		_, end = utf8.DecodeRuneInString(rest)
	}
	whole := rest[:end]
	t.at += end
	s := strings.TrimLeft(whole, brackets)
	core := strings.TrimRight(s, enders)
	if !strings.ContainsAny(core, "([") {
		core = strings.TrimRight(core, ")]）"+enders)
	}
	if factor.MatchString(core) && strings.HasPrefix(s[len(core):], "!") {
		core += "!"
	}
	ended := core != s
	if core == "" {
		if strings.Trim(whole, enders) != "" { // signs: they may be all that a text says
			t.push(word{text: whole, exact: true})
		}
	} else {
		t.word(core)
	}
	if ended {
		t.push(word{mark: stop})
		t.begins = strings.ContainsAny(s[len(core):], ".!?。？！")
	}
}

var (
	thousands = regexp.MustCompile(`([0-9]),([0-9]{3})\b`)
	measured  = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([A-Za-z]{1,6}|%|°[CF]?)$`)
	ordinal   = regexp.MustCompile(`^[0-9]+(st|nd|rd|th)$`)
	factor    = regexp.MustCompile(`^([0-9]+|[A-Za-z])$`) // what an exclamation mark makes a factorial of
	units     = regexp.MustCompile(`^[munpkgt]?(b|w|v|a|s|g|m|l|j|n|f|h|c|k|t|bps|hz|pa|wh|ah|bit|ib)$`)
)

// unit folds the case of what stands behind a number, unless it is a unit whose case may say something: mW and MW, Gb and GB.
func unit(s string) string {
	lower := strings.ToLower(s)
	if lower == s || !units.MatchString(lower) || len(lower) > 1 && synonyms[lower] != "" && lower != "mm" {
		return alike(lower)
	}
	return s
}

// word takes one word without the punctuation around it.
func (t *tokenizer) word(s string) {
	switch {
	case strings.ContainsAny(s, "0123456789"):
		t.number(s)
	case t.measures(s):
		t.push(word{text: unit(s), exact: true})
	case s[0] == '-' || strings.ContainsAny(s, `_/\=<>{}[]()*|~$^`) || lowerCamel(s):
		t.push(word{text: s, exact: true})
	case strings.ContainsAny(s, `.@#+&%:!`):
		t.push(word{text: strings.ToLower(s), exact: true})
	case strings.Contains(s, "'"):
		t.apostrophe(s)
	default:
		t.plain(s)
	}
}

// measures reports whether the word is a unit with capitals behind a number.
func (t *tokenizer) measures(s string) bool {
	n := len(t.words)
	if t.shouts || n == 0 || !strings.ContainsAny(t.words[n-1].text, "0123456789") {
		return false
	}
	lower := strings.ToLower(s)
	return lower != s && units.MatchString(lower)
}

// plain takes a word of letters, or several with hyphens between them.
func (t *tokenizer) plain(s string) {
	for part := range strings.SplitSeq(s, "-") {
		if part == "" {
			continue
		}
		if w := t.cased(part); contractions[w.text] != nil {
			t.pushAll(contractions[w.text]...)
		} else {
			t.push(w)
		}
	}
}

func (t *tokenizer) number(s string) {
	for strings.Contains(s, ",") && thousands.MatchString(s) {
		s = thousands.ReplaceAllString(s, "$1$2")
	}
	if m := measured.FindStringSubmatch(s); m != nil && !ordinal.MatchString(s) {
		t.push(word{text: m[1], exact: true})
		t.push(word{text: unit(m[2]), exact: true})
		return
	}
	if !strings.ContainsAny(s, `_/\`) {
		s = strings.ToLower(s)
	}
	t.push(word{text: s, exact: true})
}

// lowerCamel reports whether a capital stands inside a word that begins with a small letter, as names in programs do.
func lowerCamel(s string) bool {
	first, _ := utf8.DecodeRuneInString(s)
	return unicode.IsLower(first) && strings.IndexFunc(s, unicode.IsUpper) > 0
}

// cased folds a word's case where case says nothing.
func (t *tokenizer) cased(s string) word {
	lower := strings.ToLower(s)
	if t.shouts || lower == s {
		return word{text: lower}
	}
	if len(s) == 1 && !t.begins && s != "I" && s != "A" { // G and g, R and r
		return word{text: s, exact: true, cap: true}
	}
	title := strings.IndexFunc(s[1:], unicode.IsUpper) < 0
	if t.begins && title || s == "I" {
		return word{text: lower}
	}
	if homographs[lower] {
		return word{text: s, exact: true, cap: true}
	}
	return word{text: lower, cap: true}
}

// apostrophe takes contractions apart.
func (t *tokenizer) apostrophe(s string) {
	lower := strings.ToLower(s)
	base, end := lower[:strings.LastIndex(lower, "'")], lower[strings.LastIndex(lower, "'")+1:]
	switch {
	case contractions[lower] != nil:
		t.pushAll(contractions[lower]...)
	case end == "t" && strings.HasSuffix(base, "n"):
		t.pushAll(strings.TrimSuffix(base, "n"), "not")
	case end == "s" && pointers[base]:
		t.pushAll(base, "is")
	case end == "s":
		t.push(t.cased(s[:strings.LastIndex(s, "'")]))
		t.push(word{mark: genitive})
	case end == "" && strings.HasSuffix(base, "s"): // of several
		t.push(word{text: base, exact: true})
		t.push(word{mark: genitive})
	case endings[end] != "":
		t.pushAll(base, endings[end])
	default:
		t.push(word{text: lower, exact: true})
	}
}
