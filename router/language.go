package router

import "unicode/utf8"

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

// Language guesses the language of a text from its script, and for Latin script from its commonest words. "" = unknown.
func Language(s string) string {
	if len(s) > languageScan {
		s = s[:languageScan]
	}
	var votes [numLatin]int
	var in scripts
	var word [8]byte
	n := 0
	for i := 0; i <= len(s); {
		var r rune
		w := 1
		if i < len(s) {
			if r, w = rune(s[i]), 1; r >= utf8.RuneSelf {
				r, w = utf8.DecodeRuneInString(s[i:])
			}
		}
		i += w
		if r < 0x250 {
			f := r
			if r < utf8.RuneSelf {
				f = rune(asciiFold[r])
			} else {
				f, _ = foldRune(r)
			}
			if f != 0 {
				in.latin++
				if n < len(word) {
					word[n] = byte(f)
				}
				n++
				continue
			}
			if n > 0 && n <= len(word) {
				vote(&votes, string(word[:n]))
			}
			n = 0
			continue
		}
		in.count(r)
	}
	if name := in.language(); name != "" {
		return name
	}
	most, name := 0, ""
	for l, v := range votes {
		if v > most {
			most, name = v, latinNames[l]
		}
	}
	return name
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

// vote counts a word for the languages in which it is one of the commonest. Words are folded: no case, no accents.
func vote(v *[numLatin]int, w string) {
	switch w {
	case "the", "and", "of", "is", "are", "this", "that", "you", "what", "how", "my", "for", "with", "it", "please", "why", "can", "to", "write", "if", "from":
		v[langEN]++
	case "der", "das", "und", "ist", "nicht", "ich", "ein", "eine", "mit", "fur", "auf", "wie", "wir", "bitte", "zu", "den", "dem", "dass", "mein", "wer", "uber":
		v[langDE]++
	case "le", "les", "est", "et", "pas", "je", "vous", "dans", "pour", "sur", "avec", "ce", "cette", "du", "qui", "mon", "sont", "quelle", "une", "au":
		v[langFR]++
	case "el", "los", "las", "es", "y", "una", "por", "con", "del", "mi", "como", "esto", "esta", "lo", "cual", "al", "donde":
		v[langES]++
	case "il", "gli", "e", "di", "che", "sono", "questo", "questa", "come", "della", "nel", "puoi", "cosa", "perche", "dei":
		v[langIT]++
	case "os", "um", "uma", "nao", "do", "da", "em", "voce", "isso", "na", "meu", "minha", "qual", "ao", "sao":
		v[langPT]++
	case "het", "een", "van", "ik", "niet", "dat", "wat", "mijn", "voor", "zijn", "naar", "waarom", "met", "deze":
		v[langNL]++
	case "la":
		v[langFR]++
		v[langES]++
		v[langIT]++
	case "de":
		v[langFR]++
		v[langES]++
		v[langPT]++
		v[langNL]++
	case "que", "para":
		v[langES]++
		v[langPT]++
	case "un", "en":
		v[langFR]++
		v[langES]++
	case "in":
		v[langEN]++
		v[langDE]++
		v[langIT]++
		v[langNL]++
	case "die":
		v[langDE]++
		v[langNL]++
	case "per", "non":
		v[langIT]++
	}
}
