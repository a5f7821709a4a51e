package router

import (
	"strings"
	"unicode/utf8"
)

// languages that are told apart by their commonest words.
const (
	langEN = iota
	langDE
	langFR
	langES
	langIT
	langPT
	langNL
	numLatin
)

var latinNames = [numLatin]string{"en", "de", "fr", "es", "it", "pt", "nl"}

// languageScan is how many bytes the guess looks at.
const languageScan = 512

// Votes of a word for the Latin languages, or a sum of them: each has votesBits. A scan meets a word at every second byte at most, so
// that no sum overflows into the next.
const votesBits = 9

const _ = uint(1<<votesBits - 1 - (languageScan+1)/2) // does not compile when votesBits are too few

// votesSlots is a power of two, several times the number of the commonest words.
const votesSlots = 1024

// commonest maps the languages' commonest words, packed, to their votes.
type commonest [votesSlots]struct{ word, votes uint64 }

var commonestWords = func() (t commonest) {
	for _, c := range commonWords {
		var votes uint64
		for _, l := range c.langs {
			votes |= 1 << (votesBits * l)
		}
		for w := range strings.FieldsSeq(c.words) {
			var packed uint64
			for _, b := range []byte(w) {
				packed = packed<<8 | uint64(b)
			}
			s := t.slot(packed)
			t[s].word, t[s].votes = packed, votes
		}
	}
	return t
}()

// slot returns where a packed word is, or would be: there the votes are none.
func (t *commonest) slot(packed uint64) uint64 {
	for i := packed * glue >> 54; ; i++ {
		if w := t[i%votesSlots].word; w == packed || w == 0 {
			return i % votesSlots
		}
	}
}

// Language guesses the language of a text from its script, and for Latin script from its commonest words. "" = unknown.
func Language(s string) string {
	if len(s) > languageScan {
		s = s[:languageScan]
	}
	var votes, word uint64 // word holds the last eight of its n letters
	var in scripts
	n := 0
	for i := 0; i < len(s); {
		if f := asciiFold[s[i]]; f != 0 {
			word = word<<8 | uint64(f)
			n++
			i++
			continue
		}
		r, w := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			if r, w = utf8.DecodeRuneInString(s[i:]); r >= 0x250 {
				in.count(r)
				i += w
				continue
			}
			if f, _ := foldRune(r); f != 0 {
				word = word<<8 | uint64(byte(f))
				n++
				i += w
				continue
			}
		}
		i += w
		if n > 0 {
			votes += votesOf(word, n)
			in.latin += n
			word, n = 0, 0
		}
	}
	votes += votesOf(word, n)
	in.latin += n
	if name := in.language(); name != "" {
		return name
	}
	most, name := uint64(0), ""
	for l := range numLatin {
		if v := votes >> (votesBits * l) & (1<<votesBits - 1); v > most {
			most, name = v, latinNames[l]
		}
	}
	return name
}

// votesOf returns the votes of a packed word of n letters.
func votesOf(word uint64, n int) uint64 {
	if n > 8 {
		return 0
	}
	return commonestWords[commonestWords.slot(word)].votes
}

// scripts counts characters by script.
type scripts struct {
	han, kana, hangul, cyrillic, ukrainian, arabic, hebrew, greek, thai, devanagari, latin int
}

func (n *scripts) count(r rune) {
	switch {
	case r >= 0x3040 && r <= 0x30FF:
		n.kana++
	case r >= 0x3400 && r <= 0x9FFF:
		n.han++
	case r >= 0xAC00 && r <= 0xD7A3:
		n.hangul++
	case r == 0x456 || r == 0x457 || r == 0x454 || r == 0x491:
		n.ukrainian++
	case r >= 0x400 && r <= 0x4FF:
		n.cyrillic++
	case r >= 0x600 && r <= 0x6FF:
		n.arabic++
	case r >= 0x590 && r <= 0x5FF:
		n.hebrew++
	case r >= 0x370 && r <= 0x3FF:
		n.greek++
	case r >= 0xE00 && r <= 0xE7F:
		n.thai++
	case r >= 0x900 && r <= 0x97F:
		n.devanagari++
	}
}

// language returns the language of the leading script, "" for Latin. A syllabic or ideographic character says about as much as three letters.
func (n *scripts) language() (name string) {
	best := n.latin / 3
	pick := func(n int, lang string) {
		if n > best {
			best, name = n, lang
		}
	}
	if n.kana > 0 && n.kana*5 > n.han {
		pick(n.han+n.kana, "ja")
	} else {
		pick(n.han, "zh")
	}
	pick(n.hangul, "ko")
	if n.ukrainian > 0 {
		pick((n.cyrillic+n.ukrainian)/2, "uk")
	}
	pick(n.cyrillic/2, "ru")
	pick(n.arabic/2, "ar")
	pick(n.hebrew/2, "he")
	pick(n.greek/2, "el")
	pick(n.thai/2, "th")
	pick(n.devanagari/2, "hi")
	return name
}

// commonWords are those that are among the commonest of languages. Words are folded: no case, no accents.
var commonWords = [...]struct {
	langs []int
	words string
}{
	{[]int{langEN}, "the and of is are this that you what how my for with it please why can to write if from"},
	{[]int{langDE}, "der das und ist nicht ich ein eine mit fur auf wie wir bitte zu den dem dass mein wer uber"},
	{[]int{langFR}, "le les est et pas je vous dans pour sur avec ce cette du qui mon sont quelle une au"},
	{[]int{langES}, "el los las es y una por con del mi como esto esta lo cual al donde"},
	{[]int{langIT}, "il gli e di che sono questo questa come della nel puoi cosa perche dei"},
	{[]int{langPT}, "os um uma nao do da em voce isso na meu minha qual ao sao"},
	{[]int{langNL}, "het een van ik niet dat wat mijn voor zijn naar waarom met deze"},
	{[]int{langFR, langES, langIT}, "la"},
	{[]int{langFR, langES, langPT, langNL}, "de"},
	{[]int{langES, langPT}, "que para"},
	{[]int{langFR, langES}, "un en"},
	{[]int{langEN, langDE, langIT, langNL}, "in"},
	{[]int{langDE, langNL}, "die"},
	{[]int{langIT}, "per non"},
}
